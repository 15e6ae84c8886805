"""The button "Duplicate" of a job's page, and the form behind it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from ..models import Job
from .actions import JobMoves
from .duplicate import enqueue_like, form_for, task_to_call


class JobCopies(JobMoves):
    """A copy of a job, with changed arguments, for who may add jobs."""

    def get_urls(self) -> list[URLPattern]:
        """One address more, for the form."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_duplicate"
        view = self.admin_site.admin_view(self.duplicate_view)
        return [path("<uuid:object_id>/duplicate/", view, name=name), *super().get_urls()]

    def duplicate_url(self, request: HttpRequest, job: Job) -> str | None:
        """Where the form is, if this user may use it for this job."""
        if not self._may_copy(request) or task_to_call(job, request.user) is None:
            return None
        return self._url(request, "_duplicate", job.pk)

    def duplicate_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """The form with the arguments of the job; enqueues a job when they fit the task."""
        if not self._may_copy(request):
            raise PermissionDenied
        job: Any = self.get_object(request, str(object_id))
        if job is None:
            raise Http404
        task = task_to_call(job, request.user)
        if task is None:
            raise PermissionDenied
        form = form_for(task, job, request.POST if request.method == "POST" else None)
        if form.is_valid() and (made := enqueue_like(job, form, request.user)):
            messages.success(request, _("Enqueued: this is the new job."))
            return HttpResponseRedirect(self._page(request, made))
        context = {
            **self.page_context(request, _("Duplicate a job")),
            "original": job,
            "form": form,
        }
        return TemplateResponse(request, "admin/django_bgtasks/job/duplicate.html", context)

    def _may_copy(self, request: HttpRequest) -> bool:
        allowed = request.user.has_perm("django_bgtasks.add_job")
        return allowed and self.has_view_permission(request)
