"""A key and a name are equal to themselves only, on every database, and any text can be one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import CharField, Model, TextField

from django_bgtasks.core.dedup import Dedup, slot_of
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.states import Transition
from django_bgtasks.idempotency import records
from django_bgtasks.ledger import queues
from django_bgtasks.ledger.lifecycle import insert, set_dedup
from django_bgtasks.ledger.queues import with_queued_jobs
from django_bgtasks.models import Attempt, IdempotencyRecord, Job, QueuePause, RollUp, Worker
from django_bgtasks.monitoring import rollups

from .rows import BROKE, DB, TASK, added, new, now, settled

pytestmark = pytest.mark.django_db
# Each differs from each other in what some collation does not see.
ALIKE = [
    *("u:Ab", "u:aB", "u:ab", "u:ab ", "u:ab  ", "u:ab\t", " u:ab"),
    *("é", "e", "e\u0301", "É", "ß", "ss", "ẞ", "İ", "i"),
    *("😀", "😁", "", "\ufffd", "ﬁ", "fi", "Ⅸ", "IX", "x\u200b", "x"),
]


def test_an_effect_happens_once_for_each_of_its_keys() -> None:
    for scope in ("", "job", "Job", "jób"):
        for key in ALIKE:
            begun = records.begin(scope, key, "f", records.Owner(), timedelta(days=1), DB)
            assert begun is not None, key
            assert records.complete(begun, key, DB)
    for key in ALIKE:
        found = records.find("job", key, "f", DB)
        assert found is not None
        assert (found.key, found.response) == (key, key)


def test_a_dedup_key_holds_for_itself_only() -> None:
    for key in ALIKE:
        job = new()
        set_dedup(job, Dedup(key, slot_of(TASK, key), "live"))
        assert insert(job, DB)
        assert [found.pk for found in Job.objects.filter(dedup_key=key)] == [job.pk]


def test_queues_are_paused_and_counted_each_for_itself() -> None:
    for queue in ALIKE:
        settled(Outcome(Transition.SUCCEED), queue=queue)
        added(queue=queue)
        assert queues.pause(queue, "default", "x", DB) is not None
    assert queues.paused("default", DB) == set(ALIKE)
    assert sorted(with_queued_jobs("default", DB)) == sorted(ALIKE)
    assert rollups.add_up_ended(3, DB) == len(ALIKE)
    assert set(RollUp.objects.values_list("queue", "jobs")) == {(queue, 1) for queue in ALIKE}
    assert queues.resume("u:ab", "default", DB) is not None
    assert queues.paused("default", DB) == set(ALIKE) - {"u:ab"}


def test_tasks_and_backends_are_told_apart() -> None:
    rows = [added(task=f"shop.{name}", backend=name) for name in ALIKE]
    for row, name in zip(rows, ALIKE, strict=True):
        assert [*Job.objects.filter(task=f"shop.{name}", backend=name)] == [row]


def test_a_job_is_about_one_object() -> None:
    for name in ALIKE:
        added(about_key=name)
    for name in ALIKE:
        assert Job.objects.filter(about_key=name).count() == 1


def test_a_search_does_not_care_about_case() -> None:
    added(task="shop.tasks.Send")
    for lookup, text in (
        ("icontains", "TASKS.send"),
        ("istartswith", "SHOP"),
        ("iexact", "shop.tasks.SEND"),
        ("iendswith", ".sEND"),
    ):
        assert Job.objects.filter(**{f"task__{lookup}": text}).exists()


def test_every_text_may_have_any_character() -> None:
    text = "Zoë 😀 中 \u0301"
    job = settled(
        Outcome(Transition.FAIL, failure=BROKE),
        args=[text],
        kwargs={text: text},
    )
    Job.objects.filter(pk=job.pk).update(progress_message=text, error=text, result={text: text})
    Attempt.objects.update(message=text, traceback=text, exception_class=text)
    row, attempt = now(job), Attempt.objects.get()
    assert (row.progress_message, row.error, row.result) == (text, text, {text: text})
    assert (row.args, row.kwargs) == ([text], {text: text})
    assert (attempt.message, attempt.traceback, attempt.exception_class) == (text, text, text)


@pytest.mark.mysql
@pytest.mark.parametrize("model", [Attempt, IdempotencyRecord, Job, QueuePause, RollUp, Worker])
def test_what_a_site_names_is_not_left_to_the_collation_of_the_database(model: type[Model]) -> None:
    for field in model._meta.concrete_fields:
        if isinstance(field, CharField | TextField) and not field.choices and field.editable:
            assert "collation" in field.db_parameters(connection), field.name
