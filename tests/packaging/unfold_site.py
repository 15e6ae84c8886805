"""Run with django-unfold: the admin's pages of this package under its templates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.urls import path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/tasks.py", line 3, in send
    raise ValueError("no")
ValueError: no
"""
JOBS = "/admin/django_bgtasks/job/"


def configure() -> None:
    """A site whose admin is Unfold's; its database is in memory."""
    middleware = (
        "sessions.middleware.SessionMiddleware",
        "auth.middleware.AuthenticationMiddleware",
        "messages.middleware.MessageMiddleware",
    )
    processors = (
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    )
    settings.configure(
        SECRET_KEY="x",
        USE_TZ=True,
        STATIC_URL="/static/",
        ROOT_URLCONF="tests.packaging.unfold_site",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        MIDDLEWARE=[f"django.contrib.{name}" for name in middleware],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": list(processors)},
            }
        ],
        INSTALLED_APPS=[
            "unfold",
            *(f"django.contrib.{a}" for a in ("admin", "auth", "contenttypes", "sessions")),
            "django.contrib.messages",
            "django.contrib.staticfiles",
            "django_bgtasks",
        ],
    )
    django.setup()


def main() -> None:
    """Every page answers, and says what it says without Unfold."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client
    from django.test.utils import setup_test_environment

    from tests.interfaces.rows import make_attempt, make_job, make_record, make_worker

    setup_test_environment()
    call_command("migrate", verbosity=0)
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    job = make_job("failed", task="django_bgtasks.mail.delivery.deliver_email", batch=None)
    make_attempt(job, traceback=TRACEBACK)
    record, worker = make_record(job=job.pk), make_worker()
    expect(client, JOBS, "deliver_email", "bgtasks-is-failed", "?state=stuck")
    page = expect(client, f"{JOBS}{job.pk}/change/", "Attempt 1", "bgtasks-own", "charge:7")
    for button in ("retry/", "duplicate/"):
        assert f"{JOBS}{job.pk}/{button}" in page, button
    expect(client, f"{JOBS}{job.pk}/duplicate/", "Enqueue")
    expect(client, f"{JOBS}{job.pk}/delete/", "Are you sure")
    expect(client, "/admin/django_bgtasks/dashboard/", "Queues", "Failures in the last")
    expect(client, "/admin/django_bgtasks/historyentry/", "history")
    expect(client, "/admin/django_bgtasks/limitoverride/", "Limits and sequences in use")
    expect(client, "/admin/django_bgtasks/worker/", "db1:42")
    expect(client, f"/admin/django_bgtasks/worker/{worker.pk}/change/", "db1:42")
    expect(client, "/admin/django_bgtasks/idempotencyrecord/", "charge:7")
    expect(client, f"/admin/django_bgtasks/idempotencyrecord/{record.pk}/change/", "charge:7")


def expect(client: Any, url: str, *texts: str) -> str:
    """The page at this address, which must say all of these."""
    response = client.get(url)
    html: str = response.content.decode()
    assert response.status_code == 200, (url, response.status_code)
    assert "unfold" in html, url
    missing = [text for text in texts if text not in html]
    assert not missing, (url, missing)
    sys.stdout.write(f"{url}: all there\n")
    return html


if __name__ == "__main__":
    configure()
    main()
elif settings.configured:
    from django.contrib import admin

    urlpatterns = [path("admin/", admin.site.urls)]
