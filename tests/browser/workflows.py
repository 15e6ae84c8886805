"""The pages of workflows, in the admin and on the site, for a picture."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from playwright.sync_api import Page

from django_bgtasks.core import clock
from django_bgtasks.core.flows import GateOn
from django_bgtasks.core.states import State
from django_bgtasks.ledger.history import Actor, record
from django_bgtasks.models import Batch, HistoryVerb, Job
from tests.interfaces.rows import make_worker
from tests.interfaces.workflows import make_batch, make_member, make_step, skip

ADMIN = "/admin/django_bgtasks/"
LIST, JOBS = f"{ADMIN}batch/", f"{ADMIN}job/"
IMPORT, CITY, REPORT = (
    f"testproject.office.tasks.{name}"
    for name in ("contacts.import_contacts", "contacts.find_city", "contacts.send_report")
)
LONG = "a-name-of-a-workflow-without-a-space/" * 5
ERROR = "ValueError: june.csv, line 61,004: 'Grüße' is no address of a mailbox, and neither is ''"
FAILURE = {"error": ERROR, "error_code": "exception", "attempt": 1}


def admin_no_workflows(user: User) -> str:
    """The list before the first one."""
    make_worker()
    return LIST


def admin_workflows(user: User) -> str:
    """Workflows in every state, one of them with a very long name."""
    make_worker()
    some_workflows(user)
    return LIST


def admin_workflow(user: User) -> str:
    """One that runs: a step, a group with a chain in it, a last step, and a callback."""
    return page_of(running(user))


def admin_failed_workflow(user: User) -> str:
    """One that has failed: what was behind it is skipped, and somebody has tried again."""
    return page_of(failed(user))


def admin_long_workflow(user: User) -> str:
    """Names, labels and errors as long as they may be."""
    return page_of(long_one(user))


def admin_many_members(user: User) -> str:
    """The group of one with more jobs than are counted."""
    root = running(user)
    parts = Batch.objects.get(parent=root.pk)
    member = Job.objects.filter(batch=parts.pk, state=State.QUEUED)[0]
    fields = {field.attname: getattr(member, field.attname) for field in Job._meta.concrete_fields}
    ended = {"state": State.SUCCEEDED, "started_at": clock.now(), "finished_at": clock.now()}
    Job.objects.bulk_create(
        (
            Job(**{**fields, **(ended if number % 3 else {}), "id": clock.new_id()})
            for number in range(10_500)
        ),
        batch_size=1000,
    )
    return page_of(parts)


def admin_waiting_step(user: User) -> str:
    """The page of a step that waits for a group."""
    root = running(user)
    return f"{JOBS}{Job.objects.get(batch=root.pk, state=State.BLOCKED).pk}/change/"


def admin_skipped_step(user: User) -> str:
    """The page of a step that was skipped."""
    root = failed(user)
    return f"{JOBS}{Job.objects.get(batch=root.pk, error_code='gate_failed').pk}/change/"


def admin_steps(user: User) -> str:
    """The list of jobs with steps that wait and that were skipped."""
    make_worker()
    some_workflows(user)
    return JOBS


def workflows_on_the_dashboard(user: User) -> str:
    """Stuck ones, and those that have failed lately."""
    make_worker(dead_after=86_400.0, queues=["other"])
    some_workflows(user)
    make_member(make_batch("chain", name="reports of june"), task=REPORT)
    make_member(make_batch(name=LONG), task=REPORT, queue="other", held_reason="task_not_imported",
                error_code="task_not_imported",
                error_params={"task": REPORT, "why": "ImportError: no module"})  # fmt: skip
    return f"{ADMIN}dashboard/"


def press_cancel_workflow(page: Page) -> None:
    """The question before it."""
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="I’m sure").wait_for()


def press_retry_failed(page: Page) -> None:
    """The question before it."""
    page.get_by_role("button", name="Retry failed").click()
    page.get_by_role("button", name="I’m sure").wait_for()


def show_workflows(page: Page) -> None:
    """That part of the dashboard."""
    page.locator("#bgtasks-batches").evaluate("part => part.scrollIntoView()")


def some_workflows(user: User) -> None:
    """One in each state."""
    running(user)
    failed(user)
    long_one(user)
    ended = clock.now() - timedelta(minutes=2)
    for outcome, name in (("succeeded", "nightly report"), ("cancelled", "mailing to all")):
        make_batch(name=name, outcome=outcome, total=40, finished_at=ended, owner=user)
    make_batch("chain", outcome="succeeded", total=3, finished_at=ended)
    asked = make_batch(name="asked to stop", cancelled_at=clock.now())
    make_member(asked, State.RUNNING, task=CITY)


def running(user: User) -> Batch:
    """A chain whose group is half done; one of its members has failed."""
    root = make_batch("chain", name="contacts of june.csv", owner=user, dedup_key="file:4711",
                      failed_at=clock.now())  # fmt: skip
    first = done(root, task=IMPORT, has_followers=True)
    parts = make_batch("group", root, name="parts", gate=first.pk, failed_at=clock.now())
    values: dict[str, Any] = {"task": CITY, "gate": first.pk, "gate_on": "next"}
    for city in ("Turin", "Bergen", "Łódź"):
        done(parts, label=city, **values)
    make_member(parts, State.FAILED, label="Atlantis", **FAILURE, **values)
    make_member(parts, State.RUNNING, label="Cádiz", attempt=1, **values)
    for city in ("Graz", "Porto"):
        make_member(parts, State.QUEUED, label=city, **values)
    pair = make_batch("chain", parts, gate=first.pk)
    second = make_member(pair, State.RUNNING, label="Zürich", attempt=1, **values)
    make_step(pair, second.pk, task=REPORT, label="Zürich")
    make_step(root, parts.pk, task=REPORT)
    make_step(None, root.pk, GateOn.END, task=REPORT, label="to the owner")
    return root


def failed(user: User) -> Batch:
    """A chain whose first step has failed."""
    now = clock.now()
    root = make_batch("chain", name="contacts of may.csv", owner=user, outcome="failed",
                      failed_at=now, total=3)  # fmt: skip
    first = make_member(root, State.FAILED, task=IMPORT, has_followers=True, **FAILURE)
    parts = make_batch("group", root, name="parts", gate=first.pk, opened_at=None,
                       outcome="skipped")  # fmt: skip
    skip(make_step(root, parts.pk, task=REPORT))
    told = {"batch": root.pk, "detail": str(root)}
    record(HistoryVerb.BATCH_RETRIED, Actor(user.get_username(), "admin"), [told], "default")
    return root


def long_one(user: User) -> Batch:
    """All as long as it may be."""
    root = make_batch("group", name=LONG, dedup_key="file:" + "4711" * 60, failed_at=clock.now())
    inner = root
    for number in range(4):
        inner = make_batch("chain", inner, name=f"{number}-{LONG}")
    task = "warehouse.devices." + "synchronize_the_whole_" * 6 + "inventory"
    make_member(inner, State.RUNNING, task=task, label="a label " * 25, attempt=1)
    words = {"error": "OSError: " + "/srv/data/" * 24, "error_code": "exception", "attempt": 1}
    make_member(root, State.FAILED, task=task, label="label" * 40, **words)
    return root


def done(batch: Batch, **fields: Any) -> Job:
    """A member that has succeeded."""
    return make_member(batch, State.SUCCEEDED, attempt=1, **fields)


def page_of(batch: Batch) -> str:
    """The address of its page."""
    return f"{LIST}{batch.pk}/change/"
