"""What dashboard, bgstatus, bgdoctor and Prometheus say of workflows that are open and stuck."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client import CollectorRegistry, generate_latest

from django_bgtasks.contrib.prometheus import BgTasksCollector
from django_bgtasks.core import clock
from django_bgtasks.core.states import State, WaitsFor
from django_bgtasks.jobs.actions import pause_queue, resume_queue
from django_bgtasks.models import Batch, Job
from django_bgtasks.monitoring import batches
from django_bgtasks.monitoring.batches import BatchesSnapshot
from django_bgtasks.monitoring.diagnosis import diagnose
from django_bgtasks.monitoring.snapshot import take_snapshot
from tests.interfaces.rows import make_job, make_worker
from tests.interfaces.workflows import make_batch, make_member, make_step, split_and_join

pytestmark = pytest.mark.django_db
ADMIN = "/admin/django_bgtasks/"
HOURS = timedelta(hours=3)


def found() -> BatchesSnapshot:
    """How workflows stand."""
    return take_snapshot("default").batches


def whys() -> list[str]:
    """Why those that are stuck are."""
    return [str(one.why) for one in found().stuck]


def codes() -> set[str]:
    """The problems with workflows."""
    return {one.code for one in diagnose(take_snapshot("default"))
            if one.code.startswith("batch-")}  # fmt: skip


def waiting_lane(batch: Batch, key: str) -> Job:
    """A job of it that waits at a limit."""
    lane = {"lane": key, "lane_mode": "wait", "at_once": 1, "waits_for": WaitsFor.LANE}
    return make_member(batch, State.BLOCKED, **lane)


def test_a_site_without_workflows_pays_for_two_looks() -> None:
    make_job()
    with CaptureQueriesContext(connection) as captured:
        take_snapshot("default")
    assert len([query for query in captured if "bgtasks_batch" in query["sql"]]) == 2
    assert found() == BatchesSnapshot()


def test_a_workflow_that_moves_is_open_and_not_stuck() -> None:
    make_worker(serves_all=True)
    root, parts, _last = split_and_join()
    make_member(parts, State.RUNNING)
    seen = found()
    assert (seen.open, seen.oldest, seen.failing, seen.stuck) == (1, str(root.pk), 0, ())
    assert 299 < (seen.age or 0) < 400
    assert codes() == set()


def test_one_that_waits_in_a_paused_queue_says_so_until_it_goes_on() -> None:
    make_worker(serves_all=True)
    root, _parts, _last = split_and_join()
    pause_queue("default")
    [one] = found().stuck
    assert (one.id, one.name, str(one.why), one.queue) == (
        str(root.pk), "contacts.csv", "paused", "default",
    )  # fmt: skip
    [problem] = [p for p in diagnose(take_snapshot("default")) if p.code == "batch-paused"]
    assert problem.what == "1 workflow waits in the paused queue default: contacts.csv."
    assert problem.command == "python manage.py bgresume default"
    assert problem.target is not None
    assert (problem.target.page, problem.target.query) == ("batch", {"id": str(root.pk)})
    resume_queue("default")
    assert whys() == []


def test_one_in_a_queue_without_worker_says_so() -> None:
    make_worker(queues=["other"])
    split_and_join()
    assert whys() == ["unserved"]
    assert codes() == {"batch-unserved"}


def test_of_a_site_without_a_worker_it_is_no_problem_of_its_own() -> None:
    split_and_join()
    assert whys() == ["unserved"]
    assert codes() == set()


def test_one_with_a_job_that_is_held_says_so_though_others_run() -> None:
    make_worker(serves_all=True)
    _root, parts, _last = split_and_join()
    make_member(parts, State.RUNNING)
    held = make_member(
        parts, State.SCHEDULED, held_reason="task_not_imported", task="shop.old.push",
        error_code="task_not_imported", error_params={"task": "shop.old.push", "why": "gone"},
        run_after=clock.now() + HOURS,
    )  # fmt: skip
    [one] = found().stuck
    assert (str(one.why), one.job) == ("held", str(held.pk))
    [problem] = [p for p in diagnose(take_snapshot("default")) if p.code == "batch-held"]
    assert problem.target is not None
    assert (problem.target.page, problem.target.query) == ("job", {"id": str(held.pk)})


def test_one_that_waits_at_a_closed_limit_or_behind_a_failed_job_says_so() -> None:
    make_worker(serves_all=True)
    root = make_batch("chain", name="charges")
    waiting_lane(root, "stripe:42")
    assert whys() == []
    make_job(State.FAILED, lane="stripe:42", lane_mode="hold", place=1, at_once=1)
    Job.objects.filter(batch=root.pk).update(lane_mode="hold")
    assert whys() == ["closed"]
    assert codes() == {"batch-closed"}


def test_one_of_which_nothing_has_moved_for_long_says_so() -> None:
    make_worker(serves_all=True)
    root, parts, _last = split_and_join()
    Job.objects.filter(batch=parts.pk).update(enqueued_at=clock.now() - HOURS)
    assert whys() == []
    Job.objects.filter(batch=root.pk, state="succeeded").update(
        finished_at=clock.now() - HOURS, started_at=clock.now() - HOURS
    )
    assert whys() == ["unmoved"]
    make_member(parts, State.RUNNING)
    assert whys() == []


def test_one_that_only_waits_for_its_time_is_not_stuck() -> None:
    make_worker(serves_all=True)
    root = make_batch("chain")
    later = make_member(root, State.SCHEDULED, run_after=clock.now() + HOURS, has_followers=True)
    make_step(root, later.pk)
    assert whys() == []


def test_one_that_nobody_has_finished_says_so() -> None:
    make_worker(serves_all=True)
    root = make_batch("group", name="mailing", failed_at=clock.now())
    ended = make_member(root, State.FAILED)
    assert whys() == []
    Job.objects.filter(pk=ended.pk).update(finished_at=clock.now() - timedelta(minutes=2))
    assert whys() == ["unfinished"]
    assert codes() == {"batch-unfinished"}
    assert found().failing == 1


def test_many_of_one_kind_are_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    make_worker(serves_all=True)
    for _ in range(3):
        split_and_join()
    pause_queue("default")
    [problem] = [p for p in diagnose(take_snapshot("default")) if p.code == "batch-paused"]
    assert problem.what.startswith("3 workflows wait in paused queues: the first is contacts.csv")
    assert problem.target is not None
    assert problem.target.page == "batches"
    monkeypatch.setattr(batches, "LISTED", 2)
    assert len(found().stuck) == 2


def test_more_that_are_open_cost_no_more_statements() -> None:
    make_worker(serves_all=True)
    pause_queue("default")
    take_snapshot("default")
    counts = []
    for number in (1, 20):
        for _ in range(number):
            split_and_join()
        with CaptureQueriesContext(connection) as captured:
            take_snapshot("default")
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_the_dashboard_says_why_with_links_to_the_cause_and_the_remedy(
    admin_client: Client,
) -> None:
    make_worker(serves_all=True)
    root, parts, _last = split_and_join()
    held = make_member(parts, State.QUEUED, held_reason="task_not_imported", task="shop.old.push")
    failed = make_batch(name="nightly", outcome="failed")
    html = admin_client.get(f"{ADMIN}dashboard/").content.decode()
    part = html.split('id="bgtasks-batches"')[1].split("</section>")[0]
    for address in (
        f"batch/{root.pk}/change/", f"batch/{failed.pk}/change/", f"job/{held.pk}/change/",
        "batch/?state=open", "batch/?state=failed",
    ):  # fmt: skip
        assert f'href="{ADMIN}{address}"' in part
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", part))
    assert "A job of it is held: shop. old. push" in text
    assert "✕ Failed" in text
    # One click to the cause, and three to the remedy: the job, its button, and the question.
    page = admin_client.get(f"{ADMIN}job/{held.pk}/change/").content.decode()
    assert f"{ADMIN}job/{held.pk}/cancel/" in page
    page = admin_client.get(f"{ADMIN}batch/{root.pk}/change/").content.decode()
    assert f"{ADMIN}batch/{root.pk}/cancel/" in page


def test_the_dashboard_of_a_site_without_workflows_says_nothing(admin_client: Client) -> None:
    make_batch(outcome="succeeded")
    assert "bgtasks-batches" not in admin_client.get(f"{ADMIN}dashboard/").content.decode()


def test_bgstatus_and_bgdoctor_say_it_too(redis_client: object) -> None:
    make_worker(serves_all=True)
    root, _parts, _last = split_and_join()
    assert "Stuck workflows (open: 1, oldest: 5 min" in output("bgstatus")
    pause_queue("default")
    text = output("bgstatus")
    assert "1 workflow waits in the paused queue default: contacts.csv." in text
    row = text.partition("Stuck workflows")[2]
    assert f"{root.pk}  5 min" in row
    assert "queue paused" in row
    values = json.loads(output("bgstatus", "--json"))["batches"]
    assert (values["open"], values["stuck"][0]["why"]) == (1, "paused")
    assert "1 workflow waits in the paused queue default" in output("bgdoctor")


def output(command: str, *options: str) -> str:
    """What a command prints."""
    out = StringIO()
    with suppress(SystemExit):
        call_command(command, *options, stdout=out)
    return out.getvalue()


def test_prometheus_counts_them(redis_client: object) -> None:
    make_worker(serves_all=True)
    split_and_join()
    make_batch(failed_at=clock.now())
    pause_queue("default")
    registry: Any = CollectorRegistry()
    registry.register(BgTasksCollector(["default"]))
    text = generate_latest(registry).decode()
    assert 'bgtasks_workflows_open{backend="default"} 2.0' in text
    assert 'bgtasks_workflows_failing{backend="default"} 1.0' in text
    assert 'bgtasks_workflows_stuck{backend="default",why="paused"} 1.0' in text
    age = re.search(r'bgtasks_workflows_oldest_seconds\{backend="default"\} ([\d.]+)', text)
    assert age is not None
    assert 299 < float(age[1]) < 400
