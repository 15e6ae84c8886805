"""Adding the app to INSTALLED_APPS is enough. Each site here is a Python of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import django
import pytest

ROOT = Path(__file__).parents[2]
ENTRY = {"BACKEND": "django_bgtasks.backend.RQBackend"}
NEEDS_6 = pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 6.0 brought the tasks API")

SITE = """
import sys, types
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_bgtasks"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
    **SETTINGS,
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django_bgtasks import task
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs, without_redis

site = types.ModuleType("site_tasks")
sys.modules["site_tasks"] = site

def made(decorator, **options):
    def add(a, b):
        return a + b
    add.__module__, add.__qualname__ = "site_tasks", "add"
    site.add = decorator(**options)(add) if options else decorator(add)
    return site.add

def check(decorator, backend, **options):
    with without_redis():
        result = made(decorator, **options).enqueue(1, 2)
    assert result.job.backend == backend, result.job.backend
    run_jobs()
    result.refresh()
    assert result.return_value == 3, result
"""


def run_site(code: str, **settings: Any) -> None:
    """Run the code in a site with nothing but the app and these settings."""
    script = SITE.replace("**SETTINGS", f"**{settings!r}") + textwrap.dedent(code)
    environment = {**os.environ, "REDIS_URL": "redis://127.0.0.1:6379/0"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_with_nothing_but_the_app_a_task_uses_the_implicit_backend() -> None:
    run_site("""
        check(task, "bgtasks")
        check(task, "bgtasks", queue_name="emails", priority=9)
        assert not getattr(settings, "TASKS", {}).get("bgtasks"), "the site's settings stay"
        call_command("check")
    """)


@pytest.mark.long
def test_beside_another_default_backend_ours_is_implicit() -> None:
    immediate = "django_tasks.backends.immediate.ImmediateBackend"
    run_site('check(task, "bgtasks")', TASKS={"default": {"BACKEND": immediate}})


@pytest.mark.long
def test_as_the_default_backend_the_backports_decorator_uses_it() -> None:
    run_site(
        """
        import django_tasks
        check(django_tasks.task, "default")
        check(task, "default")
        """,
        TASKS={"default": ENTRY},
    )


@NEEDS_6
def test_as_the_default_backend_djangos_decorator_uses_it() -> None:
    run_site(
        """
        from django.tasks import task as django_task, default_task_backend
        check(django_task, "default")
        check(django_task, "default", priority=9)
        assert default_task_backend.supports_priority
        assert "django_tasks" not in sys.modules, "the backport is not needed here"
        """,
        TASKS={"default": ENTRY},
    )


@pytest.mark.long
@NEEDS_6
def test_both_decorators_work_side_by_side() -> None:
    run_site(
        """
        import django_tasks
        from django.tasks import task as django_task
        for decorator in (django_task, django_tasks.task, task):
            check(decorator, "default")
        """,
        TASKS={"default": ENTRY},
    )


@pytest.mark.long
def test_under_an_alias_of_its_own_our_decorator_finds_it() -> None:
    immediate = "django_tasks.backends.immediate.ImmediateBackend"
    run_site('check(task, "work")', TASKS={"default": {"BACKEND": immediate}, "work": ENTRY})


WITHOUT_THE_APP = """
SECRET_KEY = "for the tests only"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
TASKS = {"default": {"BACKEND": "django_bgtasks.backend.RQBackend"}}
ROOT_URLCONF = "shop.urls"
"""


@pytest.mark.long(after=1)
@pytest.mark.parametrize("where", ["models.py", "urls.py"])
@pytest.mark.parametrize(
    "api",
    ["django_bgtasks", "django_tasks", pytest.param("django.tasks", marks=NEEDS_6)],
)
def test_without_the_app_the_check_says_what_to_add(tmp_path: Path, api: str, where: str) -> None:
    (tmp_path / "site_settings.py").write_text(WITHOUT_THE_APP)
    (tmp_path / "shop").mkdir()
    for name in ("__init__.py", "models.py", "urls.py"):
        (tmp_path / "shop" / name).write_text("urlpatterns = []\n")
    task = f"from {api} import task\n@task\ndef add(a, b): return a + b\nurlpatterns = []\n"
    (tmp_path / "shop" / where).write_text(task)
    done = subprocess.run(
        [sys.executable, "-m", "django", "check", "--settings", "site_settings"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        check=False,
    )
    assert done.returncode == 1
    assert "INSTALLED_APPS does not have that app" in done.stderr
    assert 'Add "django_bgtasks" to INSTALLED_APPS' in done.stderr
