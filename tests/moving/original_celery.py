"""With Celery itself, which `tox run -e moving` installs: the site as it was written, and ROUTES
that say which of its tasks a worker of Celery runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from testproject.servers import RedisServer
from testproject.servers.processes import end, spawn
from tests.waiting import wait_until

from .celery_cases import canvas_cases
from .sites import HERE, ROOT, copy_site, run_tests
from .test_celery_site import CELERY, COUNT

SETTINGS = "site1.mixed_settings"
TO_CELERY: dict[str, str] = {}
TO_OURS = {"shop.*": "bgtasks"}


def test_the_site_of_celery_as_it_was_written(tmp_path: Path) -> None:
    site = copy_site("celery_site", tmp_path, {})
    assert COUNT in run_tests(site, "site1.settings", "")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_canvas_gives_there_what_it_gives_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (HERE / "celery_tasks.py").read_text()
    source = source.replace("django_bgtasks.contrib.celery", "celery")
    (tmp_path / "tasks_of_celery.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    celery = import_module("celery")
    celery.Celery("cases", broker="memory://", backend="cache+memory://").set_current()
    cases = canvas_cases(celery, import_module("tasks_of_celery"))
    # Run here and now, they give there a group within a result.
    del cases["chunks"]
    results = {name: make().apply().get() for name, (make, _expected) in cases.items()}
    assert results == {name: expected for name, (_make, expected) in cases.items()}


class MixedSite:
    """The moved site beside Celery, whose app stays as it was."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.path = copy_site("celery_site", directory, CELERY)
        app = "site1/celery.py"
        (self.path / app).write_text((HERE / "celery_site" / app).read_text())
        self.env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "REDIS_URL": redis_url,
            "SITE_DB": str(directory / "site.sqlite3"),
            "PYTHONPATH": f"{ROOT}:{self.path}",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *arguments: str, routes: dict[str, str]) -> str:
        """Run a command of the site; what it prints."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env={**self.env, "ROUTES": json.dumps(routes)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, code: str, routes: dict[str, str]) -> Any:
        """Run code with the tasks; the last line that it prints, read as JSON."""
        before = "import django, json; django.setup(); from shop import tasks, models\n"
        return json.loads(self.run("-c", before + code, routes=routes).splitlines()[-1])

    @contextmanager
    def worker(self, *arguments: str, routes: dict[str, str], log: str) -> Iterator[Path]:
        """A worker of one of the two."""
        output = self.path / log
        env = {**self.env, "ROUTES": json.dumps(routes)}
        process = spawn([sys.executable, *arguments], output=output, cwd=self.path, env=env)
        try:
            yield output
        finally:
            end(process, signal.SIGTERM, timeout=30)

    def celery_worker(self, routes: dict[str, str], log: str) -> Any:
        """A worker of Celery's."""
        queues = ("-Q", "celery,emails,reports")
        return self.worker(
            *("-m", "celery", "-A", "site1", "worker", "-P", "solo", *queues, "-l", "INFO"),
            routes=routes,
            log=log,
        )

    def our_worker(self, routes: dict[str, str], log: str) -> Any:
        """A worker of ours."""
        return self.worker("manage.py", "bgworker", routes=routes, log=log)

    def events(self) -> list[list[str]]:
        """What the tasks have noted."""
        code = "print(json.dumps(list(models.TaskLog.objects.values_list('event', 'text'))))"
        found: list[list[str]] = self.python(code, TO_OURS)
        return found


@pytest.fixture
def mixed_site(tmp_path: Path) -> Iterator[MixedSite]:
    """The site with a Redis of its own."""
    with RedisServer(private=True) as redis:
        site = MixedSite(tmp_path, redis.url)
        site.run("manage.py", "migrate", "--run-syncdb", "-v0", routes=TO_CELERY)
        site.run("manage.py", "check", routes=TO_OURS)
        yield site


def sync(site: MixedSite, sku: str, routes: dict[str, str]) -> str:
    """Call a task; whose job it is, and the state of its result."""
    code = (
        f"result = tasks.sync_stock.delay({sku!r})\n"
        "from django_bgtasks.models import Job\n"
        "mine = Job.objects.filter(pk=result.id).exists() if len(result.id) == 36 else False\n"
        "print(json.dumps('ours' if mine else type(result).__module__.split('.')[0]))"
    )
    return str(site.python(code, routes))


def noted(site: MixedSite, sku: str) -> bool:
    """Whether the task has succeeded."""
    return ["success", f"synced {sku}"] in site.events()


def wait_for_note(site: MixedSite, sku: str, log: Path) -> None:
    """Wait until the task has succeeded; otherwise show what its worker has printed."""
    try:
        wait_until(lambda: noted(site, sku), 30, pause=0.5)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text()}") from None


def test_an_app_is_flipped_and_flipped_back(mixed_site: MixedSite) -> None:
    site = mixed_site
    assert sync(site, "before", TO_CELERY) == "celery"
    # Flipped while a message of Celery's still waits: the old worker drains it.
    assert sync(site, "after", TO_OURS) == "ours"
    with site.celery_worker(TO_OURS, "celery.log") as log:
        wait_for_note(site, "before", log)
        assert not noted(site, "after")
    with site.our_worker(TO_OURS, "ours.log") as log:
        wait_for_note(site, "after", log)
    # Flipped back while a job of ours still waits: our worker drains it.
    assert sync(site, "ours again", TO_OURS) == "ours"
    assert sync(site, "back", TO_CELERY) == "celery"
    with (
        site.celery_worker(TO_CELERY, "celery2.log") as theirs,
        site.our_worker(TO_CELERY, "ours2.log") as mine,
    ):
        wait_for_note(site, "back", theirs)
        wait_for_note(site, "ours again", mine)
    starts = [event for event, _text in site.events() if event == "start"]
    assert len(starts) == 4


def test_a_workflow_is_run_by_one_of_the_two(mixed_site: MixedSite) -> None:
    site = mixed_site
    code = """
from django_bgtasks.contrib.celery import AsyncResult, chain, group
from django_bgtasks.contrib.celery.result import AsyncResult as again
order = models.Order.objects.create(email="a@example.com")
result = tasks.price_order(order.pk, [(2, 3), (5, 1)])
single = tasks.add.apply_async((1, 2), link=tasks.store_total.s(order.pk))
print(json.dumps([order.pk, str(result.id), str(single.id)]))
"""
    _order, first, single = site.python(code, TO_CELERY)
    _order, second, own = site.python(code, TO_OURS)
    look = """
from django_bgtasks.contrib.celery import AsyncResult
results = [AsyncResult(each) for each in {ids!r}]
print(json.dumps([[type(each).__module__.split(".")[0], each.state] for each in results]))
"""
    with (
        site.celery_worker(TO_OURS, "celery.log") as theirs,
        site.our_worker(TO_OURS, "ours.log") as log,
    ):
        ids = [first, single, second, own]
        expected = [["celery", "SUCCESS"]] * 2 + [["django_bgtasks", "SUCCESS"]] * 2
        try:
            wait_until(lambda: site.python(look.format(ids=ids), TO_OURS) == expected, 40, pause=1)
        except AssertionError as error:
            text = f"{error}\n{theirs.read_text()}\n{log.read_text()}"
            raise AssertionError(text) from None
    amounts = "print(json.dumps([str(order.amount) for order in models.Order.objects.all()]))"
    assert set(site.python(amounts, TO_OURS)) <= {"11.00", "3.00"}


def test_a_workflow_of_both_is_refused(mixed_site: MixedSite) -> None:
    code = """
try:
    tasks.price_order(1, [(2, 3)])
except TypeError as error:
    print(json.dumps(str(error)))
"""
    text = mixed_site.python(code, {"shop.tasks.sum_up": "bgtasks"})
    assert "Move them together" in text


def test_exceptions_are_caught_by_either(mixed_site: MixedSite) -> None:
    site = mixed_site
    code = """
from unittest import mock
from shop import payments
order = models.Order.objects.create(email="away@example.com")
tasks.refund.delay(order.pk)
print(json.dumps(order.pk))
"""
    orders = [site.python(code, routes) for routes in (TO_CELERY, TO_OURS)]
    (site.path / "shop" / "payments.py").write_text(AWAY)
    states = "print(json.dumps([order.status for order in models.Order.objects.order_by('pk')]))"
    with (
        site.celery_worker(TO_OURS, "celery.log") as theirs,
        site.our_worker(TO_OURS, "ours.log") as log,
    ):
        try:
            wait_until(lambda: site.python(states, TO_OURS) == ["refund failed"] * 2, 40, pause=1)
        except AssertionError as error:
            text = f"{error}\n{theirs.read_text()}\n{log.read_text()}"
            raise AssertionError(text) from None
        invoice = "tasks.render_invoice.apply_async(({pk},), soft_time_limit=1)\nprint(0)"
        for pk, routes in zip(orders, (TO_CELERY, TO_OURS), strict=True):
            site.python(invoice.format(pk=pk), routes)
        try:
            wait_until(lambda: site.python(states, TO_OURS)[1] == "too slow", 40, pause=1)
        except AssertionError as error:
            text = f"{error}\n{theirs.read_text()}\n{log.read_text()}"
            raise AssertionError(text) from None


AWAY = """
import time


class PaymentDeclined(Exception):
    pass


class Gateway:
    def charge(self, email, amount):
        time.sleep(10)

    def refund(self, email, amount):
        raise ConnectionError("away")


gateway = Gateway()
"""


def test_receivers_hear_of_the_tasks_of_both(mixed_site: MixedSite) -> None:
    code = """
from django_bgtasks.contrib.celery.signals import task_success
names = []
@task_success.connect
def note(sender=None, result=None, **kwargs):
    names.append(type(sender).__mro__[1].__module__.split(".")[0])
tasks.ping.apply()
tasks.ping.original.apply()
print(json.dumps(names))
"""
    assert mixed_site.python(code, TO_OURS) == ["django_bgtasks", "celery"]


def test_beat_of_celery_leaves_to_us_what_is_ours(mixed_site: MixedSite) -> None:
    routes = {"shop.tasks.ping": "celery", **TO_OURS}
    command = ("-m", "celery", "-A", "site1", "beat", "-l", "INFO", "--pidfile=")
    with mixed_site.worker(*command, routes=routes, log="beat.log") as log:
        wait_until(lambda: "Sending due task heartbeat" in log.read_text(), 40)
        text = log.read_text()
    assert "Left to the workers of django_bgtasks: expire-carts, nightly-report." in text
