"""The pages of which `tox run -e screenshots` takes pictures: one line each, and a data maker.

A data maker fills the database and returns the path of the page. The pictures are
docs/images/NAME-light.png, NAME-dark.png and NAME-phone.png.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from django.contrib.auth.models import User
from playwright.sync_api import Page

from django_bgtasks import GiveUp
from django_bgtasks.core.outcomes import Outcome, failure_of
from django_bgtasks.core.states import State, Transition
from testproject.office.models import Picture
from tests.interfaces.rows import make_attempt, make_job

from .admins import (
    admin_copy,
    admin_delete,
    admin_held_job,
    admin_history,
    admin_job,
    admin_long_job,
    admin_long_list,
    admin_long_records,
    admin_long_workers,
    admin_many,
    admin_nothing_found,
    admin_record,
    admin_records,
    admin_running_job,
    admin_succeeded_job,
    admin_worker,
    admin_workers,
    ask_for_all,
    many_jobs,
    press_cancel,
)
from .dashboards import busy_dashboard, busy_queue, busy_task, empty_dashboard, press_retry
from .limits import (
    admin_holding_job,
    admin_limits,
    admin_long_limits,
    admin_long_waiting_job,
    admin_many_limits,
    admin_no_limits,
    admin_rates,
    admin_waiting_job,
    admin_waiting_jobs,
    limits_on_the_dashboard,
    press_run_anyway,
    rates_on_the_dashboard,
    refuse_a_key,
    show_limits,
    show_rates,
)
from .schedules import (
    admin_long_form,
    admin_long_schedule,
    admin_long_schedules,
    admin_make_up,
    admin_no_schedules,
    admin_schedule,
    admin_schedule_form,
    admin_schedules,
    count_ticks,
    refuse,
)
from .workflows import (
    admin_failed_workflow,
    admin_long_workflow,
    admin_many_members,
    admin_no_workflows,
    admin_skipped_step,
    admin_steps,
    admin_waiting_step,
    admin_workflow,
    admin_workflows,
    press_cancel_workflow,
    press_retry_failed,
    show_workflows,
    workflows_on_the_dashboard,
)

IMPORT = "testproject.office.tasks.contacts.import_contacts"
SIZES = "testproject.office.tasks.pictures.make_sizes"


class Shot(NamedTuple):
    """name: of the file. make: the data maker; it is given the user who looks, a superuser.

    then: what that user does on the page before the picture. long: another one has the same page,
    with other data; see tests.selection.
    """

    name: str
    make: Callable[[User], str]
    then: Callable[[Page], object] | None = None
    long: bool = False


def running_job(user: User) -> str:
    """A job half done."""
    job = make_job(State.RUNNING, owner=user, task=IMPORT, attempt=1, **progress(61_000, 96_000))
    return f"/jobs/{job.pk}/"


def waiting_job(user: User) -> str:
    """A job that nobody knows the length of."""
    return f"/jobs/{make_job(State.QUEUED, owner=user, task=IMPORT).pk}/"


def failed_job(user: User) -> str:
    """A job that failed and may be tried again."""
    words = "june.csv has no column 'email'."
    failure = failure_of(GiveUp(words))
    columns = Outcome(Transition.FAIL, failure=failure).error_columns
    job = make_job(State.FAILED, owner=user, task=IMPORT, attempt=1, **columns)
    columns_of_attempt = {"message": words, "code": failure.code, "params": failure.params}
    make_attempt(job, exception_class="django_bgtasks.GiveUp", **columns_of_attempt)
    return f"/jobs/{job.pk}/"


def running_picture(user: User) -> str:
    """The component on the page of what it makes."""
    picture = Picture.objects.create(owner=user, name="holiday.jpg", digest="0", size=4_100_000)
    fields = {**progress(2, 3), "progress_message": "large"}
    make_job(State.RUNNING, owner=user, task=SIZES, attempt=1, about=picture, **fields)
    return f"/pictures/{picture.pk}/"


def admin_jobs(user: User) -> str:
    """The list of jobs in the admin, one of each state and a few more."""
    for state in State:
        make_job(state, owner=user, task=IMPORT, attempt=int(state != State.QUEUED))
    failed_job(user)
    running_job(user)
    return "/admin/django_bgtasks/job/"


def progress(done: int, total: int) -> dict[str, Any]:
    """The fields of a job's progress."""
    message = f"{done:,} of {total:,} contacts"
    return {"progress_done": done, "progress_total": total, "progress_message": message}


SHOTS = (
    Shot("job-waiting", waiting_job, long=True),
    Shot("job-running", running_job),
    Shot("picture-running", running_picture),
    Shot("job-failed", failed_job),
    Shot("admin-jobs", admin_jobs),
    Shot("admin-job", admin_job),
    Shot("admin-copy", admin_copy),
    Shot("admin-nothing-found", admin_nothing_found, long=True),
    Shot("admin-running", admin_running_job),
    Shot("admin-held", admin_held_job, long=True),
    Shot("admin-succeeded", admin_succeeded_job, long=True),
    Shot("admin-cancel", admin_running_job, press_cancel),
    Shot("admin-delete", admin_delete),
    Shot("admin-all", many_jobs, ask_for_all, long=True),
    Shot("admin-many", admin_many, long=True),
    Shot("admin-workers", admin_workers),
    Shot("admin-worker", admin_worker),
    Shot("admin-records", admin_records),
    Shot("admin-record", admin_record),
    Shot("admin-history", admin_history),
    Shot("admin-long-job", admin_long_job),
    Shot("admin-long-list", admin_long_list),
    Shot("admin-long-workers", admin_long_workers, long=True),
    Shot("admin-long-records", admin_long_records, long=True),
    Shot("admin-schedules", admin_schedules),
    Shot("admin-no-schedules", admin_no_schedules, long=True),
    Shot("admin-schedule", admin_schedule),
    Shot("admin-schedule-form", admin_schedule_form),
    Shot("admin-schedule-refused", admin_schedule_form, refuse),
    Shot("admin-make-up", admin_make_up, count_ticks),
    Shot("admin-long-schedules", admin_long_schedules, long=True),
    Shot("admin-long-schedule", admin_long_schedule, long=True),
    Shot("admin-long-schedule-form", admin_long_form, long=True),
    Shot("admin-limits", admin_limits),
    Shot("admin-rates", admin_rates, show_rates),
    Shot("admin-no-limits", admin_no_limits, long=True),
    Shot("admin-limit-refused", admin_limits, refuse_a_key, long=True),
    Shot("admin-long-limits", admin_long_limits, long=True),
    Shot("admin-many-limits", admin_many_limits, long=True),
    Shot("admin-waiting-jobs", admin_waiting_jobs),
    Shot("admin-waiting-job", admin_waiting_job),
    Shot("admin-holding-job", admin_holding_job, long=True),
    Shot("admin-long-waiting-job", admin_long_waiting_job, long=True),
    Shot("admin-run-anyway", admin_waiting_job, press_run_anyway),
    Shot("admin-no-workflows", admin_no_workflows, long=True),
    Shot("admin-workflows", admin_workflows),
    Shot("admin-workflow", admin_workflow),
    Shot("admin-workflow-failed", admin_failed_workflow, long=True),
    Shot("admin-workflow-long", admin_long_workflow, long=True),
    Shot("admin-workflow-many", admin_many_members, long=True),
    Shot("admin-workflow-cancel", admin_workflow, press_cancel_workflow),
    Shot("admin-workflow-retry", admin_failed_workflow, press_retry_failed),
    Shot("admin-step-waiting", admin_waiting_step),
    Shot("admin-step-skipped", admin_skipped_step, long=True),
    Shot("admin-steps", admin_steps),
    Shot("dashboard-workflows", workflows_on_the_dashboard, show_workflows),
    Shot("dashboard-limits", limits_on_the_dashboard, show_limits),
    Shot("dashboard-rates", rates_on_the_dashboard, show_rates),
    Shot("dashboard", busy_dashboard),
    Shot("dashboard-empty", empty_dashboard, long=True),
    Shot("dashboard-queue", busy_queue),
    Shot("dashboard-task", busy_task),
    Shot("dashboard-retry", busy_dashboard, press_retry),
)
