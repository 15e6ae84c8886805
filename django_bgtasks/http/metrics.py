"""The metrics page for Prometheus."""

from __future__ import annotations

from importlib.util import find_spec

from django.http import HttpRequest, HttpResponse

from ..transport.connection import reason
from .auth import for_machines
from .health import DATABASE_ERRORS

MISSING = "Install the extra: pip install 'django-bgtasks[prometheus]'\n"


@for_machines
def metrics(request: HttpRequest, backends: list[str]) -> HttpResponse:
    """All metrics in Prometheus's text; 503 without the database, 501 without the library."""
    if find_spec("prometheus_client") is None:
        return HttpResponse(MISSING, status=501, content_type="text/plain")
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    from ..contrib.prometheus import BgTasksCollector

    registry = CollectorRegistry()
    registry.register(BgTasksCollector(backends))
    try:
        text = generate_latest(registry)
    except DATABASE_ERRORS as error:
        why = f"The database does not answer: {reason(error)}\n"
        return HttpResponse(why, status=503, content_type="text/plain")
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)
