"""The button "Duplicate": another job like this one, with changed arguments, which are checked."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import DatabaseError, router
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.compat import InvalidTask
from ..core.errors import BgTasksError, DuplicateJob, QueueFull
from ..core.labels import label_of
from ..core.options import backend_of
from ..core.payload import MASK, may_see_secrets, refuse_wrong_call
from ..core.retry import retry_of
from ..core.values import loaded_class
from ..jobs.carried import carrying
from ..jobs.task import BackgroundTask, known_task
from ..jobs.typed import value_of
from ..ledger.connection import in_transaction
from ..ledger.history import record_jobs
from ..models import HistoryVerb, Job
from .actions import JobActions
from .transitions import actor_of

T = TypeVar("T")


class JobDuplication(JobActions):
    """A copy of a job, with changed arguments, for who may add jobs."""

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_duplicate"
        view = self.admin_site.admin_view(self.duplicate_view)
        return [path("<uuid:object_id>/duplicate/", view, name=name), *super().get_urls()]

    def duplicate_url(self, request: HttpRequest, job: Job) -> str | None:
        """Where the form is, if this user may use it for this job."""
        if not self._may_duplicate(request) or task_to_call(job, request.user) is None:
            return None
        return self._url(request, "_duplicate", job.pk)

    def duplicate_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """The form with the arguments of the job; enqueues a job when they fit the task."""
        if not self._may_duplicate(request):
            raise PermissionDenied
        job: Any = self.get_object(request, str(object_id))
        if job is None:
            raise Http404
        task = task_to_call(job, request.user)
        if task is None:
            raise PermissionDenied
        form = CallForm(task, job, request.POST if request.method == "POST" else None)
        if form.is_valid() and (job_id := enqueue_like(job, form, request.user)):
            messages.success(request, _("Enqueued: this is the new job."))
            return HttpResponseRedirect(self._page(request, job_id))
        context = {
            **self.page_context(request, _("Duplicate a job")),
            "original": job,
            "form": form,
        }
        return TemplateResponse(request, "admin/django_bgtasks/job/duplicate.html", context)

    def _may_duplicate(self, request: HttpRequest) -> bool:
        allowed = request.user.has_perm("django_bgtasks.add_job")
        return allowed and self.has_view_permission(request)


LONE = re.compile("[\ud800-\udfff]")


class Indented(json.JSONEncoder):
    """JSON as the page of a job shows it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "indent": 2})

    def encode(self, value: Any) -> str:
        """A lone surrogate, which is no text of a page, stays as it was typed."""
        return LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", super().encode(value))


class CallForm(forms.Form):
    """The arguments of a job's call, as JSON, which must fit the task's signature."""

    args = forms.JSONField(label=gettext_lazy("Arguments"), required=False, encoder=Indented)
    kwargs = forms.JSONField(
        label=gettext_lazy("Keyword arguments"), required=False, encoder=Indented
    )

    def __init__(self, task: Any, job: Job, data: Any = None) -> None:
        values = {"args": job.args, "kwargs": job.kwargs}
        super().__init__(data, initial=values)
        self.task, self.types = task, job.types
        for name, value in values.items():
            lines = json.dumps(value, indent=2, ensure_ascii=False).count("\n") + 2
            self.fields[name].widget.attrs["rows"] = min(30, max(4, lines))

    def clean_args(self) -> list[Any]:
        return of_type(self.cleaned_data["args"], list, _("This must be a list: [1, 2]."))

    def clean_kwargs(self) -> dict[str, Any]:
        text = _('This must be an object: {"name": 1}.')
        return of_type(self.cleaned_data["kwargs"], dict, text)

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if not self.errors:
            try:
                if self.types:
                    # Nothing is imported for what a person has typed.
                    call = value_of([data["args"], data["kwargs"]], loaded_class)
                    data["args"], data["kwargs"] = call
                refuse_wrong_call(self.task, data["args"], data["kwargs"])
            except (BgTasksError, TypeError) as refusal:
                raise forms.ValidationError(_refusal_text(refusal)) from None
        return data


def task_to_call(job: Job, user: Any) -> Any:
    """The task of this job; None where it is not known, or where its arguments are not shown.

    None for the admin's own tasks too: a copy has the owner of the job, as whom these act.
    """
    if job.task.startswith(f"{__package__}."):
        return None
    # The mask in the place of a value would be enqueued as it is.
    masked = MASK in json.dumps([job.args, job.kwargs])
    return known_task(job.task) if may_see_secrets(user) or not masked else None


def enqueue_like(job: Job, form: CallForm, user: Any) -> UUID | None:
    """Enqueue the call of a valid form, in the queue of `job`; None, and an error, if refused.

    It carries what `job` carries, and nothing of this request's.
    """
    call, using = form.cleaned_data, router.db_for_write(Job)
    # That of the job at hand may be masked.
    carried = Job.objects.using(using).values_list("carried", flat=True).get(pk=job.pk)

    def enqueue_and_log() -> UUID:
        with carrying(carried):
            result = _like(job, form.task).enqueue(*call["args"], **call["kwargs"])
        if result.deduplicated:
            # Undone: to duplicate a job changes no other one.
            raise DuplicateJob(str(result.id), result.id)
        copy = Job.objects.using(using).only("task", "queue").get(pk=result.id)
        record_jobs(HistoryVerb.DUPLICATED, actor_of(user, job.pk), [copy], using)
        return UUID(str(copy.pk))

    try:
        return in_transaction(enqueue_and_log, using)
    except DatabaseError:
        raise
    except Exception as refusal:
        # A middleware refuses by what it likes; a label or a key may not be made of such arguments.
        form.add_error(None, _refusal_text(refusal))
        return None


def _refusal_text(refusal: Exception) -> str:
    """A refusal in the reader's language; what only a developer can mend is quoted as it is."""
    if isinstance(refusal, DuplicateJob):
        return _("Job %s holds the dedup key. Nothing was enqueued.") % refusal.job_id
    if isinstance(refusal, QueueFull):
        text = _("Queue %(queue)s is full (max_depth: %(limit)s). Nothing was enqueued.")
        return text % {"queue": refusal.queue, "limit": refusal.limit}
    says_all = isinstance(refusal, BgTasksError | InvalidTask | ImproperlyConfigured | TypeError)
    words = refusal if says_all else f"{type(refusal).__name__}: {refusal}"
    return _("This call is refused, and nothing was enqueued: %s") % words


def _like(job: Job, task: Any) -> Any:
    """The task with what `job` was enqueued with, as far as its row knows."""
    backend = backend_of(job.backend) or task.backend
    changes = {"queue_name": job.queue, "priority": job.priority, "backend": backend}
    if isinstance(task, BackgroundTask):
        changes |= {"owner": job.owner, "about": job.about}
        changes |= {"timeout": job.timeout, "on_crash": job.on_crash}
        if job.retry is not None:
            changes["retry"] = retry_of(job.retry, task)
        if job.expires_at is not None:
            changes["expires"] = max(job.expires_at - job.enqueued_at, timedelta(seconds=1))
        if job.label != _own_label(job, task):
            # It is no template: the arguments are in it already.
            changes["label"] = job.label.replace("{", "{{").replace("}", "}}") or None
    return task.using(**changes)


def _own_label(job: Job, task: Any) -> str:
    """What the definition of the task makes of the call of this job."""
    if task.label is None:
        return ""
    args, kwargs = job.args, job.kwargs
    try:
        if job.types:
            args, kwargs = value_of([args, kwargs], loaded_class)
        return label_of(task, args, kwargs, (job.args, job.kwargs) if job.types else None)
    except Exception:
        # By what it likes. Then the new arguments may do.
        return job.label


def of_type(value: Any, kind: type[T], refusal: str) -> T:
    # Django's JSONField takes an empty list for no value.
    value = kind() if value is None else value
    if not isinstance(value, kind):
        raise forms.ValidationError(refusal)
    return value
