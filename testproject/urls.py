"""The site's addresses."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import include, path
from django.views.generic import RedirectView

ICON = RedirectView.as_view(url="/static/office/icon.svg")

urlpatterns = [
    path("", include("testproject.office.urls")),
    path("jobs/status/", include("django_bgtasks.urls")),
    path("admin/", admin.site.urls),
    path("favicon.ico", ICON),
    # With DEBUG off too: this site has no web server in front of it that would do it.
    path("static/<path:path>", serve, {"insecure": True}),
]
