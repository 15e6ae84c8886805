"""The admin of workflows: the list, the page of one, what is done to it, and a job's page."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_bgtasks import chain, group
from django_bgtasks.admin import batch_actions
from django_bgtasks.admin.batch_actions import apply_to_batch
from django_bgtasks.core import clock
from django_bgtasks.core.flows import GateOn
from django_bgtasks.core.states import State
from django_bgtasks.models import Batch, HistoryEntry, Job
from django_bgtasks.monitoring import batch_tree
from django_bgtasks.testing import run_jobs, without_redis
from tests.workflows import tasks

from .rows import make_job, make_worker
from .workflows import make_batch, make_member, make_step, skip, split_and_join

pytestmark = pytest.mark.django_db
Staff = Callable[..., Client]
ADMIN = "/admin/django_bgtasks/"
LIST, JOBS = f"{ADMIN}batch/", f"{ADMIN}job/"


@pytest.fixture(autouse=True)
def _without_redis() -> Any:
    with without_redis():
        yield


def html_of(client: Client, url: str, **query: str) -> str:
    """The text of a page."""
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


def text_of(html: str) -> str:
    """What a person reads."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html))).strip()


def page_of(batch: Batch | UUID) -> str:
    """The address of a batch's page."""
    return f"{LIST}{batch.pk if isinstance(batch, Batch) else batch}/change/"


def section(html: str, name: str) -> str:
    """What a part of the page says."""
    found = re.search(rf'<(section|fieldset)[^>]* id="{name}".*?</\1>', html, re.DOTALL)
    return text_of(found[0]) if found else ""


def rows_of(html: str) -> list[str]:
    """The rows of the list."""
    body = html.split('id="result_list"')[1].split("<tbody>")[1].split("</tbody>", maxsplit=1)[0]
    return [text_of(row) for row in re.findall(r"<tr>.*?</tr>", body, re.DOTALL)]


def keys_of(html: str) -> list[str]:
    """The ids of the rows of the tree, in their order."""
    part = html.split('id="bgtasks-elements"')[1].split("</section>", maxsplit=1)[0]
    return re.findall(r'<li id="bgtasks-([0-9a-f-]{36})"', part)


def test_an_empty_list_says_how_there_comes_to_be_a_workflow(admin_client: Client) -> None:
    assert "chain(split.step(7), group(…)).enqueue()" in text_of(html_of(admin_client, LIST))
    assert "No workflow matches" in html_of(admin_client, LIST, q="x")


def test_the_list_has_whole_workflows_with_their_progress(admin_client: Client) -> None:
    root, parts, _last = split_and_join(dedup_key="file:7")
    make_member(parts, State.FAILED)
    Batch.objects.filter(pk=root.pk).update(failed_at=clock.now())
    done = make_batch(outcome="succeeded", total=40)
    rows = rows_of(html_of(admin_client, LIST))
    assert len(rows) == 2
    assert rows[0].startswith("✓ Succeeded Group")
    assert "40 / 40" in rows[0]
    assert "Failing" in rows[1]
    assert "contacts.csv chain" in rows[1]
    assert "file:7" in rows[1]
    assert "2 / 6 1 failed" in rows[1]
    assert f"{LIST}{done.pk}/change/" in html_of(admin_client, LIST)


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ("open", {"open", "failing"}),
        ("failing", {"failing"}),
        ("failed", {"failed"}),
        ("succeeded", {"succeeded"}),
        ("cancelled", {"cancelled"}),
    ],
)
def test_the_list_is_filtered_by_state(admin_client: Client, state: str, names: set[str]) -> None:
    for outcome in ("failed", "succeeded", "cancelled"):
        make_batch(name=outcome, outcome=outcome)
    make_batch(name="open")
    make_batch(name="failing", failed_at=clock.now())
    html = html_of(admin_client, LIST, state=state)
    found = {name for name in ("open", "failing", "failed", "succeeded", "cancelled")
             if f'<span class="bgtasks-long">{name}</span>' in html}  # fmt: skip
    assert found == names


def test_a_workflow_is_found_by_what_belongs_to_it(admin_client: Client, admin_user: User) -> None:
    root, parts, last = split_and_join(dedup_key="file:7", owner_id=admin_user.pk)
    member = Job.objects.filter(batch=parts.pk)[0]
    after = make_step(None, root.pk, GateOn.END)
    make_batch(name="another")
    known = (root.pk, parts.pk, member.pk, last.pk, after.pk, "file:7", "acts.CSV", "admin")
    for term in known:
        [row] = rows_of(html_of(admin_client, LIST, q=str(term)))
        assert "contacts.csv" in row, term
    for term in ("file:", clock.new_id(), make_job().pk):
        assert "No workflow matches" in html_of(admin_client, LIST, q=str(term)), term


def test_the_list_is_filtered_by_its_age(admin_client: Client) -> None:
    make_batch(name="new")
    for age in ("hour", "day", "week", "month"):
        assert len(rows_of(html_of(admin_client, LIST, age=age))) == 1
    assert "No workflow matches" in html_of(admin_client, LIST, age="older")


def test_the_page_shows_the_tree_with_nesting_and_states(admin_client: Client) -> None:
    root, parts, last = split_and_join()
    html = html_of(admin_client, page_of(root))
    first = Job.objects.get(batch=root.pk, state="succeeded")
    members = Job.objects.filter(batch=parts.pk).order_by("pk")
    rows = [first.pk, parts.pk, *(job.pk for job in members), last.pk]
    assert keys_of(html) == [str(pk) for pk in rows]
    tree = section(html, "bgtasks-elements")
    assert "▶ Open parts group" in tree
    assert "0 / 3" in tree
    assert "part 2" in tree
    assert "◇ Blocked join_ parts" in tree
    assert "waits for the step before it" in tree
    state = section(html, "bgtasks-state")
    assert "1 / 5" in state
    assert f"{JOBS}?batch={root.pk}&amp;state=queued" in html


def test_the_list_of_jobs_behind_the_page_has_those_of_the_parts(admin_client: Client) -> None:
    root, parts, _last = split_and_join()
    make_job()
    for batch, number in ((root, 5), (parts, 3)):
        html = html_of(admin_client, JOBS, batch=str(batch.pk))
        assert html.count('name="_selected_action"') == number
    assert "0 results" not in html_of(admin_client, JOBS, batch=str(parts.pk), state="queued")
    assert "No job matches" in html_of(admin_client, JOBS, batch="no id")
    assert "No job matches" in html_of(admin_client, JOBS, batch=str(clock.new_id()))


def test_failed_jobs_come_first(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    root, parts, _last = split_and_join()
    failed = [
        make_member(parts, State.FAILED, error="ValueError: no such page", label=f"bad {number}")
        for number in range(3)
    ]
    html = html_of(admin_client, page_of(root))
    assert "ValueError: no such page" in section(html, "bgtasks-failed-jobs")
    assert "All failed jobs" not in html
    assert keys_of(html_of(admin_client, page_of(parts)))[:3] == [str(job.pk) for job in failed]
    monkeypatch.setattr("django_bgtasks.admin.batches.FAILED_LISTED", 2)
    html = html_of(admin_client, page_of(root))
    assert "bad 2" not in section(html, "bgtasks-failed-jobs")
    assert f"?batch={root.pk}&amp;state=failed" in html


def test_a_part_is_shown_where_it_is(admin_client: Client) -> None:
    root, parts, last = split_and_join()
    html = html_of(admin_client, page_of(parts))
    assert "Part of contacts.csv" in section(html, "bgtasks-state")
    assert "split" in section(html, "bgtasks-gate")
    assert "Came after" in section(html, "bgtasks-gate")
    assert "join_ parts" in section(html, "bgtasks-followers")
    assert f"{JOBS}{last.pk}/change/" in html
    assert f"{LIST}{root.pk}/change/" in html


def test_callbacks_are_shown_with_when_they_run(admin_client: Client) -> None:
    root, _parts, _last = split_and_join()
    for on in (GateOn.SUCCESS, GateOn.FAILURE, GateOn.END):
        make_step(None, root.pk, on)
    text = section(html_of(admin_client, page_of(root)), "bgtasks-followers")
    for words in (
        "when this has succeeded",
        "when a job of this has failed",
        "when this has ended",
    ):
        assert f"Runs {words}" in text


def test_a_batch_that_waits_says_for_what(admin_client: Client) -> None:
    root = make_batch("chain")
    first = make_member(root, State.RUNNING, has_followers=True)
    parts = make_batch("group", root, gate=first.pk, opened_at=None)
    member = make_step(parts, first.pk)
    html = html_of(admin_client, page_of(parts))
    assert "Waits for ▶ Running" in section(html, "bgtasks-gate")
    assert keys_of(html) == [str(member.pk)]


def test_a_skipped_batch_says_for_what(admin_client: Client) -> None:
    root = make_batch("chain", outcome="failed")
    first = make_member(root, State.FAILED, error="ValueError: broken", has_followers=True)
    second = skip(make_step(root, first.pk))
    parts = make_batch("group", root, gate=second.pk, opened_at=None, outcome="skipped")
    member = skip(make_step(parts, second.pk))
    html = html_of(admin_client, page_of(parts))
    assert "ValueError: broken" in section(html, "bgtasks-cause")
    assert f"{JOBS}{first.pk}/change/" in html
    html = html_of(admin_client, f"{JOBS}{member.pk}/change/")
    text = section(html, "bgtasks-workflow")
    assert "It was skipped, for this has not succeeded: ✕ Failed make_ part" in text
    assert f"{JOBS}{first.pk}/change/" in html


@pytest.mark.parametrize("kind", ["group", "chain"])
def test_many_elements_are_turned_page_by_page_and_back(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(batch_tree, "TREE_PAGE", 4)
    batch = make_batch(kind)
    states = [State.QUEUED, State.FAILED, State.QUEUED, State.CANCELLED, State.QUEUED] * 2
    rows: list[Any] = [make_member(batch, state) for state in states]
    rows.insert(5, make_batch("group", batch, outcome="failed"))
    rows.append(make_batch("group", batch))
    if kind == "group":
        ranks = {"failed": 0, "cancelled": 1}
        rows.sort(key=lambda row: ranks.get(getattr(row, "state", "") or row.outcome, 2))
    else:
        rows.sort(key=lambda row: row.pk)
    ids, found, url = [str(row.pk) for row in rows], [], page_of(batch)
    pages = []
    while url:
        html = html_of(admin_client, url)
        pages.append(keys_of(html))
        found += pages[-1]
        after = re.search(r'href="(\?after=[^"]+)"', html)
        url = page_of(batch) + after[1] if after else ""
    if kind == "group":
        # In each rank jobs and batches are by their ids.
        assert set(found) == set(ids)
        assert set(found[:3]) == set(ids[:3])
    else:
        assert found == ids
    for page in reversed(pages[:-1]):
        before = re.search(r'href="(\?before=[^"]+)"', html)
        assert before is not None
        html = html_of(admin_client, page_of(batch) + before[1])
        assert keys_of(html) == page
    assert 'href="?before=' not in html


def test_an_address_that_is_no_place_shows_the_first_page(admin_client: Client) -> None:
    root, _parts, _last = split_and_join()
    for query in ("after=x", "before=0.zz", "after=9"):
        assert "contacts.csv" in html_of(admin_client, f"{page_of(root)}?{query}")


def test_a_page_of_many_members_costs_no_more_statements_and_reads_few(
    admin_client: Client,
) -> None:
    root, parts, _last = split_and_join()
    for number in range(3):
        child = make_batch("chain", parts, name=f"child {number}")
        make_member(child, State.FAILED)
    for batch in (root, parts):
        HistoryEntry.objects.create(verb="batch_retried", by="x", via="admin", at=clock.now(),
                                    batch=batch.pk)  # fmt: skip
    costs = [statements_of(admin_client, page_of(batch)) for batch in (root, parts)]
    member = Job.objects.filter(batch=parts.pk, state="queued")[0]
    Job.objects.bulk_create(Job(**{**fields_of(member), "id": clock.new_id()}) for _ in range(300))
    for number in range(60):
        make_member(make_batch("chain", parts, name=f"more {number}"))
    more = [statements_of(admin_client, page_of(batch)) for batch in (root, parts)]
    assert [len(one) for one in more] <= [len(one) for one in costs]
    assert max(map(len, costs)) <= 12, "\n".join(costs[1])
    html = html_of(admin_client, page_of(parts))
    assert len(keys_of(html)) < 2 * batch_tree.TREE_PAGE
    assert "All that is in it" in html_of(admin_client, page_of(root))


def fields_of(row: Job) -> dict[str, Any]:
    """The columns of a row."""
    return {field.attname: getattr(row, field.attname) for field in Job._meta.concrete_fields}


def statements_of(client: Client, url: str) -> list[str]:
    """What a page asks the database."""
    with CaptureQueriesContext(connection) as captured:
        html_of(client, url)
    return [query["sql"] for query in captured]


def test_a_list_of_many_costs_no_more_statements(admin_client: Client) -> None:
    make_worker()
    counts = []
    for number in (2, 30):
        for _ in range(number):
            split_and_join()
            make_batch(outcome="failed", total=3)
        counts.append(len(statements_of(admin_client, LIST)))
    assert counts[1] <= counts[0] <= 12


@pytest.mark.django_db(transaction=True)
def test_a_workflow_is_cancelled_after_a_question_and_the_history_tells(
    admin_client: Client,
) -> None:
    run = chain(tasks.note.step("a"), tasks.note.step("b")).using(name="two notes").enqueue()
    page = html_of(admin_client, page_of(run.id))
    assert f"{LIST}{run.id}/cancel/" in page
    asked = admin_client.post(f"{LIST}{run.id}/cancel/").content.decode()
    assert "Cancel the workflow two notes ?" in text_of(asked)
    assert "2 jobs wait: they are cancelled." in text_of(asked)
    assert run.outcome == ""
    done = admin_client.post(f"{LIST}{run.id}/cancel/", {"bgtasks_confirmed": "yes"}, follow=True)
    text = text_of(done.content.decode())
    assert "2 jobs were cancelled or asked to stop." in text
    assert Batch.objects.get(pk=run.id).cancelled_at is not None
    assert "cancelled the batch" in section(done.content.decode(), "bgtasks-history")
    history = html_of(admin_client, f"{ADMIN}historyentry/")
    assert "two notes" in history
    assert f"{LIST}{run.id}/change/" in history
    assert f"{LIST}{run.id}/change/" in html_of(
        admin_client, f"{ADMIN}historyentry/", q=str(run.id)
    )


@pytest.mark.django_db(transaction=True)
def test_what_has_failed_is_retried_after_a_question(admin_client: Client) -> None:
    run = chain(group(tasks.fail_until_mended.step(one) for one in "ab"), tasks.note.step("end"))
    handle = run.enqueue()
    run_jobs()
    assert Batch.objects.get(pk=handle.id).failed_at is not None
    asked = admin_client.post(f"{LIST}{handle.id}/retry/").content.decode()
    assert "2 jobs run again." in text_of(asked)
    answer = admin_client.post(
        f"{LIST}{handle.id}/retry/", {"bgtasks_confirmed": "yes"}, follow=True
    )
    assert "2 jobs will run again." in text_of(answer.content.decode())
    assert Job.objects.filter(state="queued").count() == 2
    assert Job.objects.filter(state="blocked", waits_for="gate").count() == 1


@pytest.mark.django_db(transaction=True)
def test_very_many_jobs_are_retried_in_the_background(
    admin_client: Client, admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_actions, "PAGE_LIMIT", 1)
    handle = group(tasks.fail_until_mended.step(one) for one in "ab").enqueue()
    run_jobs()
    asked = admin_client.post(f"{LIST}{handle.id}/retry/").content.decode()
    assert "a background job does it" in text_of(asked)
    admin_client.post(f"{LIST}{handle.id}/retry/", {"bgtasks_confirmed": "yes"})
    job = Job.objects.get(task=apply_to_batch.module_path)
    assert job.owner == admin_user
    run_jobs()
    job.refresh_from_db()
    assert (job.state, job.result) == ("succeeded", 2)
    entry = HistoryEntry.objects.get(batch=handle.id)
    assert (entry.by, entry.source) == ("admin", job.pk)


@pytest.mark.django_db(transaction=True)
def test_the_background_job_gives_up_for_who_may_not(django_user_model: Any) -> None:
    handle = group(tasks.note.step("a")).enqueue()
    somebody = django_user_model.objects.create_user("somebody", is_staff=True)
    apply_to_batch.using(owner=somebody).enqueue("cancel", str(handle.id))
    run_jobs()
    assert Job.objects.get(task=apply_to_batch.module_path).error_code == "no_longer_allowed"
    assert handle.outcome == "succeeded"


@pytest.mark.parametrize("name", ["cancel", "retry"])
def test_each_button_has_its_permission_and_no_get(staff: Staff, name: str) -> None:
    batch = make_batch(failed_at=clock.now())
    make_member(batch, State.FAILED)
    client = staff("view_batch", f"{name}_batch")
    html = html_of(client, page_of(batch))
    other = {"cancel": "retry", "retry": "cancel"}[name]
    assert (f"/{name}/" in html, f"{batch.pk}/{other}/" in html) == (True, False)
    assert client.get(f"{LIST}{batch.pk}/{name}/").status_code == 405
    assert client.post(f"{LIST}{batch.pk}/{other}/").status_code == 403
    assert client.post(f"{LIST}{clock.new_id()}/{name}/").status_code == 404


def test_who_may_not_see_workflows_sees_none(staff: Staff) -> None:
    root, _parts, last = split_and_join()
    client = staff("view_job")
    assert client.get(LIST).status_code == 403
    assert client.get(page_of(root)).status_code == 403
    html = html_of(client, f"{JOBS}{last.pk}/change/")
    assert "Part of the workflow contacts.csv" in section(html, "bgtasks-workflow")
    assert f"{LIST}{root.pk}" not in html


def test_the_page_of_what_is_gone_leads_back(admin_client: Client) -> None:
    answer = admin_client.get(page_of(clock.new_id()), follow=True)
    assert "doesn’t exist" in answer.content.decode()
    batch = make_batch()
    answer = admin_client.get(f"{LIST}{batch.pk}/history/", follow=True)
    assert answer.redirect_chain[-1][0].endswith("#bgtasks-history")


def test_a_refusal_is_told(admin_client: Client) -> None:
    done = make_batch(outcome="succeeded")
    answer = admin_client.post(
        f"{LIST}{done.pk}/cancel/", {"bgtasks_confirmed": "yes"}, follow=True
    )
    assert "is finished (succeeded)" in text_of(answer.content.decode())


def test_the_page_of_a_job_says_what_is_around_it(admin_client: Client) -> None:
    root, parts, last = split_and_join()
    member = Job.objects.filter(batch=parts.pk)[0]
    text = section(html_of(admin_client, f"{JOBS}{member.pk}/change/"), "bgtasks-workflow")
    assert "Part of the workflow contacts.csv . ▶ Open" in text
    assert "It is in parts . ▶ Open" in text
    assert "It came after split" in text
    html = html_of(admin_client, f"{JOBS}{last.pk}/change/")
    text = section(html, "bgtasks-workflow")
    assert "It waits for the step before it: ▶ Open parts" in text
    assert f"{LIST}{parts.pk}/change/" in html
    first = Job.objects.get(batch=root.pk, state="succeeded")
    text = section(html_of(admin_client, f"{JOBS}{first.pk}/change/"), "bgtasks-workflow")
    assert "What comes after it: ▶ Open parts group" in text
    after = make_step(None, root.pk, GateOn.END)
    text = section(html_of(admin_client, f"{JOBS}{after.pk}/change/"), "bgtasks-workflow")
    assert "Runs when this has ended: contacts.csv ." in text


def test_a_plain_job_has_no_workflow(admin_client: Client) -> None:
    job = make_job()
    with CaptureQueriesContext(connection) as captured:
        html = html_of(admin_client, f"{JOBS}{job.pk}/change/")
    assert "bgtasks-workflow" not in html
    assert not [query["sql"] for query in captured if "bgtasks_batch" in query["sql"]]


def test_a_step_that_waits_is_neither_run_anyway_nor_asked_about(admin_client: Client) -> None:
    _root, _parts, last = split_and_join()
    html = html_of(admin_client, f"{JOBS}{last.pk}/change/")
    assert "Run anyway" not in html
    html = html_of(admin_client, JOBS, state="step")
    assert str(last.pk) in html
    assert "waits for the step before it" in html
    assert str(last.pk) not in html_of(admin_client, JOBS, state="waits")
    fields = {"action": "run_anyway_selected", "select_across": "1", "bgtasks_all": "1",
              "_selected_action": str(last.pk)}  # fmt: skip
    asked = admin_client.post(f"{JOBS}?state=blocked", fields).content.decode()
    assert "0 jobs match" in text_of(asked)


def test_a_skipped_step_is_not_retried_itself(admin_client: Client) -> None:
    root = make_batch("chain", outcome="failed")
    first = make_member(root, State.FAILED, has_followers=True)
    second = skip(make_step(root, first.pk))
    cancelled = make_member(root, State.CANCELLED)
    assert "/retry/" not in html_of(admin_client, f"{JOBS}{second.pk}/change/")
    assert "/retry/" in html_of(admin_client, f"{JOBS}{cancelled.pk}/change/")
    html = html_of(admin_client, JOBS, state="skipped")
    assert (str(second.pk) in html, str(cancelled.pk) in html) == (True, False)
    fields = {"action": "retry_selected", "select_across": "1", "bgtasks_all": "1",
              "_selected_action": str(second.pk)}  # fmt: skip
    asked = admin_client.post(f"{JOBS}?state=cancelled", fields).content.decode()
    assert "1 job matches" in text_of(asked)
