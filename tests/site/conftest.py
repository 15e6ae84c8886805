"""The site's own settings, as far as its tests need them, and a member of it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import django
import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from django_bgtasks import testing

LOCMEM = "django.core.mail.backends.locmem.EmailBackend"
BACKGROUND = "django_bgtasks.mail.BackgroundEmailBackend"


@pytest.fixture(autouse=True)
def site(settings: Settings, tmp_path: Path, db: None) -> None:
    """The site's addresses, uploads and emails."""
    settings.ROOT_URLCONF = "testproject.urls"
    settings.LOGIN_URL = "office:login"
    settings.LOGIN_REDIRECT_URL = "office:home"
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path
    settings.FILE_UPLOAD_HANDLERS = ["testproject.office.uploads.HashingUploadHandler"]
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "testproject.middleware.content_security_policy"]
    deliver_in_the_background(settings)


def deliver_in_the_background(settings: Settings) -> None:
    """What the site sends is enqueued; what its tasks send arrives in django.core.mail.outbox."""
    if django.VERSION >= (6, 1):
        settings.MAILERS = {
            "default": {
                "BACKEND": BACKGROUND,
                "OPTIONS": {"mailer": "direct", "queue": "emails"},
            },
            "direct": {"BACKEND": LOCMEM},
        }
    else:
        settings.EMAIL_BACKEND = BACKGROUND
        settings.BGTASKS_EMAIL_BACKEND = LOCMEM
        settings.BGTASKS_EMAIL_QUEUE = "emails"


@pytest.fixture
def jobs() -> Iterator[ModuleType]:
    """`django_bgtasks.testing`, with Redis left out."""
    with testing.without_redis():
        yield importlib.import_module("django_bgtasks.testing")


@pytest.fixture
def ada() -> User:
    """A member."""
    return User.objects.create_user("ada", "ada@example.org", "correct horse battery")


@pytest.fixture
def browser(client: Client, ada: User) -> Client:
    """Ada's browser."""
    client.force_login(ada)
    return client


def upload(client: Client, path: str, name: str, content: bytes) -> str:
    """Upload a file as a script does; the id of the job, which the view must have accepted."""
    file = SimpleUploadedFile(name, content)
    response = client.post(path, {"file": file}, headers={"Accept": "application/json"})
    assert response.status_code == 202, response.content
    assert response.headers["Location"].endswith(f"/jobs/status/{response.json()['id']}/")
    job_id: str = response.json()["id"]
    return job_id
