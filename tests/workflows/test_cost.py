"""What workflows cost the database: each group of members, each step, and what is in none."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_bgtasks import chain, group
from django_bgtasks.core import clock
from django_bgtasks.jobs.execute import claim_jobs, run_claimed, settle_runs
from django_bgtasks.ledger.batches import COMPLETE, find_complete
from django_bgtasks.models import Batch, Job

from . import tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_messages")]
DB = "default"


def settlement_of(count: int) -> list[str]:
    """The statements that settle so many of the queued jobs in one commit."""
    queued = Job.objects.filter(state="queued").order_by("pk").values_list("pk", flat=True)
    jobs = claim_jobs(list(queued[:count]), clock.new_id(), DB)
    runs = [run_claimed(job, DB, grouped=True) for job in jobs]
    with CaptureQueriesContext(connection) as queries:
        settle_runs([run for run in runs if run is not None], DB)
    begin = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
    return [query["sql"] for query in queries if not query["sql"].startswith(begin)]


def test_a_group_of_members_costs_one_statement_more_than_jobs_of_no_workflow() -> None:
    tasks.double.enqueue_many([(number,) for number in range(20)])
    alone = settlement_of(20)
    group(tasks.double.step(number) for number in range(40)).enqueue()
    members = settlement_of(20)
    assert len(members) == len(alone) + 1
    assert members[-1].startswith(COMPLETE[:40])


def test_a_step_of_a_chain_costs_few_statements_more() -> None:
    """It lets a batch begin that waits for it, and the next step, and reads what it has released;
    on PostgreSQL and SQLite the last two are one.
    """
    tasks.double.enqueue(1)
    alone = settlement_of(1)
    chain([tasks.double.step(1)] * 3).enqueue()
    assert len(settlement_of(1)) <= len(alone) + (4 if connection.vendor == "mysql" else 3)


@pytest.mark.postgres
def test_a_look_whether_a_batch_is_over_reads_no_jobs_but_its_own() -> None:
    """Statistics that are old say that one of its jobs would be found at once anywhere."""
    group(tasks.double.step(number) for number in range(3000)).enqueue()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    jobs = Job.objects.filter(state="queued")
    last = jobs.latest("pk")
    jobs.exclude(pk=last.pk).update(state="succeeded", finished_at=clock.now())
    batch = Batch.objects.get()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {COMPLETE} AND b.id IN (%s)", [batch.pk])
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan on django_bgtasks_job" not in plan, plan
    assert find_complete([batch.pk], DB) == []
    Job.objects.filter(pk=last.pk).update(state="failed", finished_at=clock.now())
    assert find_complete([batch.pk], DB) == [batch.pk]


@pytest.mark.parametrize("count", [1, 3])
def test_several_batches_are_looked_at_together(count: int) -> None:
    def make(_: Any) -> Any:
        return chain(group(tasks.double.step(1)), tasks.double.step(2)).enqueue()

    handles = [make(None) for _ in range(count)]
    parts = Batch.objects.exclude(parent=None).order_by("-pk")
    Job.objects.filter(state="queued").update(state="succeeded", finished_at=clock.now())
    found = find_complete(Batch.objects.values_list("pk", flat=True), DB)
    assert found == [part.pk for part in parts]
    assert len(handles) == count
