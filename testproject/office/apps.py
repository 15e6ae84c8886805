"""The one app of the site."""

from __future__ import annotations

from django.apps import AppConfig


class OfficeConfig(AppConfig):
    """Pictures, contacts and reports of the site's members."""

    name = "testproject.office"
    label = "office"
    default_auto_field = "django.db.models.BigAutoField"
