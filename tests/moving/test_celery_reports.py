"""What users of Celery have reported, each with the number of its issue, tried on moved tasks."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.test import override_settings
from django.utils import timezone

from django_bgtasks.contrib.celery import chain, chord, group, signals
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs, without_redis
from tests.moving import celery_reports as tasks

pytestmark = pytest.mark.django_db(transaction=True)
give, see, break_down = tasks.give, tasks.see, tasks.break_down


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    tasks.SEEN.clear()
    with without_redis():
        yield


def run_all() -> None:
    """Run all jobs, those for later included."""
    while run_jobs() or Job.objects.filter(state="scheduled").update(run_after=timezone.now()):
        pass


def test_the_errback_of_a_body_is_called_when_a_chain_in_the_header_fails() -> None:
    """celery#3317."""
    header = group([chain(break_down.si(), give.si())])
    body = give.si().set(link=[see.si("link")], link_error=[see.si("errback")])
    chord(header, body).delay()
    run_all()
    assert tasks.SEEN == [("errback",)]


def test_the_errback_is_called_when_a_chord_within_the_header_fails() -> None:
    """celery#9107."""
    inner = chord([give.si(), break_down.si()], give.si())
    chord([inner, give.si()], see.si("body")).on_error(see.si("errback")).delay()
    run_all()
    assert tasks.SEEN == [("errback",)]


@pytest.mark.parametrize("failing", ["header", "body"])
def test_one_errback_of_a_chord_stands_for_header_and_body(failing: str) -> None:
    """celery#8211."""
    header = (give.s(1), break_down.s() if failing == "header" else give.s(2))
    body = break_down.s() if failing == "body" else give.s()
    chord(header, body).on_error(see.si("errback"))()
    run_all()
    assert tasks.SEEN == [("errback",)]


def test_after_the_last_autoretry_the_error_itself_is_raised() -> None:
    """celery#5061."""
    result = tasks.autoretry_to_the_end.delay()
    run_all()
    assert tasks.SEEN == ["try"] * 3
    with pytest.raises(RuntimeError, match="not yet"):
        result.get(timeout=1)


def test_an_explicit_retry_keeps_its_arguments_under_autoretry() -> None:
    """celery#6135."""
    result = tasks.explicit_within_autoretry.delay()
    run_all()
    assert result.get(timeout=1) == 2
    assert result.retries == 2


@pytest.mark.parametrize("eager", [True, False])
def test_an_explicit_end_holds_under_autoretry(eager: bool) -> None:
    """celery#6436."""
    with override_settings(CELERY_TASK_ALWAYS_EAGER=eager):
        result = tasks.explicit_end_within_autoretry.delay()
    run_all()
    assert tasks.SEEN == ["try"]
    assert "for good" in str(result.result)


def test_without_a_maximum_it_is_retried_on() -> None:
    result = tasks.endless.delay(9)
    run_all()
    assert result.get(timeout=1) == 9


@pytest.mark.parametrize("eager", [True, False])
def test_a_task_may_start_a_chain_and_a_chord(eager: bool) -> None:
    """celery#5126, celery#4873."""
    with override_settings(CELERY_TASK_ALWAYS_EAGER=eager):
        results = [tasks.launch_chain.delay(), tasks.launch_chord.delay()]
    run_all()
    assert [result.get(timeout=1) for result in results] == ["launched"] * 2
    assert tasks.SEEN == [([1, 2],), ([1, 2],)]


@pytest.mark.parametrize("eager", [True, False])
def test_a_group_in_a_chain_in_a_group(eager: bool) -> None:
    """celery#4405."""
    flow = group(give.si(1), chain(give.si(2), group(give.si(3), give.si(4))))
    with override_settings(CELERY_TASK_ALWAYS_EAGER=eager):
        result = flow.delay()
    run_all()
    assert result.get(timeout=1) == [1, [3, 4]]


@pytest.mark.parametrize("eager", [True, False])
def test_chords_of_one_task_one_after_another(eager: bool) -> None:
    """celery#3885."""
    flow = chain(chord([give.si(1)], give.s()), chord([give.si(2)], give.s()))
    with override_settings(CELERY_TASK_ALWAYS_EAGER=eager):
        result = flow.delay()
    run_all()
    assert result.get(timeout=1) == [2]


@pytest.mark.parametrize("eager", [True, False])
def test_callbacks_follow_in_either_mode(eager: bool) -> None:
    """celery#1336, celery#6443."""
    with override_settings(CELERY_TASK_ALWAYS_EAGER=eager):
        give.apply_async((1,), link=see.s())
        break_down.apply_async(link_error=see.si("errback"))
    run_all()
    assert sorted(tasks.SEEN, key=str) == [("errback",), (1,)]


def test_a_task_that_is_called_directly_may_update_its_state() -> None:
    """superdesk-core#3254."""
    assert tasks.tells_its_state() == "told"
    assert tasks.tells_its_state.apply().get() == "told"


def test_the_hooks_of_a_base_class_are_called_by_workers() -> None:
    """celery#5002."""
    result = tasks.of_a_base.delay()
    run_all()
    assert [0, 1, f"{result.id} failed: base"] == tasks.SEEN


def test_a_mixin_beside_the_base_class_comes_first() -> None:
    tasks.mixed_in.apply_async_on_commit((1,), queue="emails")
    assert tasks.SEEN == [("mixin", ((1,),), {"queue": "emails"})]


def test_headers_that_a_receiver_adds_arrive() -> None:
    def add_header(headers: dict[str, str], **kwargs: object) -> None:
        headers["tenant"] = "ada"

    signals.before_task_publish.connect(add_header)
    try:
        result = tasks.scoped.delay(a=1)
    finally:
        signals.before_task_publish.disconnect(add_header)
    run_all()
    assert result.get(timeout=1) == {"a": 1, "headers": {"tenant": "ada"}}
    assert result.kwargs == {"a": 1}


def test_a_receiver_hears_of_one_task_or_of_one_name() -> None:
    """celery's documentation of after_task_publish(sender=…)."""
    heard: list[str] = []

    def of_task(result: object = None, **kwargs: object) -> None:
        heard.append(f"task {result}")

    def of_name(headers: object = None, **kwargs: object) -> None:
        heard.append("name")

    assert signals.task_success.connect(sender=give)(of_task) is of_task
    signals.after_task_publish.connect(of_name, sender=give.name)
    see.delay(1)
    give.delay(2)
    run_all()
    assert heard == ["name", "task 2"]
    signals.task_success.disconnect(of_task, sender=give)


def test_an_expected_error_is_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    result = tasks.expected_failure.delay()
    run_all()
    assert result.failed()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_revoking_a_group_revokes_what_waits() -> None:
    result = group(give.s(n).set(countdown=60) for n in range(3)).apply_async()
    result.revoke()
    assert [each.state for each in result] == ["REVOKED"] * 3


def test_a_retry_beside_the_task_is_a_job_of_its_own() -> None:
    """django-celery-email does so with each message that fails."""
    result = tasks.retries_beside.delay([1, -1, 2])
    run_all()
    assert result.get(timeout=1) == 0
    assert [job.result for job in Job.objects.order_by("pk")] == [0, 1, 2]


@pytest.mark.parametrize("eager", [True, False])
def test_a_task_without_typing_fails_where_it_runs(eager: bool) -> None:
    """edx-celeryutils persists such failures."""
    with override_settings(CELERY_TASK_ALWAYS_EAGER=eager):
        result = tasks.unchecked.delay(1, 2, wrong=3)
    run_all()
    with pytest.raises(TypeError):
        result.get(timeout=1)


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_arguments_and_results_have_the_shape_that_the_serializer_gives_them(
    serializer: str,
) -> None:
    """celery's JSON has no tuples, and no keys but texts."""
    names = {"CELERY_TASK_SERIALIZER": serializer, "CELERY_RESULT_SERIALIZER": serializer}
    with override_settings(**names):
        tasks.shapes.serializer = serializer
        result = tasks.shapes.delay((1, 2), {1: Decimal("2.5")})
        run_all()
    value = result.get(timeout=1)
    if serializer == "json":
        expected = {"pair": [1, 2], "table": {"1": Decimal("2.5")}, "types": ["list", ["1"]]}
    else:
        expected = {"pair": (1, 2), "table": {1: Decimal("2.5")}, "types": ("tuple", [1])}
    assert value == expected


@pytest.mark.parametrize(("backend", "state"), [(None, "SUCCESS"), ("redis://h", "FAILURE")])
def test_a_result_that_nobody_keeps_need_not_be_storable(backend: str | None, state: str) -> None:
    """Without a result backend a task of Celery returns what it likes."""
    with override_settings(CELERY_RESULT_BACKEND=backend):
        result = tasks.unstorable.delay()
        run_all()
    assert result.state == state


def test_examples_of_the_documentation_of_canvases() -> None:
    assert give.s(1)() == 1
    flow = tasks.scoped.s() | group(give.s(), give.si(7))
    result = flow.delay(username="artv")
    chunks = give.chunks(zip(range(4), strict=True), 2).group().skew(start=1, stop=10)()
    run_all()
    assert result.get(timeout=1) == [{"username": "artv", "headers": None}, 7]
    assert chunks.get(timeout=1) == [[0, 1], [2, 3]]
