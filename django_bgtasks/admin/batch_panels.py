"""What the pages say of workflows: of a batch its tree, and of a job what is around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import router
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..core import clock
from ..core.flows import GateOn
from ..core.formats import NOTHING, duration, number
from ..core.messages import error_message
from ..core.progress import percent_of
from ..core.states import State, WaitsFor
from ..ledger.batches import GATE_FAILED, SKIP_CODES
from ..models import Batch, BatchKind, BatchOutcome, Job
from ..monitoring.batch_tree import Surroundings, TreeNode, around_job, cause_of_skip
from ..workflows.progress import BatchProgress
from . import formatting as show
from .columns import state_badge, wait_text


def batch_badge(batch: Batch) -> SafeString:
    """How a batch stands, as people see it."""
    if batch.outcome:
        return show.badge(batch.outcome, BatchOutcome(batch.outcome).label)
    if batch.cancelled_at is not None:
        return show.badge("cancelled", _("Being cancelled"))
    if batch.failed_at is not None:
        return show.badge("failing", _("Failing"))
    if batch.opened_at is None:
        return show.badge("blocked", _("Blocked"))
    return show.badge("open", _("Open"))


def batch_name(batch: Batch) -> str:
    """Its name; of one without a name what it is."""
    return batch.name or str(_("Chain") if batch.kind == BatchKind.CHAIN else _("Group"))


def batch_link(batch: Batch, site: str, may_see: bool = True) -> SafeString | str:
    """Its name as a link to its page."""
    page = show.page_of(site, Batch, batch.pk) if may_see else None
    return show.link(page, batch_name(batch))


def bar(progress: BatchProgress) -> SafeString:
    """How many of its jobs have ended, as a bar and in figures, and how many have failed."""
    done, total = progress.done, progress.total
    failed = format_html(
        ' <span class="bgtasks-bad">{}</span>', _("%s failed") % number(progress.failed)
    ) if progress.failed else ""  # fmt: skip
    if not total:
        return format_html('<span class="bgtasks-quiet">{}</span>', _("no jobs"))
    return format_html(
        '<span class="bgtasks-meter"><progress value="{}" max="{}" aria-label="{}"></progress> '
        "<bdi>{} / {}</bdi></span>{}",
        str(done),
        str(total),
        _("%d %% done") % percent_of(done, total),
        number(done),
        number(total),
        failed,
    )


def states_of(batch: Batch, progress: BatchProgress, site: str) -> list[dict[str, Any]]:
    """How many jobs of it and its parts are in each state, with the list of them."""
    return [
        {
            "badge": show.badge(state, State(state).label),
            "number": number(progress.states[state]),
            "url": show.job_list(site, batch=batch.pk, state=state),
        }
        for state in State.values
        if state in progress.states
    ]


def took(start: datetime | None, end: datetime | None) -> str:
    """How long it took, or has been taking."""
    if start is None:
        return NOTHING
    return duration(clock.between(start, end or clock.now()).total_seconds())


def tree_rows(nodes: Iterable[TreeNode], site: str) -> list[dict[str, Any]]:
    """Elements of a batch, with theirs."""
    return [_row(node, site) for node in nodes]


def job_row(job: Job, site: str) -> dict[str, Any]:
    """A job in a tree or in a list of some."""
    module, _dot, name = job.task.rpartition(".")
    is_skipped = job.error_code in SKIP_CODES
    trouble = error_message(job.error_code, job.error_params, job.error)
    # Those that are skipped are many, for one cause, which has its own row.
    text = wait_text(job) or ("" if job.state == State.SUCCEEDED else trouble)
    return {
        "key": str(job.pk),
        "badge": show.badge(*state_badge(job)),
        "link": show.link(show.page_of(site, Job, job.pk), show.breakable(name, "_")),
        "module": show.breakable(module),
        "label": job.label,
        "when": callback_text(job.gate_on),
        "text": text,
        "is_error": bool(trouble) and not is_skipped and job.state != State.SUCCEEDED,
        "took": took(job.started_at, job.finished_at) if job.started_at else "",
    }


def _row(node: TreeNode, site: str) -> dict[str, Any]:
    batch = node.row
    if isinstance(batch, Job):
        return job_row(batch, site)
    return {
        "key": str(batch.pk),
        "badge": batch_badge(batch),
        "link": batch_link(batch, site),
        "module": "",
        "label": batch.get_kind_display() if batch.name else "",
        "bar": bar(node.progress) if node.progress is not None else "",
        "took": took(batch.opened_at, batch.finished_at) if batch.opened_at else "",
        "nodes": tree_rows(node.nodes, site),
        "more": show.page_of(site, Batch, batch.pk) if node.is_cut else None,
    }


def around_rows(rows: Sequence[Job | Batch], site: str) -> list[dict[str, Any]]:
    """What waits for a batch or a job."""
    return tree_rows(map(TreeNode, rows), site)


def gate_row(gate: Job | Batch | None, site: str) -> dict[str, Any] | None:
    """What a batch or a job waits for."""
    return around_rows([gate], site)[0] if gate is not None else None


def workflow_of(job: Job, site: str, may_see: bool = True) -> dict[str, Any] | None:
    """What is around a job in its workflow; None for one that is in none.

    may_see: whether the user may see batches.
    """
    if job.batch is None and job.gate is None:
        return None
    using = router.db_for_read(Job)
    found = around_job(job, using)
    return {
        "says": _says(job, found, site, may_see),
        "gate": gate_row(found.gate, site) if job.waits_for == WaitsFor.GATE else None,
        "cause": _cause(job, site, using),
        "followers": around_rows(found.followers, site),
        "all": show.job_list(site, batch=job.batch) if job.batch else None,
        "has_ended": job.is_final,
    }


def _says(job: Job, found: Surroundings, site: str, may_see: bool) -> list[SafeString]:
    says = []
    if found.root is not None:
        link = batch_link(found.root, site, may_see)
        says.append(show.sentence(_("Part of the workflow %s."), link, batch_badge(found.root)))
    if found.parent is not None and found.root is not None and found.parent.pk != found.root.pk:
        link = batch_link(found.parent, site, may_see)
        says.append(show.sentence(_("It is in %s."), link, batch_badge(found.parent)))
    if (text := callback_text(job.gate_on)) and isinstance(found.gate, Batch):
        says.append(show.sentence(f"{text}: %s.", batch_link(found.gate, site, may_see)))
    elif job.gate is not None and job.waits_for != WaitsFor.GATE and found.gate is not None:
        row = gate_row(found.gate, site)
        if job.error_code not in SKIP_CODES and row is not None:
            says.append(show.sentence(_("It came after %s."), row["link"], row["badge"]))
    return says


def callback_text(gate_on: str) -> str:
    """When a callback runs; empty for what is none."""
    texts = {
        GateOn.SUCCESS: _("Runs when this has succeeded"),
        GateOn.FAILURE: _("Runs when a job of this has failed"),
        GateOn.END: _("Runs when this has ended"),
    }
    return texts.get(GateOn(gate_on), "") if gate_on else ""


def _cause(job: Job, site: str, using: str) -> dict[str, Any] | None:
    """For what a job was skipped."""
    if job.state != State.CANCELLED or job.error_code != GATE_FAILED or job.gate is None:
        return None
    return gate_row(cause_of_skip(job.gate, using), site)
