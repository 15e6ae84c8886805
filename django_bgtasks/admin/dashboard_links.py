"""What is chosen on a page of the dashboard, and the address of the page with these choices."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from ..core.options import default_backend, entries
from ..monitoring.series import RANGES


def chosen_backend(values: Mapping[str, str]) -> str:
    """The backend that a query or a form names, or else the default one."""
    name = values.get("backend", "")
    return name if name in entries() else default_backend()


def chosen_range(values: Mapping[str, str]) -> str:
    """The time range of the charts."""
    name = values.get("range", "")
    return name if name in RANGES else "hour"


def page_of_button(request: HttpRequest, site: str) -> str:
    """The page that a button was on, with its choices. site: the name of the admin site."""
    values: Mapping[str, str] = request.POST
    kind, page = values.get("kind", ""), "changelist"
    query = {"range": chosen_range(values), "backend": chosen_backend(values)}
    if kind in ("queue", "task"):
        page, query = kind, {"name": values.get("name", ""), **query}
    url = reverse(f"admin:django_bgtasks_dashboard_{page}", current_app=site)
    return f"{url}?{urlencode(query)}"
