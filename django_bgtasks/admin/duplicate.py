"""Another job like this one, with changed arguments, checked before it is enqueued."""

from __future__ import annotations

import json
from typing import Any, TypeVar
from uuid import UUID

from django import forms
from django.contrib.admin.models import ADDITION, LogEntry
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.compat import InvalidTask
from ..core.errors import BgTasksError, DuplicateJob, QueueFull, TaskNotFound
from ..core.options import backend_of
from ..core.payload import refuse_wrong_call
from ..core.sensitive import MASK, may_see_secrets
from ..jobs.task import BackgroundTask, find_task
from ..ledger.outages import in_transaction
from ..models import Job

T = TypeVar("T")


class CallForm(forms.Form):
    """The arguments of a call, as JSON, which must fit the task's signature."""

    args = forms.JSONField(
        label=gettext_lazy("Arguments"), required=False, widget=forms.Textarea({"rows": 6})
    )
    kwargs = forms.JSONField(
        label=gettext_lazy("Keyword arguments"), required=False, widget=forms.Textarea({"rows": 8})
    )

    def __init__(self, task: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.task = task

    def clean_args(self) -> list[Any]:
        """A list."""
        return _of_type(self.cleaned_data["args"], list, _("This must be a list: [1, 2]."))

    def clean_kwargs(self) -> dict[str, Any]:
        """An object."""
        text = _('This must be an object: {"name": 1}.')
        return _of_type(self.cleaned_data["kwargs"], dict, text)

    def clean(self) -> dict[str, Any]:
        """The call must be one that the function takes."""
        if not self.errors:
            try:
                refuse_wrong_call(self.task, self.cleaned_data["args"], self.cleaned_data["kwargs"])
            except (BgTasksError, TypeError) as refusal:
                raise forms.ValidationError(_said(refusal)) from None
        return self.cleaned_data


def task_to_call(job: Job, user: Any) -> Any:
    """The task of this job; None where it is not known, or where its arguments are not shown."""
    try:
        task = find_task(job.task)
    except TaskNotFound:
        return None
    # The mask in the place of a value would be enqueued as it is.
    masked = MASK in json.dumps([job.args, job.kwargs])
    return task if may_see_secrets(user) or not masked else None


def form_for(task: Any, job: Job, data: Any = None) -> CallForm:
    """The form with the arguments of the job."""
    shown = {"args": job.args, "kwargs": job.kwargs}
    form = CallForm(task, data, initial=shown)
    for name, value in shown.items():
        lines = json.dumps(value, indent=2, ensure_ascii=False).count("\n") + 2
        form.fields[name].widget.attrs["rows"] = min(30, max(4, lines))
        form.fields[name].encoder = _Indented  # type: ignore[attr-defined]
    return form


def enqueue_like(job: Job, form: CallForm, user: Any) -> UUID | None:
    """Enqueue the call of a valid form, in the queue of `job`; None, and an error, if refused."""
    call = form.cleaned_data

    def enqueue_and_log() -> UUID:
        result = _like(job, form.task).enqueue(*call["args"], **call["kwargs"])
        if result.deduplicated:
            # Undone: to duplicate a job changes no other one.
            raise DuplicateJob(str(result.id), result.id)
        made = Job.objects.only("task").get(pk=result.id)
        text = _("Made from job %s, with arguments of its own.") % job.pk
        LogEntry.objects.log_actions(user.pk, [made], ADDITION, text)
        return UUID(str(made.pk))

    try:
        return in_transaction(enqueue_and_log, router.db_for_write(Job))
    except (BgTasksError, InvalidTask, ImproperlyConfigured, TypeError) as refusal:
        form.add_error(None, _said(refusal))
        return None


def _said(refusal: Exception) -> str:
    """A refusal in the reader's language; what only a developer can mend is quoted as it is."""
    if isinstance(refusal, DuplicateJob):
        return _("Job %s holds the dedup key. Nothing was enqueued.") % refusal.job_id
    if isinstance(refusal, QueueFull):
        text = _("Queue %(queue)s is full (max_depth: %(limit)s). Nothing was enqueued.")
        return text % {"queue": refusal.queue, "limit": refusal.limit}
    return _("This call is refused, and nothing was enqueued: %s") % refusal


class _Indented(json.JSONEncoder):
    """JSON as the page of a job shows it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "indent": 2})


def _like(job: Job, task: Any) -> Any:
    changes: dict[str, Any] = {"queue_name": job.queue, "priority": job.priority}
    if isinstance(task, BackgroundTask):
        backend = backend_of(job.backend) or task.backend
        changes |= {"owner": job.owner, "about": job.about, "backend": backend}
    return task.using(**changes)


def _of_type(value: Any, kind: type[T], refusal: str) -> T:
    # Django's JSONField takes an empty list for no value.
    value = kind() if value is None else value
    if not isinstance(value, kind):
        raise forms.ValidationError(refusal)
    return value
