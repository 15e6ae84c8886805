"""A task that was moved or renamed runs the jobs that were enqueued under its former path."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from django.test import override_settings

from django_bgtasks import BackgroundTask, Retry, retry_job, task
from django_bgtasks.checks import check_task_aliases
from django_bgtasks.core import aliases
from django_bgtasks.core.compat import InvalidTask, task_backends
from django_bgtasks.jobs import discovery
from django_bgtasks.jobs.task import find_task, known_task
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs, without_redis

pytestmark = pytest.mark.django_db
Define = Callable[..., Any]


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """No aliases but those of the test, and no Redis."""
    kept = [(each, dict(each)) for each in (aliases.CURRENT, aliases._aliases)]
    for each, _before in kept:
        each.clear()
    with without_redis():
        yield
    for each, before in kept:
        each.clear()
        each.update(before)  # type: ignore[arg-type]


@pytest.fixture
def define(monkeypatch: pytest.MonkeyPatch) -> Define:
    """Define a task at a path, in a module of its own making."""

    def make(path: str, func: Callable[..., Any] | None = None, **options: Any) -> Any:
        where, _dot, name = path.rpartition(".")
        if where not in sys.modules:
            monkeypatch.setitem(sys.modules, where, ModuleType(where))

        def default(*args: Any) -> str:
            return path

        func = func or default
        func.__module__, func.__name__, func.__qualname__ = where, name, name
        made: Any = task(**options)(func)  # type: ignore[no-untyped-call]
        setattr(sys.modules[where], name, made)
        return made

    return make


def rename(define: Define, old: str, new: str, former: tuple[str, ...] = (), **options: Any) -> Any:
    """Move a task: its old path leads nowhere afterwards."""
    where, _dot, name = old.rpartition(".")
    delattr(sys.modules[where], name)
    for alias in aliases._aliases.pop(old, ()):
        del aliases.CURRENT[alias]
    return define(new, aliases=(*former, old), **options)


def test_a_job_of_the_old_path_runs_with_the_new_task(define: Define) -> None:
    old = define("shop_a.push")
    job = old.enqueue().job
    new = rename(define, "shop_a.push", "shop_b.send")
    assert find_task("shop_a.push") is new
    assert [ran.result for ran in run_jobs()] == ["shop_b.send"]
    job.refresh_from_db()
    assert job.task == "shop_a.push"
    found = task_backends["default"].get_result(str(job.pk))
    assert found.return_value == "shop_b.send"
    assert found.task == new


def test_a_task_that_moves_twice_has_both_names(define: Define) -> None:
    first = define("shop_a.push").enqueue().job
    second = rename(define, "shop_a.push", "shop_b.push").enqueue().job
    rename(define, "shop_b.push", "shop_c.push", ("shop_a.push",))
    assert {job.pk for job in run_jobs()} == {first.pk, second.pk}
    assert set(Job.objects.values_list("result", flat=True)) == {"shop_c.push"}


def test_options_of_the_definition_are_the_new_ones(define: Define) -> None:
    def declined(*args: Any) -> None:
        raise ConnectionError

    old = define("shop_a.push", retry=Retry(max_attempts=3, delays=[0]))
    job = old.enqueue().job
    rename(define, "shop_a.push", "shop_b.push", func=declined, retry=Retry(delays=[0], on=()))
    run_jobs()
    job.refresh_from_db()
    assert (job.state, job.attempt) == ("failed", 1)


def test_a_dedup_key_is_one_before_and_after_the_new_name(define: Define) -> None:
    held = define("shop_a.push", dedup_key="{key}", func=lambda key: key).enqueue("k").job
    new = rename(define, "shop_a.push", "shop_b.push", dedup_key="{key}", func=lambda key: key)
    assert new.enqueue("k").job.pk == held.pk
    assert not new.enqueue("other").deduplicated
    # A third name, whose hosts and those of the names before it work side by side.
    newest = rename(
        define, "shop_b.push", "shop_c.push", ("shop_a.push",),
        dedup_key="{key}", func=lambda key: key,
    )  # fmt: skip
    assert newest.enqueue("k").job.pk == held.pk
    assert newest.enqueue("other").deduplicated


def test_a_retry_of_a_job_of_the_old_path_takes_the_key_of_the_new_one(define: Define) -> None:
    define("shop_a.push", dedup_key="{key}", func=lambda key: key).enqueue("k")
    job = Job.objects.get()
    Job.objects.update(state="failed", finished_at=job.enqueued_at, dedup_slot=None)
    new = rename(define, "shop_a.push", "shop_b.push", dedup_key="{key}", func=lambda key: key)
    retry_job(job.pk)
    assert new.enqueue("k").job.pk == job.pk


def test_two_tasks_cannot_claim_one_alias(define: Define) -> None:
    define("shop_b.push", aliases=("shop_a.push",))
    with pytest.raises(InvalidTask, match=r"'shop_a.push' is claimed by shop_b.push already"):
        define("shop_c.push", aliases=["shop_a.push"])


def test_an_alias_is_no_task_of_its_own_whichever_comes_first(define: Define) -> None:
    define("shop_a.push")
    with pytest.raises(InvalidTask, match=r"'shop_a.push' is a task itself"):
        define("shop_b.push", aliases=("shop_a.push",))
    define("shop_d.push", aliases=("shop_c.push",))
    with pytest.raises(InvalidTask, match=r"shop_c.push is an alias of shop_d.push"):
        define("shop_c.push")


def test_the_check_finds_an_alias_that_is_a_task_in_a_module_that_nobody_imported(
    define: Define,
) -> None:
    define("shop_b.add", aliases=("shop_a.add",))
    assert check_task_aliases() == []
    aliases.CURRENT["tests.app.tasks.add"] = "shop_b.add"
    [error] = check_task_aliases()
    assert (error.id, "'tests.app.tasks.add' is a task itself" in error.msg) == (
        "bgtasks.E014",
        True,
    )


def test_a_name_that_the_old_module_still_exports_is_no_task_of_its_own(define: Define) -> None:
    new = define("shop_b.push", aliases=("shop_a.push",))
    old = ModuleType("shop_a")
    vars(old)["push"] = new
    sys.modules["shop_a"] = old
    try:
        assert find_task("shop_a.push") is new
        new.using(priority=5)
        assert check_task_aliases() == []
    finally:
        del sys.modules["shop_a"]


@pytest.mark.parametrize(
    "wrong",
    ["shop_a.push", ("push",), ("shop a.push",), (7,), ("",), ("a." + "b" * 255,), None],
)
def test_what_is_no_list_of_paths_is_refused(define: Define, wrong: Any) -> None:
    with pytest.raises(InvalidTask, match="former paths of the task"):
        define("shop_b.push", aliases=wrong)


def test_a_task_is_no_alias_of_itself_and_using_does_not_change_them(define: Define) -> None:
    with pytest.raises(InvalidTask, match="is no alias of it"):
        define("shop_b.push", aliases=("shop_b.push",))
    made: BackgroundTask[Any, Any] = define("shop_c.push")
    with pytest.raises(TypeError, match="cannot change aliases"):
        made.using(aliases=("shop_a.push",))


def test_a_module_that_is_loaded_again_may_change_its_aliases(define: Define) -> None:
    define("shop_b.push", aliases=("shop_a.push", "shop_a.send"))
    define("shop_b.push", aliases=("shop_a.send",))
    assert known_task("shop_a.push") is None
    define("shop_c.push", aliases=("shop_a.push",))


def test_a_process_that_has_not_imported_the_task_does_so_when_it_looks_for_it(
    monkeypatch: pytest.MonkeyPatch, define: Define
) -> None:
    monkeypatch.setattr(discovery, "_imported", set())
    seen: list[str] = []

    def discover(*names: str) -> None:
        seen.extend(names)
        if names == ("handlers",):
            define("shop_b.push", aliases=("shop_a.push",))

    monkeypatch.setattr(discovery, "autodiscover_modules", discover)
    tasks = {"default": {"BACKEND": "django_bgtasks.backend.RQBackend", "QUEUES": []}}
    tasks["default"]["OPTIONS"] = {"modules": ["handlers"]}  # type: ignore[assignment]
    with override_settings(TASKS=tasks):
        assert find_task("shop_a.push").module_path == "shop_b.push"
        assert known_task("shop_a.gone") is None
    assert seen == ["tasks", "handlers"]


def test_a_module_that_cannot_be_imported_harms_no_look_for_a_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def discover(*names: str) -> None:
        raise ImportError("no")

    monkeypatch.setattr(discovery, "_imported", set())
    monkeypatch.setattr(discovery, "autodiscover_modules", discover)
    assert known_task("shop_a.push") is None
    assert "Not all modules named 'tasks' can be imported." in caplog.text
