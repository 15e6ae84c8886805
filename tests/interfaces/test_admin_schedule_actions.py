"""What is done to schedules in the admin: each with its permission, by POST, in the history."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone

from django_bgtasks import Middleware, add_middleware, remove_middleware, testing
from django_bgtasks.core import clock
from django_bgtasks.models import HistoryEntry, Job, Schedule
from django_bgtasks.schedules.code import write_declared
from tests.schedules.tasks import digest, typed

from .rows import make_cron_schedule, make_job

pytestmark = pytest.mark.django_db
Staff = Callable[..., Client]
LIST = "/admin/django_bgtasks/schedule/"
ADD = "tests.app.tasks.add"
FORM = {
    "name": "report",
    "task": ADD,
    "args": "[1, 2]",
    "kwargs": "{}",
    "cron": "0 8 * * *",
    "every_0": "",
    "every_1": "60",
    "zone": "Asia/Tokyo",
    "queue": "",
    "priority": "",
    "catch_up": "latest",
    "overlap": "skip",
    "grace_0": "",
    "grace_1": "60",
    "jitter_0": "",
    "jitter_1": "1",
}
EVERY_RIGHT = (
    *("view_schedule", "add_schedule", "change_schedule", "delete_schedule"),
    *("pause_schedule", "run_schedule"),
)


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    with testing.without_redis():
        yield


@pytest.fixture
def of_the_code() -> Schedule:
    """A schedule that the code says."""
    write_declared("default", "default")
    return Schedule.objects.get(task=digest.module_path)


def html_of(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def send(client: Client, path: str, **changes: str) -> str:
    """Send the form of a schedule; the page that it leads to."""
    return html_of(client.post(f"{LIST}{path}", {**FORM, **changes}, follow=True))


def fields_of(html: str) -> dict[str, str]:
    """What a browser would send of the page's form: the values of inputs, as they are."""
    found = {}
    for tag in re.findall(r"<input[^>]*>", html.partition("bgtasks-call")[2]):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if attributes.get("type") != "submit" and "name" in attributes and " disabled" not in tag:
            found[attributes["name"]] = attributes.get("value", "")
    return {**FORM, **found, "args": "[1, 2]"}


def verbs() -> list[str]:
    return list(HistoryEntry.objects.order_by("id").values_list("verb", flat=True))


def test_a_schedule_is_added_with_all_that_the_form_has(staff: Staff) -> None:
    client = staff("view_schedule", "add_schedule")
    more = {
        "queue": "reports",
        "priority": "5",
        "catch_up": "all",
        "overlap": "wait",
        "grace_0": "2",
        "grace_1": "3600",
        "jitter_0": "1.5",
        "jitter_1": "60",
    }
    assert "The schedule report is saved." in send(client, "add/", **more)
    row = Schedule.objects.get()
    assert (row.name, row.task, row.args, row.kwargs) == ("report", ADD, [1, 2], {})
    assert (row.cron, row.every, row.zone) == ("0 8 * * *", None, "Asia/Tokyo")
    assert row.options == {"queue_name": "reports", "priority": 5}
    assert (row.catch_up, row.overlap, row.grace, row.jitter) == ("all", "wait", 7200.0, 90.0)
    assert (row.source, row.overridden, row.owner, row.about) == ("made", False, None, None)
    assert row.next_at is not None
    assert row.next_at.astimezone(UTC).hour == 23
    [entry] = HistoryEntry.objects.all()
    assert (entry.verb, entry.by, entry.via) == ("schedule_set", "staff", "admin")
    assert (entry.schedule, entry.detail) == (row.pk, "report")


def test_an_interval_is_given_in_a_unit_and_shown_in_the_largest_that_fits(
    admin_client: Client,
) -> None:
    send(admin_client, "add/", cron="", every_0="90", every_1="60", zone="")
    row = Schedule.objects.get()
    assert (row.cron, row.every) == ("", 5400.0)
    html = html_of(admin_client.get(f"{LIST}{row.pk}/edit/"))
    assert 'value="90"' in html
    Schedule.objects.update(every=172800.0)
    html = html_of(admin_client.get(f"{LIST}{row.pk}/edit/"))
    assert 'value="2"' in html
    assert '<option value="86400" selected>' in html


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"cron": "61 8 * * *"}, "cron", "The minute"),
        ({"cron": ""}, "cron", "Fill in this or an interval."),
        ({"every_0": "5"}, "cron", "not both"),
        ({"cron": "", "every_0": "0.5", "every_1": "1"}, "every", "interval"),
        ({"zone": "Europe/Berlim"}, "zone", "Europe/Berlin"),
        ({"name": ""}, "name", "This field is required."),
        ({"name": "hourly"}, "name", "There is a schedule of this name"),
        ({"name": "n" * 201}, "name", "at most 200 characters"),
        ({"task": ""}, "task", "This field is required."),
        ({"task": "os.system"}, "task", "Select a valid choice"),
        ({"task": "django_bgtasks.admin.bulk.apply_to_matching"}, "task", "Select a valid choice"),
        ({"args": "[1"}, "args", "Enter a valid JSON."),
        ({"args": "{}"}, "args", "This must be a list"),
        ({"kwargs": "[]"}, "kwargs", "This must be an object"),
        ({"args": "[1]"}, "args", "missing a required argument"),
        ({"kwargs": '{"c": 3}'}, "args", "unexpected keyword argument"),
        ({"queue": "no\0name"}, "queue", "Null characters"),
        ({"priority": "101"}, "priority", "less than or equal to 100"),
        ({"catch_up": "some"}, "catch_up", "Select a valid choice"),
        ({"args": '["\\ud800", 1]'}, "args", "contains a lone surrogate"),
        ({"cron": "0 25 * * *"}, "cron", "The hour"),
        ({"cron": "0 0 30 2 *"}, "cron", "never comes"),
        ({"cron": "*/7 * * *"}, "cron", "needs five fields"),
        ({"zone": "Berlin"}, "zone", "Europe/Berlin"),
        ({"args": "[]"}, "args", "missing a required argument"),
        ({"grace_0": "0"}, "grace", "At least one second"),
        ({"grace_0": "-1"}, "grace", "greater than or equal to 0"),
        ({"jitter_0": "inf"}, "jitter", "Enter a number."),
        ({"jitter_0": "500", "jitter_1": "86400"}, "jitter", "longer than 400 days"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_saved(
    admin_client: Client, changes: dict[str, str], field: str, message: str
) -> None:
    make_cron_schedule()
    html = send(admin_client, "add/", **changes)
    _before, _found, behind = html.partition(f"errors field-{field}")
    row, _end, _rest = behind.partition("form-row")
    assert message.replace("'", "&#x27;") in row, html
    assert Schedule.objects.count() == 1
    assert not HistoryEntry.objects.exists()


def test_without_a_script_a_button_shows_what_the_times_mean_and_saves_nothing(
    admin_client: Client,
) -> None:
    html = send(admin_client, "add/", _preview="1")
    assert html.count("08:00 JST") == 5
    assert not Schedule.objects.exists()
    assert 'value="0 8 * * *"' in html


def test_an_edit_moves_the_next_tick_and_keeps_what_the_form_does_not_have(
    staff: Staff, django_user_model: Any
) -> None:
    client, ada = (
        staff("view_schedule", "change_schedule"),
        django_user_model.objects.create_user("a"),
    )
    options = {"timeout": 7, "carried": '{"language": "fr"}'}
    row = make_cron_schedule(name="report", owner=ada, about=ada, options=options)
    assert "is saved" in send(client, f"{row.pk}/edit/", revision="1", priority="3")
    edited = Schedule.objects.get()
    assert (edited.pk, edited.cron, edited.owner, edited.about) == (row.pk, "0 8 * * *", ada, ada)
    assert edited.options == {**options, "priority": 3}
    assert edited.anchor == row.anchor
    assert edited.next_at is not None
    assert edited.next_at.astimezone(UTC).hour == 23
    assert verbs() == ["schedule_set"]


def test_an_edit_that_changes_nothing_keeps_the_next_tick_and_writes_no_history(
    admin_client: Client,
) -> None:
    row = make_cron_schedule(name="report", cron="0 8 * * *", zone="Asia/Tokyo")
    assert "is saved" in send(admin_client, f"{row.pk}/edit/", revision="1")
    assert Schedule.objects.get().next_at == row.next_at
    assert verbs() == []


def test_of_two_tabs_the_second_is_told_of_the_first_and_loses_nothing_typed(
    admin_client: Client,
) -> None:
    row = make_cron_schedule(name="report", args=[1, 2])
    url = f"{LIST}{row.pk}/edit/"
    first, second = (fields_of(html_of(admin_client.get(url))) for _tab in range(2))
    admin_client.post(url, {**first, "cron": "0 9 * * *"})
    html = html_of(admin_client.post(url, {**second, "cron": "0 10 * * *"}))
    assert "admin has changed this schedule since you opened this page" in html
    assert Schedule.objects.get().cron == "0 9 * * *"
    again = fields_of(html)
    assert again["cron"] == "0 10 * * *"
    html_of(admin_client.post(url, again, follow=True))
    assert Schedule.objects.get().cron == "0 10 * * *"


def test_an_edit_of_what_is_deleted_meanwhile_can_be_saved_as_a_new_one(
    admin_client: Client, staff: Staff
) -> None:
    row = make_cron_schedule(name="report")
    url = f"{LIST}{row.pk}/edit/"
    fields = {**FORM, **fields_of(html_of(admin_client.get(url))), "cron": "0 10 * * *"}
    row.delete()
    html = html_of(admin_client.post(url, fields))
    assert "Somebody has deleted this schedule meanwhile" in html
    assert f'action="{LIST}add/"' in html
    assert not Schedule.objects.exists()
    assert fields_of(html)["cron"] == "0 10 * * *"
    html_of(admin_client.post(f"{LIST}add/", {**FORM, **fields_of(html)}, follow=True))
    assert Schedule.objects.get().cron == "0 10 * * *"
    client = staff("view_schedule", "change_schedule")
    assert client.post(f"{LIST}{clock.new_id()}/edit/", fields).status_code == 404


def test_an_edit_of_a_schedule_of_the_code_stays_until_it_is_given_back(
    staff: Staff, of_the_code: Schedule
) -> None:
    client, row = staff("view_schedule", "change_schedule"), of_the_code
    page = f"{LIST}{row.pk}/change/"
    assert "use-code/" not in html_of(client.get(page))
    assert "The code says what this schedule is" in html_of(client.get(f"{LIST}{row.pk}/edit/"))
    # What is fixed is not taken from what is sent.
    send(client, f"{row.pk}/edit/", name="other", task=ADD, args="[]", revision="1")
    write_declared("default", "default")
    edited = Schedule.objects.get(pk=row.pk)
    assert (edited.name, edited.task) == (row.name, row.task)
    assert (edited.cron, edited.overridden) == ("0 8 * * *", True)
    assert "use-code/" in html_of(client.get(page))
    html = html_of(client.post(f"{LIST}{row.pk}/use-code/", follow=True))
    assert "is what the code says again" in html
    again = Schedule.objects.get(pk=row.pk)
    assert (again.cron, again.overridden) == (row.cron, False)
    assert verbs() == ["schedule_set", "schedule_reset"]


def test_masked_arguments_stay_as_they_are(staff: Staff) -> None:
    call = {"task": "tests.app.tasks.echo", "args": ["x"], "kwargs": {"password": "hunter2"}}
    row = make_cron_schedule(name="report", **call)
    client = staff("view_schedule", "change_schedule")
    assert "is saved" in send(client, f"{row.pk}/edit/", args="[7]", kwargs="{}", revision="1")
    edited = Schedule.objects.get()
    assert (edited.task, edited.args, edited.kwargs) == tuple(call.values())
    assert edited.cron == "0 8 * * *"


def test_typed_arguments_are_edited_as_they_are_stored(admin_client: Client) -> None:
    call = '[{"$type": "datetime", "value": "2026-11-28T08:00:00+00:00"}, %s]'
    args = call % '{"$type": "timedelta", "value": "1 00:00:00"}'
    html = send(admin_client, "add/", task=typed.module_path, args=args)
    assert "is saved" in html, html
    row = Schedule.objects.get()
    assert row.types == "django"
    html = html_of(admin_client.get(f"{LIST}{row.pk}/edit/"))
    assert "2026-11-28" in html
    bad = args.replace("1 00:00:00", "a day")
    assert "errors field-args" in send(
        admin_client, f"{row.pk}/edit/", args=bad, task=typed.module_path
    )


def test_pause_and_resume_say_who_and_since_when(staff: Staff) -> None:
    row = make_cron_schedule(next_at=clock.now() - timedelta(days=7))
    client = staff("view_schedule", "pause_schedule")
    assert "is paused" in html_of(client.post(f"{LIST}{row.pk}/pause/", follow=True))
    paused = Schedule.objects.get()
    assert (paused.paused_by, paused.paused_at is None) == ("staff", False)
    html = html_of(client.get(f"{LIST}{row.pk}/change/"))
    assert "by staff" in html
    assert "These are its times if it goes on now" in html
    assert "goes on" in html_of(client.post(f"{LIST}{row.pk}/resume/", follow=True))
    resumed = Schedule.objects.get()
    assert resumed.paused_at is None
    assert resumed.next_at is not None
    assert resumed.next_at > timezone.now()
    assert verbs() == ["schedule_paused", "schedule_resumed"]


def test_run_now_enqueues_a_job_and_moves_nothing(staff: Staff) -> None:
    row = make_cron_schedule()
    client = staff("view_schedule", "run_schedule", "view_job")
    html = html_of(client.post(f"{LIST}{row.pk}/run-now/", follow=True))
    job = Job.objects.get()
    assert f"job/{job.pk}/change/" in html
    assert (job.schedule, job.task, job.args) == (row.pk, ADD, [1, 2])
    assert Schedule.objects.get().next_at == row.next_at
    assert verbs() == ["schedule_run"]


def test_a_run_that_is_refused_says_why(admin_client: Client) -> None:
    class Refuses(Middleware):
        def on_enqueue(self, jobs: Any) -> None:
            raise LookupError("not on Sundays")

    row = make_cron_schedule()
    refuses = Refuses()
    add_middleware(refuses)
    try:
        html = html_of(admin_client.post(f"{LIST}{row.pk}/run-now/", follow=True))
    finally:
        remove_middleware(refuses)
    assert "Schedule hourly: LookupError: not on Sundays" in html
    gone = make_cron_schedule(name="gone", task="shop.gone.task")
    html = html_of(admin_client.post(f"{LIST}{gone.pk}/run-now/", follow=True))
    assert "The task shop.gone.task cannot be imported" in html
    assert not Job.objects.exists()
    assert verbs() == []


def test_make_up_counts_first_and_enqueues_only_what_is_missing(staff: Staff) -> None:
    row = make_cron_schedule(cron="0 * * * *", zone="Asia/Tokyo")
    # In Tokyo it is noon.
    make_job(schedule=row.pk, tick=datetime(2026, 11, 20, 3, tzinfo=UTC))
    client, url = staff("view_schedule", "run_schedule"), f"{LIST}{row.pk}/make-up/"
    span = {"start": "2026-11-20T10:00:00", "end": "2026-11-20T15:00"}
    html = html_of(client.get(url))
    assert "Asia/Tokyo" in html
    # It begins with the last day, by the schedule's clock.
    begun = re.findall(r'name="start" value="([^"]*)"', html)
    start = datetime.fromisoformat(begun[0]).replace(tzinfo=ZoneInfo("Asia/Tokyo"))
    assert timedelta(days=1) <= clock.now() - start < timedelta(days=1, minutes=10)
    html = html_of(client.post(url, span))
    assert "5 ticks have no job there" in html
    assert Job.objects.count() == 1
    html = html_of(client.post(url, {**span, "confirm": "1"}, follow=True))
    assert "5 jobs were enqueued." in html
    hours = sorted(
        clock.in_utc(tick).hour for tick in Job.objects.values_list("tick", flat=True) if tick
    )
    assert hours == [1, 2, 3, 4, 5, 6]
    assert "Nothing is missing there." in html_of(client.post(url, span))
    html_of(client.post(url, {**span, "confirm": "1"}, follow=True))
    assert Job.objects.count() == 6
    assert verbs() == ["ticks_made_up"]


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2026-11-20T10:00", "2026-11-20T09:00", "This is before the start."),
        ("2026-11-20T10:00", "2099-11-20T09:00", "This is in the future"),
        ("2020-11-20T10:00", "2026-11-20T09:00", "more than 1000 ticks"),
        ("nonsense", "2026-11-20T09:00", "Enter a valid date/time."),
        ("0001-01-01T00:00", "9999-12-31T23:59", "in the future"),
    ],
)
def test_a_span_that_cannot_be_made_up_is_refused(
    admin_client: Client, start: str, end: str, message: str
) -> None:
    row = make_cron_schedule()
    data = {"start": start, "end": end, "confirm": "1"}
    assert message in html_of(admin_client.post(f"{LIST}{row.pk}/make-up/", data))
    assert not Job.objects.exists()


def test_a_time_that_the_readers_zone_does_not_have_is_read_in_the_schedules(
    admin_client: Client,
) -> None:
    row = make_cron_schedule(cron="0 2 * * *", zone="Asia/Tokyo")
    span = {"start": "2026-03-29T02:00", "end": "2026-03-29T02:30"}
    with timezone.override("Europe/Berlin"):
        html = html_of(admin_client.post(f"{LIST}{row.pk}/make-up/", span))
    assert "1 tick has no job there" in html


def test_a_schedule_is_deleted_and_its_jobs_stay(staff: Staff) -> None:
    row = make_cron_schedule()
    job = make_job(schedule=row.pk, tick=clock.now())
    client = staff("view_schedule", "delete_schedule")
    html = html_of(client.post(f"{LIST}{row.pk}/delete/", {"post": "yes"}, follow=True))
    assert "was deleted" in html
    assert not Schedule.objects.exists()
    assert Job.objects.get() == job
    assert verbs() == ["schedule_removed"]


def test_what_the_code_says_is_not_deleted_for_it_would_come_again(
    admin_client: Client, of_the_code: Schedule
) -> None:
    url = f"{LIST}{of_the_code.pk}/delete/"
    assert "would come again" in html_of(admin_client.post(url, {"post": "yes"}, follow=True))
    old = make_cron_schedule(name="old", source="code", task="shop.gone.task")
    pks = [str(of_the_code.pk), str(old.pk)]
    data = {"action": "delete_selected", "_selected_action": pks, "post": "yes"}
    assert "would come again" in html_of(admin_client.post(LIST, data, follow=True))
    assert Schedule.objects.filter(pk=of_the_code.pk).exists()
    assert not Schedule.objects.filter(pk=old.pk).exists()
    assert verbs() == ["schedule_removed"]


def test_several_are_paused_resumed_and_run_at_once(admin_client: Client) -> None:
    rows = [make_cron_schedule(name=f"s{number}") for number in range(3)]
    for action in ("pause_selected", "resume_selected", "run_selected"):
        data = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
        html_of(admin_client.post(LIST, data, follow=True))
    assert verbs() == ["schedule_paused"] * 3 + ["schedule_resumed"] * 3 + ["schedule_run"] * 3
    assert Job.objects.count() == 3


@pytest.mark.parametrize("name", ["a b/c?d#e", "🦊 <i>\"'&", "n" * 200, "../x", "%s %(name)s"])
def test_a_name_may_be_any_text(admin_client: Client, name: str) -> None:
    assert "is saved" in send(admin_client, "add/", name=name)
    row = Schedule.objects.get(name=name)
    for path in ("change", "edit", "make-up", "delete"):
        assert "<i>" not in html_of(admin_client.get(f"{LIST}{row.pk}/{path}/"))
    for path in ("pause", "resume", "run-now"):
        admin_client.post(f"{LIST}{row.pk}/{path}/", follow=True)
    html = html_of(admin_client.get(LIST))
    assert f"{LIST}{row.pk}/change/" in html
    assert verbs() == ["schedule_set", "schedule_paused", "schedule_resumed", "schedule_run"]


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("pause", "pause_schedule"),
        ("resume", "pause_schedule"),
        ("run-now", "run_schedule"),
        ("use-code", "change_schedule"),
        ("make-up", "run_schedule"),
        ("edit", "change_schedule"),
        ("delete", "delete_schedule"),
    ],
)
def test_each_thing_has_its_own_permission(staff: Staff, path: str, right: str) -> None:
    row = make_cron_schedule(source="code", overridden=True)
    client = staff(*(name for name in EVERY_RIGHT if name != right))
    assert client.post(f"{LIST}{row.pk}/{path}/", FORM).status_code == 403
    html = html_of(client.get(f"{LIST}{row.pk}/change/"))
    assert f"{row.pk}/{path}/" not in html
    assert not HistoryEntry.objects.exists()


@pytest.mark.parametrize("path", ["pause", "resume", "run-now", "use-code"])
def test_nothing_is_done_by_get(admin_client: Client, path: str) -> None:
    row = make_cron_schedule(source="code", overridden=True)
    assert admin_client.get(f"{LIST}{row.pk}/{path}/").status_code == 405
    assert not HistoryEntry.objects.exists()


def test_what_is_gone_is_not_found(admin_client: Client) -> None:
    gone = clock.new_id()
    for path in ("pause", "run-now", "make-up"):
        assert admin_client.post(f"{LIST}{gone}/{path}/", FORM).status_code == 404
    assert admin_client.get(f"{LIST}{gone}/edit/").status_code == 404


def test_the_history_of_a_schedule_is_on_its_page_and_in_the_list_of_all(
    admin_client: Client,
) -> None:
    row = make_cron_schedule(name="report")
    make_cron_schedule(name="other")
    admin_client.post(f"{LIST}{row.pk}/pause/")
    html = html_of(admin_client.get(f"{LIST}{row.pk}/history/", follow=True))
    assert "paused the schedule" in html
    html = html_of(admin_client.get("/admin/django_bgtasks/historyentry/"))
    assert f"{LIST}{row.pk}/change/" in html
    assert "report" in html
