"""Browsers of the people who use the admin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client


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
