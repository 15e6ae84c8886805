"""Dedup: one live job per dedup key."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from django.db import connection, transaction

from django_bgtasks.core.states import WAITING
from django_bgtasks.ledger import prune
from django_bgtasks.ledger.lifecycle import ledger_database
from django_bgtasks.models import Job
from tests.app.models import Note
from tests.threads import in_threads
from tests.workers import ROOT, environment

from . import delivery_tasks
from .case import SOON, Case
from .effects import VARIABLE as EFFECTS
from .strikes import Strike

pytestmark = pytest.mark.faults

CALLERS = 50


def live(key: str) -> int:
    """How many live jobs have this dedup key."""
    return Job.objects.live().filter(dedup_key=key).count()


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.long)])
def test_fifty_calls_with_one_key_at_the_same_moment_are_one_job(case: Case, rounds: int) -> None:
    case.row("Dedup", f"{CALLERS} concurrent calls with one dedup key", times=rounds)
    for first in range(0, rounds, 4):
        keys = [f"key-{number}" for number in range(first, first + 4)]
        start = Barrier(CALLERS)

        def call(keys: list[str] = keys, start: Barrier = start) -> list[tuple[str, bool]]:
            answers = []
            for key in keys:
                start.wait(30)
                result = delivery_tasks.keyed.enqueue(key)
                answers.append((result.id, result.deduplicated))
            return answers

        calls = in_threads(*[call] * CALLERS)
        for key, answers in zip(keys, zip(*calls, strict=True), strict=True):
            [row] = Job.objects.filter(dedup_key=key)
            assert {job for job, _ in answers} == {str(row.pk)}
            assert sum(not deduplicated for _, deduplicated in answers) == 1
            case.committed.append(str(row.pk))
    case.drain()
    assert case.effects.times("begin") == dict.fromkeys(case.committed, 1)


@pytest.mark.long
def test_calls_of_many_processes_with_one_key_are_one_job(case: Case, tmp_path: Path) -> None:
    rounds, processes = 40, 6
    case.row("Dedup", f"concurrent calls of {processes} processes with one dedup key", times=rounds)
    keys = [f"key-{number}" for number in range(rounds)]
    command = [sys.executable, "-m", "tests.faults.rival", "keyed", "--at", str(tmp_path), *keys]
    env = {**environment(), EFFECTS: str(case.effects.path)}
    rivals = [
        subprocess.Popen(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    try:
        assert {_line(rival) for rival in rivals} == {"ready"}
        for key in keys:
            (tmp_path / key).touch()
            answers = [_line(rival).split() for rival in rivals]
            [row] = Job.objects.filter(dedup_key=key)
            case.committed.append(str(row.pk))
            assert Counter(map(tuple, answers)) == {
                (str(row.pk), "False"): 1,
                (str(row.pk), "True"): processes - 1,
            }
    finally:
        for rival in rivals:
            rival.kill()
            rival.communicate(timeout=10)
    case.drain()
    assert case.effects.times("begin") == dict.fromkeys(case.committed, 1)


def _line(rival: subprocess.Popen[str]) -> str:
    assert rival.stdout is not None
    return rival.stdout.readline().strip()


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize("part", ["transaction", pytest.param("savepoint", marks=pytest.mark.long)])
def test_when_the_winner_rolls_back_exactly_one_of_the_others_wins(
    case: Case, rounds: int, part: str
) -> None:
    case.row("Dedup", "the call that won rolls back, and others wait for its key", times=rounds)
    for number in range(rounds):
        inserted, key = Event(), f"key-{number}"

        def winner(key: str = key, inserted: Event = inserted) -> str:
            with transaction.atomic():
                Note.objects.create(text=f"outer {key}")
                with transaction.atomic(savepoint=part == "savepoint"):
                    job_id = delivery_tasks.keyed.enqueue(key).id
                    inserted.set()
                    _wait_for_others(case, 11)
                    transaction.set_rollback(True)
            return job_id

        def other(key: str = key, inserted: Event = inserted) -> str:
            assert inserted.wait(20)
            return delivery_tasks.keyed.enqueue(key).id

        gone, *ids = in_threads(winner, *[other] * 11)
        [row] = Job.objects.filter(dedup_key=key)
        assert set(ids) == {str(row.pk)} != {gone}
        case.committed.append(str(row.pk))
    assert Note.objects.count() == (rounds if part == "savepoint" else 0)
    case.drain()
    assert case.effects.times("begin") == dict.fromkeys(case.committed, 1)


def _wait_for_others(case: Case, count: int) -> None:
    """On PostgreSQL, until so many wait for the transaction that has the key."""
    if connection.vendor != "postgresql":
        return

    def waiting() -> bool:
        with connection.cursor() as cursor:
            # A transaction sees the sessions of its first look, until it lets go of them.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
                "WHERE NOT granted AND datname = current_database()"
            )
            return bool(cursor.fetchone()[0] >= count)

    case.wait_until(waiting)


@pytest.mark.long
def test_when_the_winner_is_killed_before_its_commit_its_key_is_free(case: Case) -> None:
    case.row("Dedup", "SIGKILL of the site that holds a dedup key, before its commit")
    command = [sys.executable, "-m", "tests.faults.rival", "keyed", "shared"]
    strike = Strike("after insert", "self", number=signal.SIGSTOP).env
    env = {**environment(), EFFECTS: str(case.effects.path), **strike, "BGTASKS_TEST_OPEN": "1"}
    site = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        case.struck_at()

        def kill() -> None:
            _wait_for_others(case, 1)
            site.kill()

        result, _ = in_threads(lambda: delivery_tasks.keyed.enqueue("shared"), kill)
        assert result is not None
    finally:
        site.kill()
        site.wait(10)
    assert not result.deduplicated
    case.committed.append(result.id)
    case.drain()
    assert case.effects.times("begin") == {result.id: 1}


def test_calls_in_transactions_of_their_own_are_one_job_and_spoil_none_of_them(case: Case) -> None:
    callers = 20
    case.row(
        "Dedup", f"{callers} concurrent calls with one dedup key, in transactions", times=callers
    )

    def call(number: int) -> str:
        with transaction.atomic():
            Note.objects.create(text=f"before {number}")
            result = delivery_tasks.keyed.enqueue("shared")
            Note.objects.create(text=f"after {number}")
        return result.id

    ids = set(in_threads(*(partial(call, number) for number in range(callers))))
    assert ids == {str(Job.objects.get().pk)}
    assert Note.objects.count() == 2 * callers
    case.committed += ids
    case.drain()
    assert case.effects.times("begin") == dict.fromkeys(case.committed, 1)


def test_calls_with_the_same_keys_in_another_order_do_not_stop_each_other(case: Case) -> None:
    case.row("Dedup", "enqueue_many of the same dedup keys in different orders", times=8)
    chance = random.Random(seed := 1789)
    print(f"seed {seed}")
    for turn in range(8):
        keys = [f"{turn}-{number}" for number in range(20)]
        orders = [chance.sample(keys, len(keys)) for _ in range(4)]
        calls = [[(key,) for key in order] for order in orders]
        answers = in_threads(*(partial(delivery_tasks.keyed.enqueue_many, call) for call in calls))
        for order, results in zip(orders, answers, strict=True):
            assert [result.args for result in results] == [[key] for key in order]
        assert Job.objects.filter(dedup_key__in=keys).count() == len(keys)


@pytest.mark.parametrize("seconds", [2, pytest.param(20, marks=pytest.mark.long)])
def test_a_call_at_the_moment_its_holder_ends_gets_a_live_job_and_never_a_second_one(
    case: Case, seconds: int
) -> None:
    case.row("Dedup", "calls at the very moment at which the holder of their dedup key ends")
    case.worker("--processes", 2)
    case.enqueue(delivery_tasks.keyed, "shared")
    case.wait_final()
    until = case.now() + seconds

    def call() -> list[tuple[str, datetime]]:
        answers = []
        while case.now() < until:
            before = datetime.now(UTC)
            answers.append((delivery_tasks.keyed.enqueue("shared").id, before))
            assert live("shared") <= 1
        return answers

    answers = [pair for pairs in in_threads(*[call] * 4) for pair in pairs]
    case.committed = list({*case.committed, *(job for job, _ in answers)})
    case.wait_final()
    assert case.entry is not None
    case.entry.times = len(answers)
    ends = dict(Job.objects.values_list("pk", "finished_at"))
    rows = {str(pk): at for pk, at in ends.items()}
    assert set(rows) == set(case.committed)
    assert len(rows) > seconds * 3
    # Its job was live when it was called, or it would have got another.
    assert not [job for job, before in answers if not (at := rows[job]) or at < before]
    _assert_apart(case)


def _assert_apart(case: Case) -> None:
    """No two jobs have run at the same time."""
    runs = [e for e in case.effects.entries if e.what in ("begin", "end")]
    assert [e.what for e in runs] == ["begin", "end"] * (len(runs) // 2)
    assert all(a.job == b.job for a, b in zip(runs[::2], runs[1::2], strict=True))


@pytest.mark.parametrize("seconds", [2, pytest.param(15, marks=pytest.mark.long)])
def test_at_the_end_of_a_window_one_call_gets_a_new_job(case: Case, seconds: int) -> None:
    case.row("Dedup", "calls at the very moment at which a dedup window ends")
    case.worker()
    case.enqueue(delivery_tasks.keyed_for_a_moment, "shared")
    case.wait_final()
    until = case.now() + seconds

    def call() -> list[str]:
        ids = []
        while case.now() < until:
            ids.append(delivery_tasks.keyed_for_a_moment.enqueue("shared").id)
        return ids

    def release() -> list[str]:
        while case.now() < until:
            prune.release_windows(ledger_database())
        return []

    answers = in_threads(*[call] * 6, release)
    case.committed = list({*case.committed, *(job for jobs in answers for job in jobs)})
    case.wait_final()
    rows = list(Job.objects.order_by("enqueued_at"))
    assert case.entry is not None
    case.entry.times = len(rows)
    assert {str(row.pk) for row in rows} == set(case.committed)
    assert len(rows) > seconds
    for before, after in pairwise(rows):
        assert before.dedup_until is not None
        assert after.enqueued_at >= before.dedup_until
        assert before.finished_at is not None
        assert after.enqueued_at >= before.finished_at


HOLDERS: dict[str, tuple[Any, bool, str]] = {
    # What holds the key, whether it does while the job runs, and how the job ends after a crash.
    "live": (delivery_tasks.keyed, True, "succeeded"),
    "live, on_crash=fail": (delivery_tasks.keyed_and_careful, True, "failed"),
    "queued": (delivery_tasks.keyed_until_it_starts, False, "succeeded"),
    "window": (delivery_tasks.keyed_for_an_hour, True, "succeeded"),
}


@pytest.mark.parametrize(
    "kind",
    [kind if kind == "live" else pytest.param(kind, marks=pytest.mark.long) for kind in HOLDERS],
)
@pytest.mark.parametrize("victim", ["process", pytest.param("tree", marks=pytest.mark.long)])
def test_a_crash_neither_keeps_a_key_for_ever_nor_gives_it_away(
    case: Case, kind: str, victim: Any
) -> None:
    case.row("Dedup", "SIGKILL of the process whose job holds a dedup key")
    task, until_end, state = HOLDERS[kind]
    case.worker(strike=Strike("in body", victim, hold=True), env=SOON)
    first = case.enqueue(task, "shared")
    struck = case.struck_at()
    if victim == "tree":
        if until_end:
            # Nobody has rescued it yet: it is as live as it was.
            assert task.enqueue("shared").id == first.id
        case.worker(env=SOON)
    with case.recovers(within=15.0):
        case.wait_final()
    assert case.now() - struck < 15
    assert case.job(first).state == state
    second = case.enqueue(task, "shared")
    assert second.deduplicated == (kind == "window")
    case.wait_final()
    assert live("shared") == 0


@pytest.mark.parametrize("why", ["retry", pytest.param("release", marks=pytest.mark.long)])
def test_a_job_that_waits_again_holds_its_key_again(case: Case, why: str) -> None:
    case.row("Dedup", "calls while a job waits for its next attempt, with the scope queued")
    task: Any
    if why == "retry":
        task = delivery_tasks.keyed_and_failing
        case.worker()
        first = case.enqueue(task, "shared")
        case.wait_until(lambda: case.job(first).state == "scheduled")
    else:
        task = delivery_tasks.keyed_until_it_starts
        worker = case.worker("--grace", 0.2, strike=Strike("in body", "nobody", hold=True))
        first = case.enqueue(task, "shared")
        case.struck_at()
        case.stop(worker)
        assert case.job(first).state == "queued"
    results = in_threads(*[partial(task.enqueue, "shared")] * 10)
    assert {result.id for result in results} == {first.id}
    assert Job.objects.filter(dedup_key="shared", state__in=sorted(WAITING)).count() == 1
    if why == "retry":
        changed = task.using(on_duplicate="replace").enqueue("shared", "text")
        assert changed.id == first.id
    else:
        case.drain()
    case.wait_final()
    assert case.job(first).state == "succeeded"
    assert not task.enqueue("shared").deduplicated


@pytest.mark.long
def test_a_job_whose_key_a_newer_one_took_waits_again_without_it(case: Case) -> None:
    case.row("Dedup", "a newer job takes the dedup key before the older one waits again")
    strike = Strike("in body", "nobody", hold=True)
    worker = case.worker("--grace", 0.2, strike=strike)
    task = delivery_tasks.keyed_until_it_starts
    older = case.enqueue(task, "shared")
    case.struck_at()
    newer = case.enqueue(task, "shared")
    assert newer.id != older.id
    case.stop(worker)
    assert [case.job(job).state for job in (older, newer)] == ["queued", "queued"]
    assert task.enqueue("shared").id == newer.id
    case.drain()
    assert case.effects.times("end") == {older.id: 1, newer.id: 1}
