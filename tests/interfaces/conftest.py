"""Browsers of the people who use the admin, and a site that sends mail in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from django_bgtasks import testing

from .mailing import LOCMEM, sending_with


@pytest.fixture
def staff(db: None, django_user_model: Any) -> Callable[..., Client]:
    """`staff("view_job")` is the browser of a person with these permissions and no others."""

    def log_in(*codenames: str) -> Client:
        user = django_user_model.objects.create_user("staff", password="x", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def background_mail() -> Iterator[None]:
    """The site's mail goes through our backend, and a job's delivery ends in `mail.outbox`."""
    with testing.without_redis(), sending_with(LOCMEM):
        yield
