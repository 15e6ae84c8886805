"""URLs for the site: `path("jobs/", include("django_bgtasks.urls"))`."""

from __future__ import annotations

from django.urls import path

from .views import job_status

app_name = "django_bgtasks"
urlpatterns = [path("<uuid:job_id>/", job_status, name="job-status")]
