"""URLs for the site: `path("jobs/", include("django_bgtasks.urls"))`."""

from __future__ import annotations

from django.urls import path

from .http import healthz, job_cancel, job_events, job_status, metrics, readyz

app_name = "django_bgtasks"
urlpatterns = [
    path("<uuid:job_id>/", job_status, name="job-status"),
    path("<uuid:job_id>/events/", job_events, name="job-events"),
    path("<uuid:job_id>/cancel/", job_cancel, name="job-cancel"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]
