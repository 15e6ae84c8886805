"""The admin of limits and sequences: the page, the jobs that wait, and what is done to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_bgtasks import set_limit
from django_bgtasks.admin.limits import LimitAdmin
from django_bgtasks.core import clock
from django_bgtasks.core.states import State, WaitsFor
from django_bgtasks.models import HistoryEntry, Job, LimitOverride
from django_bgtasks.monitoring import limits

from .rows import make_job, make_worker

pytestmark = pytest.mark.django_db
Staff = Callable[..., Client]
ADMIN = "/admin/django_bgtasks/"
LIST, JOBS = f"{ADMIN}limitoverride/", f"{ADMIN}job/"
KEY = "stripe:42"


def html_of(client: Client, url: str, **query: str) -> str:
    """The text of a page."""
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


def text_of(html: str) -> str:
    """What a person reads."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html))).strip()


def rows_of(html: str, heading: str = "bgtasks-lanes-heading") -> list[str]:
    """The rows of the first table of a section, as text."""
    section = html.split(f'id="{heading}"')[1].split("</section>", maxsplit=1)[0]
    body = section.split("<tbody>")[1].split("</tbody>")[0]
    return [text_of(row) for row in re.findall(r"<tr>.*?</tr>", body, re.DOTALL)]


def listed(html: str) -> list[str]:
    """The ids of the jobs of a list."""
    boxes = re.findall(r'<input type="checkbox"[^>]*>', html)
    return [value for box in boxes for value in re.findall(r'value="([0-9a-f-]{36})"', box)]


def waiting(lane: str = KEY, mode: str = "wait", **fields: Any) -> Job:
    """A job that waits for a place."""
    values = {"lane": lane, "lane_mode": mode, "at_once": 2, "waits_for": WaitsFor.LANE}
    return make_job(State.BLOCKED, **{**values, **fields})


def holding(state: str = State.RUNNING, place: int = 1, lane: str = KEY, **fields: Any) -> Job:
    """A job that has a place."""
    values = {"lane": lane, "lane_mode": "wait", "at_once": 2, "place": place}
    return make_job(state, **{**values, **fields})


def held_sequence(waits: int = 2, lane: str = "order:7") -> Job:
    """A failed job behind which others wait."""
    failed = holding(State.FAILED, 1, lane, lane_mode="hold", at_once=1)
    for _ in range(waits):
        waiting(lane, "hold", at_once=1)
    return failed


def test_an_empty_page_says_how_a_task_gets_a_limit(admin_client: Client) -> None:
    text = text_of(html_of(admin_client, LIST))
    assert '@task(limit=Limit("stripe:{account}", at_once=5))' in text
    assert "No key matches" in html_of(admin_client, LIST, q="x")


def test_the_page_shows_each_key_with_its_places_and_who_waits(admin_client: Client) -> None:
    for place in (1, 2):
        holding(place=place)
    for _ in range(3):
        waiting()
    failed = held_sequence()
    html = html_of(admin_client, LIST)
    first, second = rows_of(html)
    assert first.startswith(f"{KEY} Limit 2 / 2 3 5 min")
    assert second.startswith("order:7 Sequence 1 / 1 2 5 min")
    assert "✕ Failed send" in second
    assert f"{JOBS}{failed.pk}/change/" in html
    assert f"{JOBS}?lane=stripe%3A42&amp;state=waits" in html


def test_the_links_of_a_key_lead_to_its_jobs(admin_client: Client) -> None:
    holder, waiter, other = holding(), waiting(), waiting("stripe:43")
    make_job(lane=KEY, lane_mode="wait")
    for state, job in (("place", holder), ("waits", waiter)):
        html = html_of(admin_client, JOBS, lane=KEY, state=state)
        assert listed(html) == [str(job.pk)]
    assert str(other.pk) in html_of(admin_client, JOBS, state="waits")


def test_a_key_is_found_by_a_part_of_it(admin_client: Client) -> None:
    waiting("stripe:42")
    waiting("device:7")
    assert len(rows_of(html_of(admin_client, LIST))) == 2
    [row] = rows_of(html_of(admin_client, LIST, q="DEV"))
    assert row.startswith("device:7")


def test_many_keys_are_shown_page_by_page_with_the_same_number_of_statements(
    admin_client: Client,
) -> None:
    waiting()
    with CaptureQueriesContext(connection) as few:
        html_of(admin_client, LIST)
    size = LimitAdmin.list_per_page
    for number in range(size):
        waiting(f"many:{number}")
    with CaptureQueriesContext(connection) as many:
        html = html_of(admin_client, LIST)
    assert len(many) == len(few)
    assert (len(rows_of(html)), "Page 1 of 2" in html) == (size, True)
    assert len(rows_of(html_of(admin_client, LIST, p="2"))) == 1


def test_a_page_of_more_keys_than_are_looked_at_says_so(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LANES", 2)
    for number in range(4):
        waiting(f"many:{number}")
    assert "There are more keys" in html_of(admin_client, LIST)
    assert len(rows_of(html_of(admin_client, LIST, q="many:3"))) == 1


@pytest.mark.parametrize(
    "key",
    [KEY, "a b:é<b>&\"'", "line\nbreak:1", " ", "k" * 255, "a/../b?c#d%20+e;f", '{"full":null}'],
)
def test_a_limit_is_changed_and_given_back_to_the_code(admin_client: Client, key: str) -> None:
    waiting(key)
    url = unescape(re.findall(r'action="([^"]+/set/\?[^"]+)"', html_of(admin_client, LIST))[0])
    page = admin_client.post(url, {"at_once": "5"}, follow=True)
    assert "At most 5 jobs of" in page.content.decode()
    row = LimitOverride.objects.get()
    assert (row.key, row.is_prefix, row.at_once, row.by) == (key, False, 5, "admin")
    assert "changed" in rows_of(page.content.decode())[0]
    page = admin_client.post(url.replace("/set/", "/reset/"), follow=True)
    assert "The code says again" in page.content.decode()
    assert not LimitOverride.objects.exists()
    verbs = list(HistoryEntry.objects.order_by("pk").values_list("verb", "via"))
    assert verbs == [("limit_changed", "admin"), ("limit_reset", "admin")]


def test_a_prefix_is_changed_for_all_its_keys(admin_client: Client) -> None:
    waiting()
    values = {"key": "stripe", "is_prefix": "on", "at_once": "0"}
    page = admin_client.post(f"{LIST}set/", values, follow=True).content.decode()
    assert "No job of stripe:* begins from now on." in page
    assert "changed for the prefix" in rows_of(page)[0]
    [row] = rows_of(page, "bgtasks-changed-heading")
    assert row.startswith("stripe:* 0 admin")
    assert "changed the limit stripe:* = 0" in text_of(page)
    reset = unescape(re.findall(r'action="([^"]+/reset/\?[^"]+)"', page)[-1])
    admin_client.post(reset)
    assert not LimitOverride.objects.exists()


@pytest.mark.parametrize(
    "values",
    [{"key": KEY, "at_once": "-1"}, {"key": KEY, "at_once": "1001"}, {"key": KEY, "at_once": "x"},
     {"key": "", "at_once": "1"}, {"key": KEY, "is_prefix": "on", "at_once": "1"},
     {"key": "k" * 256, "at_once": "1"}, {"key": "a\0b", "at_once": "1"},
    ],
)  # fmt: skip
def test_what_cannot_be_a_limit_is_said_in_the_form(
    admin_client: Client, values: dict[str, str]
) -> None:
    response = admin_client.post(f"{LIST}set/", values)
    assert response.status_code == 200
    assert 'class="errorlist' in response.content.decode()
    assert not LimitOverride.objects.exists()


def test_the_page_stays_where_it_was_after_a_change(admin_client: Client) -> None:
    waiting()
    html = html_of(admin_client, LIST, q="stripe", p="1")
    url = unescape(re.findall(r'action="([^"]+/set/\?[^"]+)"', html)[0])
    assert admin_client.post(url, {"at_once": "5"})["Location"] == f"{LIST}?q=stripe&p=1"


def test_who_sees_jobs_sees_limits_and_changes_none(staff: Staff) -> None:
    waiting()
    client = staff("view_job")
    html = html_of(client, LIST)
    assert KEY in html
    assert "/set/" not in html
    for name in ("set", "reset"):
        url = f"{LIST}{name}/?key={KEY}"
        assert client.post(url, {"at_once": "5"}).status_code == 403
        assert client.get(url).status_code == 405
    assert LIST in html_of(client, "/admin/")


def test_who_may_change_limits_and_sees_no_jobs_gets_no_links_to_them(staff: Staff) -> None:
    waiting()
    held_sequence()
    Job.objects.update(label="about Ada")
    client = staff("change_limit")
    html = html_of(client, LIST)
    assert JOBS not in html
    assert "about Ada" not in html
    assert client.post(f"{LIST}set/?key={KEY}", {"at_once": "5"}).status_code == 302


def test_who_has_neither_permission_sees_nothing(staff: Staff) -> None:
    client = staff("view_worker")
    assert client.get(LIST).status_code == 403
    assert LIST not in html_of(client, "/admin/")


def test_the_job_list_says_where_a_job_waits(admin_client: Client) -> None:
    waiting()
    held_sequence()
    text = text_of(html_of(admin_client, JOBS))
    assert "waits for a place at stripe:42" in text
    assert "waits for its turn in order:7" in text
    assert "holds the sequence order:7" in text


def test_jobs_are_found_that_wait_or_hold_a_sequence(admin_client: Client) -> None:
    wait, failed = waiting(), held_sequence(waits=0)
    make_job(State.FAILED)
    make_job(State.QUEUED)
    for state, job in (("waits", wait), ("place", failed), ("holding", failed)):
        html = html_of(admin_client, JOBS, state=state)
        assert listed(html) == [str(job.pk)]


def test_the_page_of_a_job_says_who_has_the_places_and_how_many_are_before_it(
    admin_client: Client,
) -> None:
    holders = [holding(place=place, label=f"holder {place}") for place in (1, 2)]
    jobs = [waiting() for _ in range(3)]
    html = html_of(admin_client, f"{JOBS}{jobs[2].pk}/change/")
    text = text_of(html)
    assert "It waits: 2 of 2 places of stripe:42 are taken. 2 jobs are before it." in text
    for holder in holders:
        assert f"Running {holder.label} for 3" in text
        assert f"{JOBS}{holder.pk}/change/" in html
    assert "It is the next one." in text_of(html_of(admin_client, f"{JOBS}{jobs[0].pk}/change/"))


def test_of_many_holders_the_first_are_named(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NAMED", 2)
    for place in (1, 2, 3, 4):
        holding(place=place, at_once=4)
    text = text_of(html_of(admin_client, f"{JOBS}{waiting(at_once=4).pk}/change/"))
    assert "4 of 4 places" in text
    assert "and 2 more" in text


def test_the_page_of_a_job_with_a_place_says_which(admin_client: Client) -> None:
    job = holding(place=2)
    waiting()
    text = text_of(html_of(admin_client, f"{JOBS}{job.pk}/change/"))
    assert "It has place 2 of 2 of stripe:42. 1 job waits for a place." in text


def test_the_page_of_a_failed_job_says_what_waits_behind_it(admin_client: Client) -> None:
    html = html_of(admin_client, f"{JOBS}{held_sequence().pk}/change/")
    assert "Its sequence order:7 waits behind it: 2 jobs. Retry it" in text_of(html)
    assert "Let the sequence go on</button>" in html


def test_a_job_of_a_paused_queue_or_a_limit_of_none_says_so(admin_client: Client) -> None:
    job = waiting()
    LimitOverride.objects.create(key=KEY, at_once=0, changed_at=clock.now())
    url = f"{JOBS}{job.pk}/change/"
    assert "the limit of stripe:42 is 0" in text_of(html_of(admin_client, url))
    admin_client.post(f"{ADMIN}dashboard/pause/", {"queue": "default", "backend": "default"})
    assert "its queue is paused" in text_of(html_of(admin_client, url))


def test_a_job_without_a_limit_says_nothing_of_it_and_costs_no_statement_more(
    admin_client: Client,
) -> None:
    job = make_job(State.QUEUED)
    with CaptureQueriesContext(connection) as queries:
        html = html_of(admin_client, f"{JOBS}{job.pk}/change/")
    assert 'id="bgtasks-limit"' not in html
    assert not [query for query in queries if "limitoverride" in query["sql"]]


def test_a_job_is_run_without_a_place_after_a_question(admin_client: Client) -> None:
    job = waiting()
    url = f"{JOBS}{job.pk}/run-anyway/"
    page = admin_client.post(url).content.decode()
    assert "one more may run than its limit or its sequence allows" in page
    assert Job.objects.get(pk=job.pk).state == State.BLOCKED
    page = admin_client.post(url, {"bgtasks_confirmed": "yes"}, follow=True).content.decode()
    assert "1 job no longer waits for its limit" in page
    job.refresh_from_db()
    assert (job.state, job.place, job.waits_for) == (State.QUEUED, None, "")
    assert HistoryEntry.objects.get().verb == "run_anyway"


def test_selected_jobs_are_run_without_places_after_a_question(admin_client: Client) -> None:
    jobs = [waiting() for _ in range(2)]
    fields = {"action": "run_anyway_selected", "_selected_action": [str(job.pk) for job in jobs]}
    page = admin_client.post(JOBS, fields).content.decode()
    assert "2 of them wait for their limits" in page
    admin_client.post(JOBS, {**fields, "bgtasks_confirmed": "yes"})
    assert set(Job.objects.values_list("state", flat=True)) == {State.QUEUED}


def test_a_sequence_goes_on_without_the_job_that_failed(
    admin_client: Client, django_capture_on_commit_callbacks: Any
) -> None:
    failed = held_sequence()
    with django_capture_on_commit_callbacks(execute=True):
        page = admin_client.post(f"{JOBS}{failed.pk}/release/", follow=True).content.decode()
    assert "1 sequence goes on without the job that failed." in page
    failed.refresh_from_db()
    assert (failed.state, failed.place) == (State.FAILED, None)
    assert Job.objects.filter(state=State.QUEUED, place=1).count() == 1
    page = admin_client.post(f"{JOBS}{failed.pk}/release/", follow=True).content.decode()
    assert "1 job was refused" in page


def test_all_held_sequences_go_on_by_one_button(admin_client: Client) -> None:
    failed = [held_sequence(lane=f"order:{number}") for number in range(3)]
    make_job(State.FAILED)
    html = html_of(admin_client, JOBS, state="holding")
    assert "Let the sequence go on all" in text_of(html)
    assert "Let the sequence go on all" not in text_of(html_of(admin_client, JOBS, state="failed"))
    fields = {"action": "release_selected", "_selected_action": [str(job.pk) for job in failed]}
    admin_client.post(f"{JOBS}?state=holding", fields)
    assert not Job.objects.filter(state=State.FAILED, place__isnull=False).exists()


@pytest.mark.parametrize(
    ("permission", "name"), [("run_job_now", "run-anyway"), ("retry_job", "release")]
)
def test_each_of_these_needs_its_permission(staff: Staff, permission: str, name: str) -> None:
    job = waiting() if name == "run-anyway" else held_sequence()
    url = f"{JOBS}{job.pk}/{name}/"
    client = staff("view_job")
    assert f"/{name}/" not in html_of(client, f"{JOBS}{job.pk}/change/")
    assert client.post(url).status_code == 403
    client.logout()


def test_the_dashboard_shows_where_jobs_wait_longest_and_what_is_held(
    admin_client: Client,
) -> None:
    make_worker()
    for number in range(7):
        waiting(f"many:{number}")
    failed = held_sequence()
    html = html_of(admin_client, f"{ADMIN}dashboard/").split('id="bgtasks-limits"')[1]
    html = html.split("</section>")[0]
    assert html.count("<tr data-key") == 5
    assert "Sequences that a failed job holds: 1" in text_of(html)
    assert f"{LIST}?q=many%3A" in html
    assert "All limits" in html
    assert failed.lane


def test_the_dashboard_says_nothing_of_limits_where_nobody_waits(admin_client: Client) -> None:
    make_job()
    with CaptureQueriesContext(connection) as queries:
        assert "bgtasks-limits" not in html_of(admin_client, f"{ADMIN}dashboard/")
    assert len([query for query in queries if "waits_for" in query["sql"]]) <= 1


def test_who_sees_no_jobs_gets_no_links_to_limits_on_the_dashboard(staff: Staff) -> None:
    waiting()
    held_sequence()
    html = html_of(staff("view_dashboard"), f"{ADMIN}dashboard/")
    assert "bgtasks-limits" in html
    assert LIST not in html
    assert JOBS not in html


def test_a_change_lets_those_in_that_wait(
    admin_client: Client, django_capture_on_commit_callbacks: Any
) -> None:
    jobs = [waiting() for _ in range(3)]
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post(f"{LIST}set/?key={KEY}", {"at_once": "3"})
    assert Job.objects.filter(state=State.QUEUED).count() == len(jobs)
    with django_capture_on_commit_callbacks(execute=True):
        set_limit(KEY, 1)
    assert Job.objects.filter(place__isnull=False).count() == 3
