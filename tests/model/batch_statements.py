"""The statements of workflows: which rows each one finds in its snapshot, and what it then writes.

A statement that has waited for a row sees that row as it is by then, but finds no other rows: that
is READ COMMITTED. So each FIND is asked once, and each WRITE asks again of each row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .batch_state import (
    BLOCKED,
    CANCELLED,
    EACH,
    END,
    FAILED,
    FAILURE,
    FIRST_JOB,
    LIVE,
    NEXT,
    NONE,
    NOT_NEEDED,
    QUEUED,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    SUCCESS,
    WAITING,
    Batch,
    Job,
    Model,
    Statement,
    View,
)

Keys = tuple[int, ...]
COMMIT: Statement = ("commit",)
LEAVE: Statement = ("leave",)
OF_WAITING = -1


class Effect(NamedTuple):
    """changes: what is written. then: the statements that come next; after: those that come last.

    is_undone: the transaction is rolled back, and the process ends.
    """

    changes: dict[int, Any] = {}  # noqa: RUF012  (never written)
    then: tuple[Statement, ...] = ()
    after: tuple[Statement, ...] = ()
    is_undone: bool = False


UNDONE = Effect(is_undone=True)


# Transactions


def succeeded(model: Model, key: int, claim: int) -> tuple[Statement, ...]:
    batch = model.plan(key).batch
    inside = model.rules.asks == "inside"
    return (
        ("settle", key, claim, SUCCEEDED),
        *release(model, (key,), (NEXT,)),
        *([("finish", batch)] if inside and batch != NONE else []),
        COMMIT,
        *([] if inside else look(batch)),
    )


def ended(model: Model, key: int, claim: int, state: str) -> tuple[Statement, ...]:
    """Without success. claim: OF_WAITING for a job that has not begun."""
    batch, is_marked_after = model.plan(key).batch, model.rules.marks != "inside"
    mark: Statement = ("fail path", (key,))
    settle: Statement = ("settle", key, claim, state)
    is_job_first = model.rules.job_first and claim != OF_WAITING
    return (
        *([settle] if is_marked_after else [settle, mark] if is_job_first else [mark, settle]),
        *skip(model, (key,), (NEXT,)),
        COMMIT,
        *([mark, COMMIT] if is_marked_after else []),
        *look(batch),
    )


def added(model: Model, key: int, claim: int) -> tuple[Statement, ...]:
    plan, rules = model.plan(key), model.rules
    batch: Statement = ("share batch", plan.adds_to, plan.adds)
    if rules.asks_claim == "no":
        return (batch, COMMIT)
    job: Statement = ("share claim" if rules.asks_claim == "locked" else "read claim", key, claim)
    return (job, batch, COMMIT) if rules.claim_first else (batch, job, COMMIT)


def requeued(key: int, claim: int) -> tuple[Statement, ...]:
    return (("settle", key, claim, QUEUED), COMMIT)


def retried(key: int) -> tuple[Statement, ...]:
    return (("lock path", key), COMMIT)


def cancelled(batch: int) -> tuple[Statement, ...]:
    return (("cancel batches", batch), COMMIT, ("look for waiting", batch))


def look(*batches: int) -> list[Statement]:
    return [("look", batch) for batch in batches if batch != NONE]


def release(model: Model, gates: Keys, gate_on: tuple[str, ...]) -> list[Statement]:
    """Statements that can find nothing are left out, for there is no such row in the model."""
    found: list[Statement] = []
    if model.releases_batches(gates):
        found.append(("open", gates))
    if model.releases_jobs(gates, gate_on):
        found.append(("release", gates, gate_on))
    return found if model.rules.opens_first else found[::-1]


def skip(model: Model, gates: Keys, gate_on: tuple[str, ...]) -> list[Statement]:
    if not model.releases_batches(gates) and not model.releases_jobs(gates, gate_on):
        return []
    if model.rules.skips == "batches":
        return [("skip batches", gates, (), gate_on)]
    return [("skip jobs", gates, (), gate_on)]


# Statements: each is a pair of what it finds and what it writes


def nothing(view: View, *arguments: Any) -> Keys:
    return ()


def batches_at(view: View, gates: Keys, outcome: str) -> Keys:
    """Those that the gates keep shut, or that were skipped with them."""
    return tuple(
        key
        for key, plan in enumerate(view.model.batches)
        if plan.gate in gates and is_shut(view.batch(key), outcome)
    )


def is_shut(row: Batch, outcome: str) -> bool:
    return row.is_there and not row.is_opened and row.outcome == outcome


def jobs_at(view: View, gates: Keys, gate_on: tuple[str, ...]) -> Keys:
    plans = ((key, view.model.plan(key)) for key in view.model.job_keys)
    return tuple(key for key, plan in plans if plan.gate in gates and plan.gate_on in gate_on)


def blocked_at(view: View, gates: Keys, gate_on: tuple[str, ...]) -> Keys:
    return tuple(key for key in jobs_at(view, gates, gate_on) if view.job(key).state == BLOCKED)


def is_held(job: Job, claim: int) -> bool:
    if claim == OF_WAITING:
        return job.state in WAITING
    return job.state == RUNNING and job.claims == claim


def find_claim(view: View, key: int, claim: int, state: str = "") -> Keys:
    return (key,) if is_held(view.job(key), claim) else ()


def write_settlement(view: View, keys: Keys, key: int, claim: int, state: str) -> Effect:
    if not keys or not is_held(view.job(key), claim):
        return UNDONE if view.model.rules.fences else Effect()
    return Effect({key: view.job(key)._replace(state=state, code="")})


def find_unfailed(view: View, jobs: Keys) -> Keys:
    above = {batch for key in jobs for batch in view.model.paths[key]}
    return tuple(sorted(key for key in above if not view.batch(key).has_failed))


def write_failure(view: View, keys: Keys, jobs: Keys) -> Effect:
    changed = {key: view.batch(key) for key in keys if not view.batch(key).has_failed}
    closed = view.model.rules.fails_closed
    gates = tuple(
        key for key, row in changed.items() if not row.is_cancelled and (row.is_opened or closed)
    )
    return Effect(
        {key: row._replace(has_failed=True) for key, row in changed.items()},
        (("release", gates, (FAILURE,)),) if view.model.releases_jobs(gates, (FAILURE,)) else (),
    )


def find_shut(view: View, gates: Keys, *rest: Any) -> Keys:
    return batches_at(view, gates, "")


def write_opening(view: View, keys: Keys, gates: Keys) -> Effect:
    rules = view.model.rules
    changed = [key for key in keys if is_shut(view.batch(key), "")]
    return Effect(
        {key: view.batch(key)._replace(is_opened=True) for key in changed},
        (("open", gates),) if changed and rules.repeats else (),
        tuple(look(*changed)) if rules.looks_at_opened else (),
    )


def write_release(view: View, keys: Keys, gates: Keys, gate_on: tuple[str, ...]) -> Effect:
    rows = {key: view.job(key) for key in keys if view.job(key).state == BLOCKED}
    return Effect(
        {key: row._replace(state=QUEUED, releases=row.releases + 1) for key, row in rows.items()}
    )


def write_skipped_batches(
    view: View, keys: Keys, gates: Keys, done: Keys, gate_on: tuple[str, ...]
) -> Effect:
    model = view.model
    changed = tuple(key for key in keys if is_shut(view.batch(key), ""))
    changes = {key: view.batch(key)._replace(outcome=SKIPPED) for key in changed}
    done = tuple(sorted({*done, *changed}))
    if model.rules.skips == "jobs":
        return Effect(changes, tuple(skip(model, done, EACH)))
    if changed and model.rules.repeats:
        return Effect(changes, (("skip batches", gates, done, gate_on),))
    return Effect(changes, (("skip jobs", gates, done, gate_on),))


def find_skipped_jobs(view: View, gates: Keys, done: Keys, gate_on: tuple[str, ...]) -> Keys:
    return blocked_at(view, gates, gate_on)


def write_skipped_jobs(
    view: View, keys: Keys, gates: Keys, done: Keys, gate_on: tuple[str, ...]
) -> Effect:
    changed = tuple(key for key in keys if view.job(key).state == BLOCKED)
    changes = {key: view.job(key)._replace(state=CANCELLED, code=SKIPPED) for key in changed}
    if view.model.rules.skips == "jobs":
        return Effect(changes, (("skip batches", gates, changed, gate_on),))
    return Effect(changes, tuple(skip(view.model, tuple(sorted({*done, *changed})), EACH)))


def write_look(view: View, keys: Keys, batch: int) -> Effect:
    if not view.is_complete(batch):
        return Effect()
    if view.model.rules.asks == "then":
        return Effect(then=(("lock", batch), ("ask", batch), COMMIT))
    return Effect(then=(("finish", batch), COMMIT))


def find_batch(view: View, batch: int, *rest: Any) -> Keys:
    return (batch,)


def write_nothing(view: View, keys: Keys, *arguments: Any) -> Effect:
    return Effect()


def write_answer(view: View, keys: Keys, batch: int) -> Effect:
    return completed(view, batch) if view.is_complete(batch) else Effect()


def find_complete(view: View, batch: int) -> Keys:
    return (batch,) if view.is_complete(batch) else ()


def write_completion(view: View, keys: Keys, batch: int) -> Effect:
    return completed(view, batch) if keys and not view.batch(batch).outcome else Effect()


def completed(view: View, batch: int) -> Effect:
    model = view.model
    outcome = view.outcome(batch, NOT_NEEDED if model.rules.leaves_out else "none")
    then: list[Statement]
    if outcome == SUCCEEDED:
        then = release(model, (batch,), (NEXT, SUCCESS, END))
        if model.releases_jobs((batch,), (FAILURE,)):
            then.append(("drop", batch))
    else:
        is_failed = outcome == FAILED
        then = [("release", (batch,), (END, FAILURE) if is_failed else (END,))]
        then += skip(model, (batch,), (NEXT, SUCCESS) if is_failed else (NEXT, SUCCESS, FAILURE))
        if not model.releases_jobs((batch,), (END, FAILURE)):
            then = then[1:]
    above = look(model.batches[batch].parent) if model.rules.looks_up else []
    return Effect({batch: view.batch(batch)._replace(outcome=outcome)}, tuple(then), tuple(above))


def find_unneeded(view: View, batch: int) -> Keys:
    return blocked_at(view, (batch,), (FAILURE,))


def write_unneeded(view: View, keys: Keys, batch: int) -> Effect:
    rows = {key: view.job(key) for key in keys if view.job(key).state == BLOCKED}
    return Effect(
        {key: row._replace(state=CANCELLED, code=NOT_NEEDED) for key, row in rows.items()}
    )


def write_growth(view: View, keys: Keys, batch: int, rows: Keys) -> Effect:
    row = view.batch(batch)
    if view.model.rules.asks_closed and (row.outcome or row.is_cancelled):
        return UNDONE
    return Effect(then=(("insert", batch, rows, row.is_opened),))


def write_claim(view: View, keys: Keys, key: int, claim: int) -> Effect:
    return Effect() if is_held(view.job(key), claim) else UNDONE


def write_insert(view: View, keys: Keys, batch: int, rows: Keys, is_opened: bool) -> Effect:
    gate, changes = view.model.batches[batch].gate, {}
    for key in rows:
        is_job = key >= FIRST_JOB
        own = view.model.plan(key).gate if is_job else view.model.batches[key].gate
        goes = own == NONE or (own == gate and is_opened)
        changes[key] = Job(QUEUED if goes else BLOCKED) if is_job else Batch(True, goes)
    return Effect(changes)


def find_path(view: View, key: int) -> Keys:
    """With it the batch that it waited for, so that all are locked in the order of their ids."""
    model, path = view.model, view.model.paths[key]
    if not model.rules.locks_path:
        return tuple(batch for batch in path if view.batch(batch).outcome)
    gate = (model.plan(key).gate,) if model.rules.asks_gate else ()
    return tuple(sorted({*path, *(batch for batch in gate if 0 <= batch < FIRST_JOB)}))


def write_reset(view: View, keys: Keys, key: int) -> Effect:
    model, plan, path = view.model, view.model.plan(key), view.model.paths[key]
    rows = {batch: view.batch(batch) for batch in path if batch in keys}
    if model.rules.refuses and any(row.outcome == SKIPPED for row in rows.values()):
        return UNDONE
    ended = tuple(batch for batch, row in rows.items() if row.outcome)
    changes = {batch: Batch(True, row.is_opened) for batch, row in rows.items()}
    state = QUEUED
    if model.rules.asks_gate and plan.gate != NONE:
        if plan.batch != NONE and plan.gate == model.batches[plan.batch].gate:
            state = QUEUED if view.batch(plan.batch).is_opened else BLOCKED
        elif plan.gate >= FIRST_JOB:
            return Effect(changes, (("share gate", plan.gate, key, ended),))
        else:
            state = state_behind(view.batch(plan.gate).outcome, plan.gate_on)
    return Effect(changes, (("requeue", key, state, ended),))


def state_behind(outcome: str, gate_on: str) -> str:
    """Of a job that is retried, by how its gate ended."""
    if not outcome:
        return BLOCKED
    fits = {NEXT: (SUCCEEDED,), SUCCESS: (SUCCEEDED,), FAILURE: (FAILED,)}
    return QUEUED if outcome in fits.get(gate_on, (SUCCEEDED, FAILED, CANCELLED)) else ""


def find_gate(view: View, gate: int, *rest: Any) -> Keys:
    return (gate,) if view.model.rules.locks_gate != "not" else ()


def write_gate(view: View, keys: Keys, gate: int, key: int, ended: Keys) -> Effect:
    if not keys and view.model.rules.locks_gate != "not":
        return UNDONE
    state = view.job(gate).state
    state = state_behind("" if state in LIVE else state, NEXT)
    return Effect(then=(("requeue", key, state, ended),))


def find_ended(view: View, key: int, *rest: Any) -> Keys:
    """Not one that runs again: it may hold its row and want the path."""
    if not view.model.rules.asks_state:
        return (key,)
    return (key,) if is_retriable(view.job(key)) else ()


def is_retriable(row: Job) -> bool:
    return row.state in (FAILED, CANCELLED) and not row.code


def write_requeue(view: View, keys: Keys, key: int, state: str, ended: Keys) -> Effect:
    row = view.job(key)
    if not state or not keys or not is_retriable(row):
        return UNDONE
    gates = (key, *ended)
    then = revive(view.model, gates) if view.model.rules.revives != "not" else ()
    return Effect({key: row._replace(state=state)}, then)


def revive(model: Model, gates: Keys) -> tuple[Statement, ...]:
    if not model.releases_batches(gates) and not model.releases_jobs(gates, EACH):
        return ()
    return (("revive batches", gates),)


def find_skipped(view: View, gates: Keys) -> Keys:
    return batches_at(view, gates, SKIPPED)


def write_revived_batches(view: View, keys: Keys, gates: Keys) -> Effect:
    changed = tuple(key for key in keys if is_shut(view.batch(key), SKIPPED))
    rows = {key: view.batch(key)._replace(outcome="") for key in changed}
    changes = dict.fromkeys(rows, Batch(True)) if view.model.rules.revives == "as new" else rows
    return Effect(changes, (("revive jobs", gates, changed),))


def find_revived_jobs(view: View, gates: Keys, done: Keys) -> Keys:
    return tuple(key for key in jobs_at(view, gates, EACH) if view.job(key).code == SKIPPED)


def write_revived_jobs(view: View, keys: Keys, gates: Keys, done: Keys) -> Effect:
    changed = tuple(key for key in keys if view.job(key).code == SKIPPED)
    changes = {key: view.job(key)._replace(state=BLOCKED, code="") for key in changed}
    return Effect(changes, revive(view.model, (*done, *changed)))


def find_uncancelled(view: View, batch: int) -> Keys:
    return tuple(key for key in view.model.batch_keys if is_cancellable(view, key, batch))


def is_cancellable(view: View, key: int, batch: int) -> bool:
    row, is_within = view.batch(key), view.model.is_within(key, batch)
    return is_within and row.is_there and not row.outcome and not row.is_cancelled


def write_cancel(view: View, keys: Keys, batch: int) -> Effect:
    changed = [key for key in keys if is_cancellable(view, key, batch)]
    again = changed and view.model.rules.repeats
    return Effect(
        {key: view.batch(key)._replace(is_cancelled=True) for key in changed},
        (("cancel batches", batch),) if again else (),
    )


def waiting_members(view: View, batch: int) -> Keys:
    """Of the batches below it that are cancelled."""
    model = view.model
    return tuple(
        key
        for key in model.job_keys
        if view.job(key).state in WAITING
        and model.is_within(key, batch)
        and (model.plan(key).gate_on == NEXT or not model.rules.leaves_callbacks)
        and view.batch(model.plan(key).batch).is_cancelled
    )


def write_look_for_waiting(view: View, keys: Keys, batch: int) -> Effect:
    found = waiting_members(view, batch)
    if not found:
        below = [key for key in view.model.batch_keys if view.model.is_within(key, batch)]
        return Effect(then=tuple(look(*(key for key in below if view.is_complete(key)))))
    return Effect(then=(("fail path", found), ("cancel", found, batch), COMMIT))


def find_waiting(view: View, jobs: Keys, batch: int) -> Keys:
    return tuple(key for key in jobs if view.job(key).state in WAITING)


def write_cancelled_jobs(view: View, keys: Keys, jobs: Keys, batch: int) -> Effect:
    changed = find_waiting(view, keys, batch)
    changes = {key: view.job(key)._replace(state=CANCELLED) for key in changed}
    again: Statement = ("look for waiting", batch) if changed else LEAVE
    return Effect(changes, tuple(skip(view.model, changed, (NEXT,))), (again,))


SHARED = ("share batch", "share claim", "share gate")
STATEMENTS: dict[str, tuple[Callable[..., Keys], Callable[..., Effect]]] = {
    "settle": (find_claim, write_settlement),
    "fail path": (find_unfailed, write_failure),
    "open": (find_shut, write_opening),
    "release": (blocked_at, write_release),
    "skip batches": (find_shut, write_skipped_batches),
    "skip jobs": (find_skipped_jobs, write_skipped_jobs),
    "look": (nothing, write_look),
    "lock": (find_batch, write_nothing),
    "ask": (nothing, write_answer),
    "finish": (find_complete, write_completion),
    "drop": (find_unneeded, write_unneeded),
    "share batch": (find_batch, write_growth),
    "share claim": (find_claim, write_claim),
    "read claim": (nothing, write_claim),
    "insert": (nothing, write_insert),
    "lock path": (find_path, write_reset),
    "share gate": (find_gate, write_gate),
    "requeue": (find_ended, write_requeue),
    "revive batches": (find_skipped, write_revived_batches),
    "revive jobs": (find_revived_jobs, write_revived_jobs),
    "cancel batches": (find_uncancelled, write_cancel),
    "look for waiting": (nothing, write_look_for_waiting),
    "cancel": (find_waiting, write_cancelled_jobs),
}
