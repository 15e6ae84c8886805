"""Finding jobs in the admin: stuck ones, by time, by owner, by batch, and reading a traceback."""

from __future__ import annotations

import re
import traceback
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils.module_loading import import_string

from django_bgtasks.admin.filters import AGES, filtered
from django_bgtasks.admin.tracebacks import traceback_html
from django_bgtasks.core import clock
from django_bgtasks.core.states import State
from django_bgtasks.models import Job

from .rows import make_job, make_worker

pytestmark = pytest.mark.django_db
LIST = "/admin/django_bgtasks/job/"


def found(client: Client, query: str) -> set[Any]:
    return {job.pk for job in client.get(f"{LIST}?{query}").context["cl"].result_list}


def test_stuck_are_jobs_that_maintenance_should_have_dealt_with(admin_client: Client) -> None:
    now = clock.now()
    alive, lost = make_worker(), make_worker(lost_at=now)
    long_ago = now - timedelta(minutes=10)
    stuck = [
        make_job(State.RUNNING, worker=lost.pk),
        make_job(State.RUNNING, worker=None),
        make_job(State.RUNNING, worker=alive.pk, started_at=long_ago, timeout=60),
        make_job(State.SCHEDULED, run_after=long_ago),
    ]
    make_job(State.RUNNING, worker=alive.pk)
    make_job(State.SCHEDULED, run_after=now + timedelta(hours=1))
    make_job(State.FAILED, worker=lost.pk)
    assert found(admin_client, "state=stuck") == {job.pk for job in stuck}


def test_jobs_are_found_by_the_time_of_their_call(admin_client: Client) -> None:
    now, jobs = clock.now(), {}
    for name, span in AGES.items():
        jobs[name] = make_job(pk=clock.id_floor(now - span + timedelta(minutes=1)))
    older = make_job(pk=clock.id_floor(now - timedelta(days=31)))
    names = list(AGES)
    for place, name in enumerate(names, start=1):
        assert found(admin_client, f"age={name}") == {jobs[n].pk for n in names[:place]}
    assert found(admin_client, "age=older") == {older.pk}


def test_jobs_are_found_by_their_owner_and_by_their_batch(
    admin_client: Client, django_user_model: Any
) -> None:
    anna = django_user_model.objects.create_user("anna")
    batch = clock.new_id()
    hers, together = make_job(owner=anna), [make_job(batch=batch), make_job(batch=batch)]
    make_job(task="shop.tasks.annalen")
    assert found(admin_client, "q=anna") == {hers.pk}
    assert found(admin_client, f"q={batch}") == {job.pk for job in together}
    assert len(found(admin_client, "q=tasks.anna")) == 1


def test_an_unknown_value_of_a_filter_finds_nothing_or_is_ignored(admin_client: Client) -> None:
    job = make_job()
    assert found(admin_client, "state=dancing") == set()
    assert found(admin_client, "age=eternity") == {job.pk}


def test_the_page_of_a_job_counts_the_jobs_of_its_batch(admin_client: Client) -> None:
    batch = clock.new_id()
    job = make_job(State.FAILED, batch=batch)
    make_job(State.SUCCEEDED, batch=batch)
    html = admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert f"?q={batch}&amp;state=failed" in html
    assert found(admin_client, f"q={batch}&state=failed") == {job.pk}


def test_retrying_and_held_are_each_answered_by_indexes_of_one_state() -> None:
    for shade in ("retrying", "held"):
        query = str(filtered(Job.objects.all(), {"state": shade}).query)
        assert not re.search(r"state\W+IN ", query)
        assert " OR " in query


def test_the_frames_of_libraries_are_folded_and_nothing_is_left_out() -> None:
    try:
        import_string("<b>no such module")
    except ImportError as error:
        text = "".join(traceback.format_exception(error))
    html = traceback_html(text)
    assert html.count("<details><summary>1 frame of a library</summary>") >= 1
    own = html.split('<pre class="bgtasks-own">')[1].split("</pre>")[0]
    assert __file__.rsplit("/", 1)[-1] in own
    assert "site-packages" not in own
    assert "&lt;b&gt;no such module" in html
    assert "<b>" not in html
    for line in text.splitlines():
        assert not line.strip() or line.strip().replace('"', "&quot;")[:20].split("<")[0] in html


def test_a_traceback_of_libraries_alone_is_shown_whole() -> None:
    frame = '  File "/x/lib/python3.12/site-packages/a.py", line 1, in a\n    b()\n'
    html = traceback_html(f"Traceback (most recent call last):\n{frame}ValueError: no")
    assert "<details>" not in html
    assert "ValueError: no" in html
