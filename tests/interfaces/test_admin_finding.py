"""Finding jobs in the admin: stuck ones, by time, by owner, by batch, and reading a traceback."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from datetime import timedelta
from secrets import token_hex
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils.html import escape
from django.utils.module_loading import import_string

from django_bgtasks.admin import search
from django_bgtasks.admin.filters import AGES, filtered, frozen, time_range_of
from django_bgtasks.admin.tracebacks import traceback_html
from django_bgtasks.core import clock
from django_bgtasks.core.states import State
from django_bgtasks.models import Job

from .rows import make_attempt, make_job, make_worker

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
    annas, together = make_job(owner=anna), [make_job(batch=batch), make_job(batch=batch)]
    make_job(task="shop.tasks.annalen")
    assert found(admin_client, "q=anna") == {annas.pk}
    assert found(admin_client, f"q={batch}") == {job.pk for job in together}
    assert len(found(admin_client, "q=tasks.anna")) == 1


@pytest.mark.parametrize(
    "query",
    [
        *("state=dancing", "age=eternity", "finished=eternity", "finished=2026-13-01..", "error=x"),
        *("finished=..", "age=..", "finished=0001-01-01T00:00%2B14:00..0001-01-01", "error=a.B"),
        *("finished=%00", "error=%00", "finished=1..2"),
    ],
)
def test_an_unknown_value_of_a_filter_finds_nothing(admin_client: Client, query: str) -> None:
    """It is no reason to find all: "all that match" may be deleted."""
    make_job(State.FAILED)
    assert found(admin_client, query) == set()


def test_jobs_are_found_by_the_time_of_their_end(admin_client: Client) -> None:
    now, jobs = clock.now(), {}
    for minutes in (10, 100, 3000, 30_000):
        jobs[minutes] = make_job(State.FAILED, finished_at=now - timedelta(minutes=minutes))
    make_job(State.QUEUED)
    for name, number in (("hour", 1), ("day", 2), ("week", 3)):
        expected = [job.pk for job in list(jobs.values())[:number]]
        assert found(admin_client, f"finished={name}") == set(expected)

    def between(first: int, last: int) -> set[Any]:
        start, end = (now - timedelta(minutes=minutes) for minutes in (first, last))
        both = urlencode({"finished": f"{start.isoformat()}..{end.isoformat()}"})
        # Who writes the address by hand forgets that a plus is a space there.
        assert found(admin_client, both) == found(admin_client, both.replace("%2B", "+"))
        return found(admin_client, both)

    assert between(101, 9) == {jobs[10].pk, jobs[100].pk}
    assert between(101, 99) == {jobs[100].pk}
    assert between(9, 1) == set()
    day = (now - timedelta(minutes=3000)).date()
    assert found(admin_client, f"finished=..{day}") == {jobs[30_000].pk}
    assert len(found(admin_client, f"finished={day}..")) == 3


def test_jobs_are_found_by_their_last_failure(admin_client: Client) -> None:
    def failed(*classes: str, **fields: Any) -> Job:
        columns = {"error": "E: …", "error_code": "exception", "attempt": len(classes)}
        job = make_job(**{"state": State.FAILED, **columns, **fields})
        for number, name in enumerate(classes, start=1):
            make_attempt(job, attempt=number, exception_class=name, code="exception")
        return job

    declined, other = failed("shop.errors.Declined"), failed("bank.errors.Declined")
    changed = failed("shop.errors.Declined", "builtins.ValueError")
    killed = failed(error_code="process_killed")
    again = failed("shop.errors.Declined", state=State.SCHEDULED, finished_at=None)
    make_job(State.SUCCEEDED, attempt=1)
    assert found(admin_client, "error=shop.errors.Declined") == {declined.pk, again.pk}
    assert found(admin_client, "error=shop.errors.Declined&state=failed") == {declined.pk}
    assert found(admin_client, "error=bank.errors.Declined") == {other.pk}
    assert found(admin_client, "error=builtins.ValueError") == {changed.pk}
    assert found(admin_client, "error=process_killed") == {killed.pk}
    assert found(admin_client, "error=Declined") == set()


@pytest.mark.parametrize("term", ["4711", "MÜLLER", 'say "hi"', "caption", "back\\slash", "日本"])
def test_jobs_are_found_by_their_arguments(admin_client: Client, term: str) -> None:
    job = make_job(
        task="tests.app.tasks.add",
        args=[4711, "MÜLLER & Söhne"],
        kwargs={"caption": 'they say "hi"', "path": "back\\slash", "city": "日本語"},
    )
    make_job(task="tests.app.tasks.add", args=[1, "%_"], kwargs={})
    assert found(admin_client, urlencode({"q": term})) == {job.pk}


def test_the_search_looks_into_the_arguments_of_the_newest_jobs(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SEARCHED", 2)
    old = make_job(args=["needle"])
    newer, newest = make_job(args=["needle"]), make_job(args=["needle", token_hex(10_000)])
    assert found(admin_client, "q=needle") == {newer.pk}
    assert found(admin_client, "q=tasks.send") == {old.pk, newer.pk, newest.pk}


def test_a_search_finds_no_argument_that_is_not_shown(
    staff: Callable[..., Client], django_user_model: Any
) -> None:
    known = make_job(task="tests.app.tasks.add", args=[1], kwargs={"password": "0-swordfish"})
    make_job(task="shop.tasks.gone", args=["swordfish"])
    client = staff("view_job")
    assert found(client, "q=swordfish") == set()
    assert found(client, "q=password") == {known.pk}
    django_user_model.objects.create_superuser("boss")
    boss = Client()
    boss.force_login(django_user_model.objects.get(username="boss"))
    assert len(found(boss, "q=swordfish")) == 2


def test_a_search_finds_no_key_that_is_not_shown(
    staff: Callable[..., Client], admin_client: Client
) -> None:
    """A key may be made of a sensitive argument: nobody is to try which one it is."""
    hidden = make_job(task="tests.faults.secret_tasks.pay", dedup_key="pay:DE02")
    gone = make_job(task="shop.tasks.gone", dedup_key="pay:DE02")
    visible = make_job(task="tests.app.tasks.add", dedup_key="pay:DE02")
    other = make_job(task="tests.faults.secret_tasks.pay", dedup_key="pay:DE03")
    client = staff("view_job")
    assert found(client, "q=pay:DE02") == {visible.pk}
    assert found(client, "q=pay:DE03") == set()
    assert found(admin_client, "q=pay:DE03") == {other.pk}
    assert found(admin_client, "q=pay:DE02") == {hidden.pk, gone.pk, visible.pk}


@pytest.mark.parametrize(
    "lookup",
    [
        *("job/?dedup_key", "job/?dedup_key__startswith", "job/?kwargs__icontains"),
        *("job/?args__0", "job/?result__iban", "idempotencyrecord/?response__icontains"),
    ],
)
def test_an_address_filters_by_nothing_that_is_not_shown(
    staff: Callable[..., Client], admin_client: Client, lookup: str
) -> None:
    """Django's own filters need no list of them: any field will do."""
    make_job(task="tests.faults.secret_tasks.pay", kwargs={"iban": "DE02"}, dedup_key="DE02")
    address = f"/admin/django_bgtasks/{lookup}=DE02"
    assert staff("view_job", "view_idempotencyrecord").get(address).status_code == 400
    assert admin_client.get(address).status_code == 200


def test_a_span_that_is_kept_for_a_background_job_does_not_move_on() -> None:
    query = {"age": "hour", "finished": "day", "state": "failed", "p": "2", "q": "x"}
    values = frozen(query)
    assert {name: values[name] for name in ("state", "q")} == {"state": "failed", "q": "x"}
    assert "p" not in values
    start, end = time_range_of(values["finished"]) or (None, None)
    assert end is None
    assert start is not None
    assert abs(start - (clock.now() - timedelta(days=1))) < timedelta(minutes=5)
    assert frozen({"age": "older"})["age"].startswith("..")
    assert frozen(values) == values


def test_the_page_of_a_job_leads_to_the_jobs_of_its_batch(admin_client: Client) -> None:
    batch = clock.new_id()
    job = make_job(State.FAILED, batch=batch)
    make_job(State.SUCCEEDED, batch=batch)
    html = admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert f"?batch={batch}" in html
    assert found(admin_client, f"batch={batch}&state=failed") == {job.pk}


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
    assert html.count('<p class="bgtasks-folded">1 frame of a library</p>') >= 1
    # One stop of the keyboard for the box, and one for the whole text.
    assert html.count("tabindex") == html.count("<details>") == 1
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


def test_each_exception_of_a_group_is_folded() -> None:
    def raising(error: Exception) -> Exception:
        try:
            raise error
        except Exception as raised:
            return raised

    inner = ExceptionGroup("inner", [raising(KeyError("deep")), raising(OSError("disk"))])
    first = raising(ValueError("first <b>"))
    try:
        raise ExceptionGroup("outer", [first, raising(inner), TypeError("untold")])
    except ExceptionGroup as group:
        text = "".join(traceback.format_exception(group))
    html = traceback_html(text)
    titles = re.findall(r'<details data-depth="(\d)"><summary>(.*?)</summary>', html)
    assert titles == [
        ("1", "1: ValueError: first &lt;b&gt;"),
        ("1", "2: ExceptionGroup: inner (2 sub-exceptions)"),
        ("2", "2.1: KeyError: &#x27;deep&#x27;"),
        ("2", "2.2: OSError: disk"),
        ("1", "3: TypeError: untold"),
    ]
    assert html.index("outer (3 sub-exceptions)") < html.index("<details")
    assert html.count('<pre class="bgtasks-own">') == 5
    whole = html.split("The whole traceback</summary><pre>")[1]
    assert escape(text.strip()) in whole


def test_a_line_that_looks_like_a_part_of_a_group_is_text() -> None:
    frame = '  File "/srv/site/a.py", line 1, in a\n    b()\n'
    text = f"Traceback (most recent call last):\n{frame}    + c()\n  +---\nValueError: | +--- x"
    html = traceback_html(text)
    assert "ValueError: | +--- x" in html
    assert "    + c()\n  +---" in html
    assert "<details" not in html
