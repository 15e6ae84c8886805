"""The CACHES of the docs, pasted: jobs are sent, and the site's own cache stores what it did."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.views.decorators.cache import cache_page
from pytest_django import Settings

from django_bgtasks.models import Job
from tests.app.tasks import add
from tests.named import waiting_in

from .markdown import README, ROOT, section

PASTED = {
    "README": lambda: section(README, "Redis"),
    "settings": lambda: section(ROOT / "docs" / "settings.md", "Where Redis is"),
}


@pytest.mark.parametrize("page", PASTED)
def test_a_page_is_cached_with_the_settings_of_the_docs(
    page: str,
    transactional_db: None,
    settings: Settings,
    redis_client: redis.Redis,
) -> None:
    location = settings.CACHES["default"]["LOCATION"]
    pasted: dict[str, Any] = {}
    exec(PASTED[page]()[0].text, pasted)
    names = [name for name, cache in pasted["CACHES"].items() if "LOCATION" in cache]
    assert len(names) == 1
    pasted["CACHES"][names[0]]["LOCATION"] = location
    settings.CACHES = pasted["CACHES"]
    settings.TASKS = pasted.get("TASKS", settings.TASKS)
    assert "default" not in names

    caches["default"].clear()
    calls: list[str] = []

    @cache_page(60)
    def view(request: HttpRequest) -> HttpResponse:
        calls.append(request.path)
        return HttpResponse("seen")

    for _ in range(2):
        assert view(RequestFactory().get("/page")).content == b"seen"
    assert len(calls) == 1
    # What Wagtail does with the images of a page: it stores objects.
    caches["default"].set("rendition", Job(task="shop.tasks.pay"))
    assert caches["default"].get("rendition").task == "shop.tasks.pay"
    add.enqueue(1, 2)
    assert redis_client.llen(waiting_in("default")) == 1
