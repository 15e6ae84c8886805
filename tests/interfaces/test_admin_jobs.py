"""The admin of jobs: what it shows, to whom, and what it costs the database."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from secrets import token_hex
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_bgtasks.admin import choices, listing
from django_bgtasks.core import clock
from django_bgtasks.core.aliases import CURRENT
from django_bgtasks.core.retry import Retry, stored_retry
from django_bgtasks.core.states import FINAL, State
from django_bgtasks.models import HistoryEntry, Job

from .rows import make_attempt, make_job, make_record, make_worker

pytestmark = pytest.mark.django_db

LIST = "/admin/django_bgtasks/job/"


# No database makes it small enough for the list.
LARGE = token_hex(10_000)
RAISED = {"error": "Declined: no", "error_code": "exception"}


def page_of(job: Job) -> str:
    return reverse("admin:django_bgtasks_job_change", args=(job.pk,))


def html_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def test_the_list_shows_each_state_by_a_word_and_a_sign(admin_client: Client) -> None:
    for state in State.values:
        make_job(state, error="Boom" if state == State.FAILED else "")
    make_job(attempt=1, error="ValueError: no")
    make_job(error="It cannot be imported", held_reason="task_not_imported")
    html = html_of(admin_client, LIST)
    for kind in [*State.values, "retrying", "held"]:
        assert html.count(f'"bgtasks-badge bgtasks-is-{kind}"><span aria-hidden="true">') == 1
    assert "Boom" in html


def test_the_list_shows_age_duration_and_attempt(admin_client: Client) -> None:
    job = make_job(State.SUCCEEDED, attempt=1)
    html = html_of(admin_client, LIST)
    assert "5 minutes ago" in html.replace("\xa0", " ")
    assert f'datetime="{job.enqueued_at.isoformat()}"' in html
    assert "3.0 s" in html
    assert "1/3" in html


def test_the_list_shows_when_a_job_that_waits_is_due(admin_client: Client) -> None:
    due = clock.now() + timedelta(minutes=3, seconds=30)
    make_job(State.SCHEDULED, run_after=due)
    make_job(State.SCHEDULED, run_after=due, attempt=1, error="no")
    make_job(State.FAILED, run_after=clock.now() - timedelta(minutes=7))
    html = html_of(admin_client, LIST).replace("\xa0", " ")
    assert html.count("in 3 minutes") == 2
    assert html.count(f'datetime="{due.isoformat()}"') == 2
    assert "7 minutes ago" not in html


def test_the_list_shows_a_line_of_the_arguments(staff: Callable[..., Client]) -> None:
    long = "a holiday " * 40
    make_job(task="tests.app.tasks.add", args=[4711, "x"], kwargs={"password": "hidden-one"})
    make_job(task="tests.app.tasks.add", args=["<b>" + long])
    make_job(task="tests.app.tasks.add", args=[LARGE])
    make_job(task="shop.tasks.gone", args=["nobody-knows"])
    make_job(task="tests.app.tasks.add")
    client = staff("view_job")
    html = html_of(client, LIST)
    lines = re.findall(r'<code class="bgtasks-arguments">(.*?)</code>', html)
    assert len(lines) == 4
    assert lines[0] == "********************"
    assert lines[1] == "…"
    assert lines[2].startswith("&quot;&lt;b&gt;a holiday")
    assert len(lines[2]) < 120
    assert lines[3] == "4711, &quot;x&quot;, password=********************"
    for secret in ("hidden-one", "nobody-knows"):
        assert secret not in html


def test_without_the_permission_to_view_there_is_nothing_to_see(
    staff: Callable[..., Client],
) -> None:
    job, client = make_job(), staff("retry_job")
    assert client.get(LIST).status_code == 403
    assert client.get(page_of(job)).status_code == 403


def test_records_are_only_shown_to_who_may_view_records(staff: Callable[..., Client]) -> None:
    job, client = make_job(), staff("view_job")
    make_record(key="charge-of-7", job=job.pk)
    assert "charge-of-7" not in html_of(client, page_of(job))


def test_nobody_adds_or_edits_a_job(admin_client: Client) -> None:
    job = make_job()
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(page_of(job), {"state": "succeeded"}).status_code == 403
    job.refresh_from_db()
    assert job.state == State.QUEUED


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=failed", "failed"),
        ("state=retrying", "retrying"),
        ("state=held", "held"),
        ("state=expired", "expired"),
        ("queue=emails", "mailed"),
        ("task=shop.tasks.rare", "rare"),
        ("q=tasks.ra", "rare"),
        ("q=order:7", "keyed"),
        ("q=  order:7 ", "keyed"),
    ],
)
def test_filters_and_search_find(admin_client: Client, query: str, found: str) -> None:
    jobs = {
        "failed": make_job(State.FAILED),
        "retrying": make_job(State.SCHEDULED, attempt=1, error="no"),
        "held": make_job(State.SCHEDULED, error="no task", held_reason="task_not_imported"),
        "expired": make_job(State.CANCELLED, error_code="expired"),
        "cancelled": make_job(State.CANCELLED),
        "mailed": make_job(queue="emails"),
        "rare": make_job(task="shop.tasks.rare"),
        "keyed": make_job(dedup_key="order:7"),
    }
    response = admin_client.get(f"{LIST}?{query}")
    assert [job.pk for job in response.context["cl"].result_list] == [jobs[found].pk]


def test_a_page_says_when_its_job_expires_and_that_it_has(admin_client: Client) -> None:
    then = clock.now() + timedelta(minutes=5, seconds=30)
    waiting, without = make_job(expires_at=then), make_job()
    assert "in 5 minutes" in html_of(admin_client, page_of(waiting)).replace("\xa0", " ")
    assert "field-time_expires" not in html_of(admin_client, page_of(without))
    expired = make_job(State.CANCELLED, expires_at=then, error_code="expired")
    assert "It expired: it had not begun in time." in html_of(admin_client, page_of(expired))
    listed = html_of(admin_client, f"{LIST}?state=expired")
    assert "It expired: it had not begun in time." in listed
    assert 'value="retry_selected"' in listed


def test_a_page_names_the_task_that_runs_a_job_of_a_former_path(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CURRENT, "shop.tasks.push", "tests.app.tasks.add")
    html = html_of(admin_client, page_of(make_job(task="shop.tasks.push")))
    assert "shop.tasks.push, now tests.app.tasks.add" in html


def test_the_list_and_the_page_show_the_label_of_a_job(admin_client: Client) -> None:
    job = make_job(label="push to <17>")
    make_job()
    html = html_of(admin_client, LIST)
    assert html.count('<span class="bgtasks-label"') == 1
    assert '" title="push to &lt;17&gt;">push to &lt;17&gt;</span>' in html
    assert "push to &lt;17&gt;" in html_of(admin_client, page_of(job))
    found = admin_client.get(f"{LIST}?q=to+<17").context["cl"].result_list
    assert [one.pk for one in found] == [job.pk]


def test_a_page_shows_the_retries_that_only_its_job_has(admin_client: Client) -> None:
    job = make_job(retry=stored_retry(Retry(max_attempts=7, on=OSError)))
    html = html_of(admin_client, page_of(job))
    assert "&quot;max_attempts&quot;: 7" in html
    assert "&quot;builtins:OSError&quot;" in html
    assert "field-own_retry" not in html_of(admin_client, page_of(make_job()))


def test_search_finds_an_id(admin_client: Client) -> None:
    job, _other = make_job(), make_job()
    for term in (str(job.pk), job.pk.hex):
        assert list(admin_client.get(f"{LIST}?q={term}").context["cl"].result_list) == [job]


def offered(client: Client, query: str) -> set[str]:
    """What the filters of the list offer, as parts of an address."""
    html = html_of(client, f"{LIST}?{query}")
    return set(re.findall(r"(?:\?|&amp;)((?:task|queue|error)=[^&\"]+)", html))


def test_the_filters_offer_what_the_jobs_of_the_chosen_state_have(admin_client: Client) -> None:
    failed = make_job(State.FAILED, task="shop.tasks.rare", queue="rare", attempt=2, **RAISED)
    make_attempt(failed, exception_class="shop.errors.Old", code="exception")
    make_attempt(failed, attempt=2, exception_class="shop.errors.Declined", code="exception")
    killed = {"error": "crash: …", "error_code": "process_killed", "attempt": 1}
    make_attempt(make_job(State.FAILED, **killed), outcome="crash", code="process_killed")
    for _ in range(20):
        make_job(State.SUCCEEDED, task="shop.tasks.often", queue="often")
    assert offered(admin_client, "state=failed") == {
        *("task=shop.tasks.rare", "task=shop.tasks.send", "queue=rare", "queue=default"),
        *("error=shop.errors.Declined", "error=process_killed"),
    }
    assert offered(admin_client, "state=succeeded") == {
        "task=shop.tasks.often",
        "queue=often",
    }
    assert {"task=shop.tasks.often", "error=process_killed"} < offered(admin_client, "")
    html = html_of(admin_client, f"{LIST}?state=failed")
    assert "Its process was killed" in html


def test_a_filter_keeps_its_value_when_no_job_has_it(admin_client: Client) -> None:
    make_job(State.SUCCEEDED)
    found = offered(admin_client, "state=succeeded&task=shop.gone&queue=gone&error=shop.Gone")
    assert {"task=shop.gone", "queue=gone", "error=shop.Gone"} <= found


def test_the_choices_look_at_no_more_than_the_newest_jobs(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "LOOKED_AT", 3)
    make_job(task="shop.tasks.old")
    for number in range(3):
        make_job(task=f"shop.tasks.t{number}")
    assert "task=shop.tasks.old" not in offered(admin_client, "")
    assert "task=shop.tasks.t0" in offered(admin_client, "")


def test_the_list_costs_the_same_for_ten_jobs_and_for_a_hundred(
    admin_client: Client, django_user_model: Any
) -> None:
    owner = django_user_model.objects.get()
    make_job(owner=owner)
    few = queries_of(admin_client, LIST)
    for number in range(60):
        make_job(State.FAILED, owner=owner, task=f"shop.tasks.t{number % 3}")
    many = queries_of(admin_client, LIST)
    assert len(many) == len(few) <= 10


def test_the_list_never_counts_the_whole_table_nor_reads_payloads(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "COUNTED", 70)
    for _ in range(120):
        make_job()
    statements = queries_of(admin_client, LIST)
    jobs = [sql for sql in statements if "django_bgtasks_job" in sql]
    # All but that of the arguments of the jobs on the page.
    [calls] = [sql for sql in jobs if "LIMIT" not in sql]
    assert " IN (" in calls
    assert not [sql for sql in jobs if re.search(r"[`\"]kwargs", sql) and sql != calls]
    assert "70+ jobs" in html_of(admin_client, LIST)


def test_the_page_of_a_job_shows_all_of_it(admin_client: Client, admin_user: Any) -> None:
    worker = make_worker()
    job = make_job(
        State.FAILED,
        attempt=2,
        worker=worker.pk,
        args=[1, "two"],
        kwargs={"three": {"four": None}},
        error="ValueError: it broke",
        owner=admin_user,
        progress_done=3,
        progress_total=10,
        progress_message="rows",
        dedup_key="order:7",
    )
    job.about = admin_user
    job.save()
    make_attempt(
        job,
        attempt=2,
        worker=worker.pk,
        started_at=job.started_at,
        finished_at=job.finished_at,
        exception_class="builtins.ValueError",
        message="it broke",
        traceback="Traceback (most recent call last):\n  File tasks.py",
    )
    make_record(key="charge", job=job.pk)
    html = html_of(admin_client, page_of(job))
    for text in (
        "&quot;three&quot;: {",
        "builtins.ValueError: it broke",
        "Traceback (most recent call last)",
        "db1:42",
        '<progress value="3" max="10">',
        "order:7",
        "charge",
    ):
        assert text in html
    user_page = reverse("admin:auth_user_change", args=(admin_user.pk,))
    assert html.count(f'href="{user_page}"') >= 2
    assert reverse("admin:django_bgtasks_worker_change", args=(worker.pk,)) in html


@pytest.mark.parametrize(
    ("carried", "to_all", "to_some"),
    [
        (None, "", ""),
        ('{"tenant": "<b>Zürich</b>"}', "&quot;tenant&quot;: &quot;&lt;b&gt;Zürich&lt;/b&gt;", ""),
        ('{"tenant": "a", "token": "s3cret"}', "&quot;tenant&quot;: &quot;a&quot;", "s3cret"),
        ("nonsense", "{}", "nonsense"),
    ],
    ids=["nothing", "a tenant", "a secret", "nonsense"],
)
def test_the_page_of_a_job_shows_the_context_that_it_carries(
    staff: Callable[..., Client], admin_client: Client, carried: str, to_all: str, to_some: str
) -> None:
    job = make_job(carried=carried)
    shown, concealed = (
        html_of(client, page_of(job)) for client in (admin_client, staff("view_job"))
    )
    for html in (shown, concealed):
        assert ("Carried context" in html) is (carried is not None)
        assert to_all in html
    if to_some:
        assert to_some not in concealed
        assert (to_some in shown) is (carried != "nonsense")


def test_what_a_job_was_about_may_be_gone(admin_client: Client, django_user_model: Any) -> None:
    job = make_job()
    user = django_user_model.objects.create_user("short-lived")
    job.about = user
    job.save()
    user.delete()
    assert "(gone)" in html_of(admin_client, page_of(job))


def test_an_unknown_job_leads_back_with_a_message(admin_client: Client) -> None:
    response = admin_client.get(f"{LIST}{clock.new_id()}/change/", follow=True)
    assert response.redirect_chain
    assert "exist" in response.content.decode()


def test_a_task_without_retries_has_no_number_of_attempts_to_come(admin_client: Client) -> None:
    make_job(State.FAILED, task="tests.app.tasks.add", attempt=1)
    assert "attempt 1<" in html_of(admin_client, LIST)
    make_job(State.FAILED, task="shop.tasks.gone", attempt=1)
    assert "attempt 1/3<" in html_of(admin_client, LIST)


def test_the_page_of_a_job_keeps_itself_up_to_date_until_the_job_is_final(
    admin_client: Client,
) -> None:
    for state in State:
        html = html_of(admin_client, page_of(make_job(state)))
        final = state in FINAL
        assert ("data-every" in html) is not final
        assert ("django_bgtasks/live.js" in html) is not final
        assert ("Load it again</a>" in html) is not final


def test_an_empty_list_says_how_jobs_come(admin_client: Client) -> None:
    html = html_of(admin_client, LIST)
    assert "No jobs yet" in html
    assert "python manage.py bgworker" in html
    make_job()
    assert "No job matches" in html_of(admin_client, f"{LIST}?state=failed")


def test_reading_writes_nothing(admin_client: Client) -> None:
    job = make_job(State.FAILED)
    for url in (LIST, page_of(job), f"{LIST}{job.pk}/delete/"):
        statements = queries_of(admin_client, url)
        assert not [sql for sql in statements if sql.startswith(("UPDATE", "INSERT", "DELETE"))]
    assert not HistoryEntry.objects.exists()


@pytest.mark.parametrize("query", ["", "?state=failed", "?task=shop.tasks.send", "?q=shop"])
def test_more_jobs_cost_the_list_no_more_statements(admin_client: Client, query: str) -> None:
    counts = []
    for number in (5, 60):
        for _ in range(number):
            make_job(State.FAILED)
        counts.append(len(queries_of(admin_client, f"{LIST}{query}")))
    assert counts[1] <= counts[0]


def queries_of(client: Client, url: str) -> list[str]:
    """The statements of one request."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return [query["sql"] for query in captured]
