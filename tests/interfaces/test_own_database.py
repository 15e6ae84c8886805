"""Jobs in a database of their own, alone there or beside copies of the site's tables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.sites import empty_database
from tests.workers import ROOT, environment

pytestmark = pytest.mark.usefixtures("transactional_db", "redis_client")
MIGRATE = """
import django
django.setup()
from django.core.management import call_command
for database in ("default", "jobs"):
    call_command("migrate", verbosity=0, database=database)
"""
SETUP = """
import django
django.setup()
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.core.checks import run_checks
from django.test import Client
from django.urls import reverse
from django_bgtasks.models import Attempt, Job
from tests.app.tasks import add, fail

def page(name, *args, **query):
    client = Client()
    client.force_login(admin)
    return client.get(reverse(f"admin:django_bgtasks_job_{name}", args=args), query)

admin = User.objects.filter(username="admin").first()
if admin is None:
    admin = User.objects.create_superuser("admin")
    # So that no id is the same in both databases by chance.
    for number in range(7):
        User.objects.create(username=f"user {number}")
        Group.objects.create(name=f"group {number}")
ada, _ = User.objects.get_or_create(username="ada")
editors, _ = Group.objects.get_or_create(name="editors")
"""
ENQUEUE = """
result = add.using(owner=ada, about=editors).enqueue(1, 2)
fail.using(owner=ada).enqueue("no")
job = Job.objects.get(pk=result.id)
assert job._state.db == "jobs"
assert (job.owner, job.about, job.about_type.model_class()) == (ada, editors, Group)
"""
LOOK = """
job = Job.objects.get(task__endswith=".add")
assert job.state == "succeeded" and Attempt.objects.count() >= 1
assert Job.objects.filter(owner=ada).count() == 2
assert [one.about for one in Job.objects.filter(pk=job.pk).prefetch_related("about")] == [editors]
shown = page("change", job.pk).content.decode()
assert "ada" in shown and "editors" in shown
for query in ({}, {"q": "ada"}, {"state": "failed"}):
    assert page("changelist", **query).status_code == 200
"""
DELETE = """
job = Job.objects.get(task__endswith=".add")
editors.delete()
assert Job.objects.get(pk=job.pk).about is None
assert "(gone)" in page("change", job.pk).content.decode()
kind = ContentType.objects.create(app_label="shop", model="order")
Job.objects.filter(pk=job.pk).update(about_type_id=kind.pk, about_key="7")
assert Job.objects.get(pk=job.pk).about is None
assert page("change", job.pk).status_code == 200
kind.delete()
assert Job.objects.get(pk=job.pk).about_type_id is None
ada.delete()
assert not Job.objects.filter(owner__isnull=False).exists()
# What is deleted behind Django's back is gone as well.
Job.objects.filter(pk=job.pk).update(owner_id=10**6, about_type_id=10**6, about_key="1")
job.refresh_from_db()
assert (job.owner, job.about_type, job.about) == (None, None, None)
assert page("change", job.pk).status_code == 200
"""

# "jobs" has tables of users and of content types too, whose rows have the same ids by chance.
DELETE_ELSEWHERE = """
from django.core.management import call_command
job = Job.objects.get(task__endswith=".add")
kind = ContentType.objects.create(app_label="shop", model="order")
Job.objects.filter(pk=job.pk).update(about_type_id=kind.pk, about_key="7")
User(pk=ada.pk, username="another").save(using="jobs")
ContentType(pk=kind.pk, app_label="auth", model="gone").save(using="jobs")
assert User.objects.using("jobs").filter(pk=ada.pk).delete()[0] == 1
call_command("remove_stale_contenttypes", database="jobs", interactive=False, verbosity=0)
assert not ContentType.objects.using("jobs").filter(pk=kind.pk).exists()
job.refresh_from_db()
assert (job.owner, job.about_type_id, job.about_key) == (ada, kind.pk, "7")
User.objects.using("default").filter(pk=ada.pk).delete()
job.refresh_from_db()
assert job.owner_id is None
"""


@pytest.fixture(params=["none", "all"])
def site(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a site with two databases, before the first migration."""
    with empty_database() as default, empty_database() as jobs:
        yield {
            **environment(),
            "DJANGO_SETTINGS_MODULE": "tests.app.two_databases",
            "BGTASKS_TEST_DB_NAME": default,
            "BGTASKS_TEST_JOBS_DB": jobs,
            "BGTASKS_TEST_JOBS_APPS": request.param,
        }


@pytest.mark.long(after=1)
def test_jobs_have_owners_and_objects_of_another_database(site: dict[str, str]) -> None:
    run(site, "-c", MIGRATE + SETUP + ENQUEUE)
    run(site, "-m", "django", "bgworker", "--burst")
    run(site, "-c", SETUP + LOOK + DELETE)
    assert "W003" in run(site, "-m", "django", "check")


@pytest.mark.long
@pytest.mark.parametrize("site", ["all"], indirect=True)
def test_a_row_that_is_deleted_in_another_database_leaves_the_jobs_as_they_are(
    site: dict[str, str],
) -> None:
    run(site, "-c", MIGRATE + SETUP + ENQUEUE + DELETE_ELSEWHERE)


def run(site: dict[str, str], *arguments: str) -> str:
    """Run Python in the site, and fail if it does; what it prints."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=site, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
