"""Whatever happens to workflows in whatever order, each callback runs once and nothing is left.

Hypothesis makes up the trees and the histories: it plays the site, the workers and their deaths,
people and maintenance, all through the real functions, and looks at all rows after each step.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_bgtasks import BatchClosed, ClaimLost, InvalidMove
from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import DeathCause
from django_bgtasks.jobs.actions import cancel_job, delete_jobs, retry_job
from django_bgtasks.jobs.execute import claim_jobs, run_claimed, settle_runs
from django_bgtasks.jobs.expiry import expire_jobs
from django_bgtasks.jobs.waiting import promote_jobs
from django_bgtasks.models import Attempt, Batch, Job
from django_bgtasks.testing import without_redis
from django_bgtasks.worker.maintenance.dead_processes import Death, settle_death
from django_bgtasks.workflows import followers
from django_bgtasks.workflows.actions import cancel_batch, retry_batch
from django_bgtasks.workflows.flow import Workflow, chain, group
from django_bgtasks.workflows.open_batch import OpenBatch
from django_bgtasks.workflows.tree import insert_elements

from .machine_tasks import ORDERS, RAN, act
from .rules import Rows

ALL = os.environ.get("BGTASKS_TEST_FAULTS") == "all"
DB = "default"
PICK = st.integers(0, 99)
CALLBACKS = st.sets(st.sampled_from(["on_success", "on_failure", "on_complete"]))
SHAPES = st.recursive(
    st.just("step"),
    lambda inner: st.tuples(
        st.sampled_from(["chain", "group"]), st.lists(inner, max_size=3), CALLBACKS
    ),
    max_leaves=8,
)
ORDER = st.sampled_from(["succeed", "succeed", "succeed", "raise", "again", "grow"])
MOST_JOBS = 40


def flow_of(shape: Any) -> Any:
    """The steps, chains and groups of a shape."""
    if shape == "step":
        return act.step()
    kind, parts, callbacks = shape
    flow = (chain if kind == "chain" else group)(*map(flow_of, parts))
    return flow.using(**{name: act.step() for name in sorted(callbacks)}) if callbacks else flow


@contextmanager
def dying(dies: bool) -> Iterator[None]:
    """Within it, if so, a process ends between its commits and what follows from them."""
    if not dies:
        yield
        return
    with patch.object(followers, "_follow_logged"):
        yield


class WorkflowMachine(RuleBasedStateMachine):
    """claims: the jobs that somebody runs; zombies: attempts that have been ended meanwhile."""

    @initialize(shape=SHAPES)
    def start(self, shape: Any) -> None:
        for model in (Attempt, Job, Batch):
            model._default_manager.all().delete()
        ORDERS.clear()
        RAN.clear()
        self.claims: list[Job] = []
        self.zombies: list[Job] = []
        self.retried = Counter[UUID]()
        self.changed: set[UUID] = set()
        self.enqueue(shape)

    @precondition(lambda self: Job.objects.count() < MOST_JOBS)
    @rule(shape=SHAPES)
    def enqueue(self, shape: Any) -> None:
        flow = flow_of(shape)
        (flow if isinstance(flow, Workflow) else chain(flow)).enqueue()

    # Workers

    @rule(pick=PICK, count=st.integers(1, 3))
    def claim(self, pick: int, count: int) -> None:
        queued = list(Job.objects.filter(state="queued").order_by("pk"))
        some = [job.pk for job in queued[pick % len(queued) :][:count]] if queued else []
        self.claims += claim_jobs(some, clock.new_id(), DB)

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, order=ORDER, dies=st.booleans())
    def run(self, pick: int, order: str, dies: bool) -> None:
        job = self._taken(pick)
        ORDERS[job.pk] = order
        with dying(dies):
            assert run_claimed(job, DB)

    @precondition(lambda self: len(self.claims) > 1)
    @rule(pick=PICK, dies=st.booleans())
    def run_together(self, pick: int, dies: bool) -> None:
        first = self._taken(pick)
        mates = [job for job in self.claims if job.worker == first.worker]
        self.claims = [job for job in self.claims if job not in mates]
        runs = [run_claimed(job, DB, grouped=True) for job in (first, *mates)]
        with dying(dies):
            settle_runs([run for run in runs if run is not None], DB)

    @precondition(lambda self: self.claims and Job.objects.count() < MOST_JOBS)
    @rule(pick=PICK, shapes=st.lists(SHAPES, min_size=1, max_size=2), where=PICK)
    def a_running_job_adds(self, pick: int, shapes: list[Any], where: int) -> None:
        """To any group of its workflow."""
        job = self.claims[pick % len(self.claims)]
        if (target := self._group_of(job, where)) is None:
            return
        is_closed = target.finished_at is not None or target.cancelled_at is not None
        batch, count = OpenBatch(target, job, insert_elements, DB), Job.objects.count()
        try:
            batch.add(map(flow_of, shapes))
        except BatchClosed:
            assert is_closed
            assert Job.objects.count() == count
        else:
            assert not is_closed

    def _group_of(self, job: Job, where: int) -> Batch | None:
        if job.batch is None:
            return None
        root = Batch.objects.get(pk=job.batch).root
        groups = list(Batch.objects.filter(root=root, kind="group").order_by("pk"))
        return groups[where % len(groups)] if groups else None

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, why=st.sampled_from([DeathCause.CRASH, *DeathCause]), dies=st.booleans())
    def a_process_dies(self, pick: int, why: DeathCause, dies: bool) -> None:
        job = self._taken(pick)
        with dying(dies):
            assert settle_death(Death(job.pk, job.claims, job.worker, why), DB)
        self.zombies.append(job)

    @precondition(lambda self: self.zombies)
    @rule(pick=PICK, order=ORDER, where=PICK)
    def a_zombie_adds_and_settles(self, pick: int, order: str, where: int) -> None:
        zombie = self.zombies[pick % len(self.zombies)]
        count, ran = Job.objects.count(), RAN.copy()
        target = self._group_of(zombie, where)
        if target is not None:
            with pytest.raises((ClaimLost, BatchClosed)):
                OpenBatch(target, zombie, insert_elements, DB).add(act.step())
        ORDERS[zombie.pk] = order
        states = dict(Job.objects.values_list("pk", "state"))
        run_claimed(zombie, DB)
        assert dict(Job.objects.values_list("pk", "state")) == states
        assert Job.objects.count() == count
        RAN.clear()
        RAN.update(ran)

    # People

    @rule(pick=PICK, dies=st.booleans())
    def cancel_a_batch(self, pick: int, dies: bool) -> None:
        batches = list(Batch.objects.order_by("pk"))
        if batches:
            batch = batches[pick % len(batches)]
            with dying(dies):
                if batch.finished_at is not None:
                    with pytest.raises(InvalidMove):
                        cancel_batch(batch.pk)
                else:
                    cancel_batch(batch.pk)

    @rule(pick=PICK, dies=st.booleans())
    def cancel_a_job(self, pick: int, dies: bool) -> None:
        live = list(Job.objects.live().order_by("pk"))
        if live:
            with dying(dies):
                cancel_job(live[pick % len(live)].pk)

    @rule(pick=PICK)
    def retry_a_batch(self, pick: int) -> None:
        batches = list(Batch.objects.order_by("pk"))
        if batches:
            batch = batches[pick % len(batches)]
            self._note_retry(batch.root)
            retry_batch(batch.pk)

    @rule(pick=PICK)
    def retry_a_job(self, pick: int) -> None:
        ended = list(Job.objects.filter(state__in=["failed", "cancelled"]).order_by("pk"))
        if not ended:
            return
        job = ended[pick % len(ended)]
        found = Batch.objects.filter(pk__in=[one for one in (job.batch, job.gate) if one]).first()
        try:
            retry_job(job.pk)
        except InvalidMove:
            assert Job.objects.get(pk=job.pk).state == job.state
        else:
            self._note_retry(found.root if found else job.pk)

    def _note_retry(self, root: UUID) -> None:
        self.changed.add(root)
        batches = Batch.objects.filter(root=root).values_list("pk", flat=True)
        for field in ("batch__in", "gate__in"):
            self.retried.update(Job.objects.filter(**{field: batches}).values_list("pk", flat=True))

    @rule(pick=PICK, dies=st.booleans())
    def delete_a_job(self, pick: int, dies: bool) -> None:
        idle = list(Job.objects.exclude(state="running").order_by("pk"))
        if not idle:
            return
        job = idle[pick % len(idle)]
        if job.batch:
            self.changed.add(Batch.objects.get(pk=job.batch).root)
        with dying(dies):
            delete_jobs({job.pk: job.state})

    # Time and maintenance

    @rule(pick=PICK, dies=st.booleans())
    def one_expires(self, pick: int, dies: bool) -> None:
        waiting = list(Job.objects.waiting().order_by("pk"))
        if waiting:
            job = waiting[pick % len(waiting)]
            past = clock.now() - timedelta(minutes=1)
            Job.objects.filter(pk=job.pk).update(expires_at=past)
            with dying(dies):
                expire_jobs(100, DB)

    @rule()
    def sweep(self) -> None:
        followers.sweep(DB)
        promote_jobs(1000, DB)

    # What holds

    @invariant()
    def no_row_is_wrong(self) -> None:
        assert not Rows(self.changed).faults()

    def teardown(self) -> None:
        """Once nothing more goes wrong, all comes to its end."""
        for _round in range(200):
            followers.sweep(DB)
            promote_jobs(1000, DB)
            queued = list(Job.objects.filter(state="queued").values_list("pk", flat=True)[:1])
            self.claims += claim_jobs(queued, clock.new_id(), DB)
            if not self.claims:
                break
            while self.claims:
                self.run(0, "succeed", False)
        rows = Rows(self.changed)
        assert not rows.faults_at_the_end()
        for pk, job in rows.jobs.items():
            if job.gate_on in ("success", "failure", "end"):
                assert RAN[pk] <= 1 + self.retried[pk]

    def _taken(self, pick: int) -> Job:
        return self.claims.pop(pick % len(self.claims))


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(900)
def test_no_history_leads_a_workflow_astray() -> None:
    """Repeat a failure with its seed: BGTASKS_TEST_SEED=…"""
    number = int(os.environ.get("BGTASKS_TEST_SEED") or random.SystemRandom().getrandbits(32))
    print(f"BGTASKS_TEST_SEED={number}")
    with without_redis():
        run_state_machine_as_test(
            hypothesis.seed(number)(WorkflowMachine),
            settings=settings(
                max_examples=150 if ALL else 6,
                stateful_step_count=40,
                deadline=None,
                database=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
