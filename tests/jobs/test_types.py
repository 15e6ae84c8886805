"""types="django": through the row of a job and back, for arguments, results and model instances."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy
from hypothesis import HealthCheck, given, settings
from pytest_django import Settings

from django_bgtasks import InvalidArguments, ObjectGone, task
from django_bgtasks.core.compat import InvalidTask, task_backends
from django_bgtasks.core.compat import api as tasks_api
from django_bgtasks.core.states import State
from django_bgtasks.models import Job
from django_bgtasks.testing import assert_enqueued, run_jobs
from tests.app.models import Day, Letter, Memo, Note, Parcel, Seat
from tests.app.typed import (
    SEEN,
    Color,
    Item,
    Line,
    Status,
    typed_coroutine,
    typed_echo,
    typed_skip,
    untyped_echo,
)
from tests.core.test_values import same, values

pytestmark = pytest.mark.django_db
WHEN = dt.datetime(2026, 11, 28, 9, 30, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


@task(types="django", dedup_key="{tags} {who} {color} {when:%Y-%m-%d}")
def keyed(tags: Any, who: Any, color: Any, when: Any) -> None: ...


@task(types="django", on_duplicate="replace", dedup_key="one")
def replaced(value: Any) -> None:
    SEEN.append(value)


@task(types="django", sensitive=("amount", "card"))
def charged(amount: Any, card: Any, when: Any) -> None:
    raise ValueError(f"{amount} of {card} on {when}")


@task(types="django", atomic=True)
def atomic_echo(value: Any) -> Any:
    return value


@task(types="django")
def returns_nothing_known() -> Any:
    return object()


@tasks_api.task
def plain_echo(value: Any) -> Any:
    return value


def run(made: Any) -> Job:
    run_jobs()
    return Job.objects.get(pk=made.id)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values)
def test_arguments_and_results_arrive_as_they_left(value: Any) -> None:
    SEEN.clear()
    for one, sent in ((typed_echo, value), (typed_coroutine, value)):
        result = one.enqueue(sent, by_name=sent)
        run_jobs()
        result.refresh()
        args, kwargs = SEEN.pop()
        assert same([*args, kwargs], [sent, {"by_name": sent}])
        assert same(result.return_value, {"args": (sent,), "kwargs": {"by_name": sent}})
        found = task_backends["default"].get_result(result.id)
        assert same(found.return_value, result.return_value)


def test_many_calls_and_an_atomic_task_and_a_waiting_caller_have_types_too() -> None:
    typed_echo.enqueue_many([(WHEN,), {"a": {1, 2}}])
    (result,) = atomic_echo.enqueue_many([(Decimal("1.0"),)])
    run_jobs()
    assert [((WHEN,), {}), ((), {"a": {1, 2}})] == SEEN
    assert repr(result.wait(0)) == "Decimal('1.0')"


def test_a_replaced_call_has_the_types_of_the_last_one() -> None:
    replaced.enqueue(1)
    Job.objects.update(types="")
    replaced.enqueue(WHEN)
    run_jobs()
    assert SEEN == [WHEN]


def test_without_types_the_refusal_says_how_to_have_them() -> None:
    for value in (WHEN, {1: 2}, float("nan"), Note()):
        with pytest.raises(InvalidArguments, match=r'Or write @task\(types="django"\)'):
            untyped_echo.enqueue(value)
    assert not Job.objects.exists()


def test_an_option_gives_types_to_all_tasks_but_those_that_say_otherwise(
    settings: Settings,
) -> None:
    options = {**settings.TASKS["default"].get("OPTIONS", {}), "types": "django"}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    assert run(untyped_echo.enqueue((1, WHEN))).types == "django"
    # Django's own API keeps Django's rule.
    assert run(plain_echo.enqueue((1, 2))).result == [1, 2]
    with pytest.raises(TypeError, match="is not JSON"):
        plain_echo.enqueue(WHEN)


def test_a_job_from_before_the_types_runs_by_the_rule_of_its_time() -> None:
    row = typed_echo.enqueue({"a": 1}).job
    Job.objects.filter(pk=row.pk).update(types="", args=[{"$type": "date", "value": "x"}])
    run_jobs()
    assert SEEN == [(({"$type": "date", "value": "x"},), {})]


def test_a_dedup_key_is_the_same_in_each_process_and_names_the_row() -> None:
    note = Note.objects.create(text="a")
    twin = Note.objects.create(text="a")
    call = {"tags": {"b", "a", "c"}, "who": note, "color": Status.OPEN, "when": WHEN}
    job = keyed.enqueue(**call).job
    reference = f'{{"model": "tests_app.note", "pk": {note.pk}}}'
    assert job.dedup_key == f'["a", "b", "c"] {reference} open 2026-11-28'
    assert keyed.enqueue(**{**call, "tags": {"c", "b", "a"}}).deduplicated
    assert not keyed.enqueue(**{**call, "who": twin}).deduplicated


def test_a_lazy_text_is_the_same_key_in_each_language() -> None:
    call = {"tags": gettext_lazy("Cancel"), "who": 1, "color": 1, "when": WHEN}
    with translation.override("de"):
        assert keyed.enqueue(**call).job.dedup_key.startswith("Cancel ")
    assert keyed.enqueue(**call).deduplicated


def test_a_dict_that_looks_like_a_reference_is_none() -> None:
    tag = {"$type": "model", "model": "tests_app.note", "pk": 0, "using": "default"}
    typed_echo.enqueue(tag, [{"a": tag}], {1: tag}, Item(tag))  # type: ignore[arg-type]
    run_jobs()
    assert [((tag, [{"a": tag}], {1: tag}, Item(tag)), {})] == SEEN  # type: ignore[arg-type]


def test_an_enqueued_call_is_found_by_its_values() -> None:
    typed_echo.enqueue(WHEN, tags={1, 2})
    assert_enqueued(typed_echo, args=(WHEN,), kwargs={"tags": {2, 1}})
    with pytest.raises(AssertionError):
        assert_enqueued(typed_echo, args=(WHEN.isoformat(),))


def test_what_is_sensitive_is_masked_in_the_error_however_it_is_quoted() -> None:
    job = run(charged.enqueue(Decimal("1234.50"), Item("4111-1111"), dt.date(2026, 1, 2)))
    assert job.state == State.FAILED
    attempt = job.attempts.get()
    for text in (job.error, attempt.message, attempt.traceback):
        assert "1234.50" not in text
        assert "4111-1111" not in text
    assert "2026-01-02" in job.error


def test_model_instances_arrive_as_rows_of_their_own_class() -> None:
    note = Note.objects.create(text="first")
    letter = Letter.objects.create(text="second", sender="ada")
    hidden = Parcel.objects.create(hidden=True)
    day, seat = Day.objects.create(date=WHEN.date()), Seat.objects.create(row="A", number=7)
    user = get_user_model().objects.create(username="ada")
    memo = Memo.objects.get(pk=note.pk)
    sent = [note, memo, letter, Note.objects.get(pk=letter.pk), hidden, day, seat]
    typed_echo.enqueue(*sent, by=SimpleLazyObject(lambda: user), deep={"a": (note, {letter})})
    Note.objects.filter(pk=note.pk).update(text="changed")
    run_jobs()
    args, kwargs = SEEN.pop()
    assert [type(one) for one in args] == [type(one) for one in sent]
    assert list(args) == sent
    assert (args[0].text, args[2].sender, args[4]._state.db) == ("changed", "ada", "default")
    assert (kwargs["by"], kwargs["deep"]) == (user, {"a": (note, {letter})})


def test_many_instances_of_a_class_are_read_with_one_query() -> None:
    notes = [Note.objects.create(text=str(i)) for i in range(50)]
    typed_skip.enqueue(notes)
    with CaptureQueriesContext(connection) as queries:
        run_jobs()
    assert [((notes,), {})] == SEEN
    assert sum("tests_app_note" in query["sql"] for query in queries) == 1


def test_an_instance_as_a_result_is_read_when_it_is_asked_for() -> None:
    note = Note.objects.create(text="a")
    result = atomic_echo.enqueue(note)
    run_jobs()
    assert result.wait(0) == note
    note.delete()
    with pytest.raises(ObjectGone, match=r"The tests_app\.Note with the key \d+ does not exist"):
        result.return_value  # noqa: B018


def test_a_row_that_is_gone_fails_its_job_at_once_and_says_which() -> None:
    note = Note.objects.create(text="a")
    for one in (typed_echo, typed_coroutine):
        result = one.enqueue(note)
        job = Job.objects.get(pk=result.id)
        assert job.max_attempts > 1
    key = note.pk
    note.delete()
    run_jobs()
    for job in Job.objects.all():
        assert (job.state, job.error_code, job.attempt) == (State.FAILED, "object_gone", 1)
        assert job.error_params == {"model": "tests_app.Note", "key": str(key)}
    assert not SEEN


def test_with_missing_skip_it_is_cancelled_and_says_why() -> None:
    note = Note.objects.create(text="a")
    result = typed_skip.enqueue([note])
    note.delete()
    job = run(result)
    assert (job.state, job.error_code) == (State.CANCELLED, "skipped")
    assert "missing='skip'" in job.error
    assert not job.attempts.get().traceback
    assert not SEEN


def unread() -> Any:
    return Note.objects.only("id").get()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Note(text="a"), "args[0] is a tests_app.Note without a row. Save it first."),
        (Parcel, "args[0] is a tests_app.Parcel without a row"),
        (unread, "args[0] is a tests_app.Note of which text was not read"),
        (lambda: Note, "is none that types='django' keeps"),
        (Note.objects.all, "is none that types='django' keeps"),
    ],
)
def test_an_instance_that_could_not_arrive_is_refused_by_name(make: Any, why: str) -> None:
    Note.objects.create(text="a")
    with pytest.raises(InvalidArguments) as refusal:
        typed_echo.enqueue(make())
    assert why in str(refusal.value)
    assert "tests.app.typed.typed_echo" in str(refusal.value)


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ({"$type": "enum", "class": "tests.app.typed:Gone", "name": "A"}, "tests.app.typed:Gone"),
        ({"$type": "model", "model": "shop.gone", "pk": 1, "using": "default"}, "shop.gone"),
        ({"$type": "model", "model": "tests_app.note", "pk": 1, "using": "gone"}, "'gone'"),
        ({"$type": "model", "model": "tests_app.day", "pk": "x", "using": "default"}, "day"),
        ({"$type": "money", "value": 1}, "money"),
    ],
)
@pytest.mark.parametrize("one", [typed_echo, typed_coroutine])
def test_what_this_release_cannot_read_is_held_and_costs_nothing(
    one: Any, tag: Any, why: str
) -> None:
    row = one.enqueue().job
    Job.objects.filter(pk=row.pk).update(args=[tag])
    run_jobs()
    job = Job.objects.get(pk=row.pk)
    assert (job.state, job.held_reason, job.attempt) == ("scheduled", "value_unreadable", 0)
    assert why in job.error
    Job.objects.filter(pk=row.pk).update(args=[1], state="queued")
    assert run(row).state == State.SUCCEEDED


def test_a_result_that_could_not_arrive_is_a_failure_that_says_so() -> None:
    job = run(returns_nothing_known.enqueue())
    assert job.state == State.FAILED
    assert "types='django' keeps" in job.error


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_that_waits_gets_the_value() -> None:
    result = typed_echo.enqueue(Color.RED)
    run_jobs()

    async def wait() -> Any:
        value = await result.await_result(0)
        await sync_to_async(connections.close_all)()
        return value

    assert asyncio.run(wait()) == {"args": (Color.RED,), "kwargs": {}}


@pytest.mark.parametrize("options", [{"types": "pickle"}, {"missing": "ignore"}])
def test_other_words_are_refused(options: Any) -> None:
    with pytest.raises(InvalidTask, match="is '"):
        replace(untyped_echo, **options)


def test_the_example_of_a_line_is_readable_in_the_row() -> None:
    line = Line(Item("pen", Decimal("1.50")), WHEN)
    job = Job.objects.get(pk=typed_echo.enqueue(line, UUID(int=1)).id)
    assert job.args == [
        {
            "$type": "dataclass",
            "class": "tests.app.typed:Line",
            "value": {
                "at": {"$type": "datetime", "value": "2026-11-28T09:30:00+00:00"},
                "item": {
                    "$type": "dataclass",
                    "class": "tests.app.typed:Item",
                    "value": {
                        "name": "pen",
                        "price": {"$type": "decimal", "value": "1.50"},
                        "tags": {"$type": "set", "value": []},
                        "total": {"$type": "decimal", "value": "0"},
                    },
                },
            },
        },
        {"$type": "uuid", "value": "00000000-0000-0000-0000-000000000001"},
    ]
