"""Workflows in a TestCase, which never commits: run_jobs() runs them to their end."""

from __future__ import annotations

from django.test import TestCase

from django_bgtasks import RESULTS, batch, chain, group
from django_bgtasks.testing import run_jobs
from tests.app.models import Note

from . import tasks


class WorkflowTests(TestCase):
    """What follows a commit never comes here."""

    def test_a_step_runs_when_its_group_has_ended(self) -> None:
        """And so does the callback of the whole."""
        parts = group(chain(tasks.double.step(1), tasks.note.step("deep")), tasks.double.step(2))
        flow = chain(parts, tasks.collect.step(RESULTS)).using(on_complete=tasks.note.step("over"))
        run = flow.enqueue()
        run_jobs()
        assert (run.outcome, run.result) == ("succeeded", [["deep", 4]])
        assert Note.objects.filter(text="over").exists()

    def test_a_failure_skips_what_is_behind_it_and_a_retry_goes_on(self) -> None:
        """As with a worker."""
        flow = chain(group(tasks.fail_until_mended.step("a")), tasks.note.step("after"))
        run = flow.using(on_failure=tasks.note.step("failure")).enqueue()
        run_jobs()
        assert run.outcome == "failed"
        Note.objects.create(text="mended a")
        run.retry_failed()
        run_jobs()
        assert run.outcome == "succeeded"

    def test_a_batch_that_is_empty_or_cancelled_ends(self) -> None:
        """With its callbacks."""
        with batch(on_complete=tasks.note.step("empty")) as empty:
            pass
        cancelled = group(tasks.double.step(1)).using(on_complete=tasks.note.step("gone")).enqueue()
        cancelled.cancel()
        run_jobs()
        assert (empty.outcome, cancelled.outcome) == ("succeeded", "cancelled")
        assert set(Note.objects.values_list("text", flat=True)) == {"empty", "gone"}
