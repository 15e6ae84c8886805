"""The oracle: what holds at the end of every case, whatever was done to it (I1 to I6).

I1 no committed job is lost; I2 at most one effective completion, `atomic` effects exactly once;
I3 attempts within bounds; I4 errors visible in the admin; I5 recovery within the bound; I6 no
worker that ended untold, nothing left behind.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from django_bgtasks.core.states import FINAL, State
from django_bgtasks.models import Attempt, Job, Worker
from tests.app.models import Note

from .effects import EffectsLog
from .moves import violations

WAITING = {State.BLOCKED, State.QUEUED, State.SCHEDULED}
PAGES = 3


@dataclass
class Verdict:
    """What the oracle found. again: bodies that ran more than once, the price of at-least-once."""

    jobs: int = 0
    lost: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    again: int = 0
    faults: list[str] = field(default_factory=list)

    def confirm(self) -> None:
        """AssertionError if anything is wrong, with all of it."""
        wrong = [
            *(f"I1 lost: {text}" for text in self.lost),
            *(f"I2 duplicate: {text}" for text in self.duplicates),
            *self.faults,
        ]
        assert not wrong, "\n".join(wrong)


def judge(committed: Sequence[str], effects: EffectsLog) -> Verdict:
    """Look at all that is left of a case. committed: the ids of the jobs that must exist."""
    # Jobs of a worker that works on may fail between these two: what is counted is read later.
    failed = Counter(map(str, Attempt.objects.values_list("job_id", flat=True)))
    rows = {str(job.pk): job for job in Job.objects.all()}
    verdict = Verdict(jobs=len(committed))
    verdict.lost = [text for job in committed if (text := _lost(job, rows.get(job)))]
    verdict.duplicates = _duplicates(rows, effects)
    verdict.again = sum(times > 1 for times in effects.times("end").values())
    verdict.faults = [f"I2 {text}" for text in violations()]
    verdict.faults += _excesses(rows, failed) + _unseen(rows)
    return verdict


def _lost(job_id: str, job: Job | None) -> str:
    if job is None:
        return f"{job_id} has no row"
    if job.state in FINAL or job.state in WAITING:
        return ""
    alive = Worker.objects.filter(pk=str(job.worker), lost_at=None, stopped_at=None)
    return "" if alive.exists() else f"{job_id} is {job.state} and its worker is gone"


def _duplicates(rows: dict[str, Job], effects: EffectsLog) -> list[str]:
    """Effects in the database that are there twice, or without their completion."""
    found = []
    written = Counter(Note.objects.values_list("text", flat=True))
    for job_id, job in rows.items():
        want = int(job.state == State.SUCCEEDED and job.task.endswith(".atomic"))
        if written[job_id] != want:
            found.append(f"{job_id} is {job.state} and its effect is there {written[job_id]} times")
        if isinstance(job.result, int) and job.result != job.claims:
            found.append(f"{job_id}: claim {job.claims} has the result of claim {job.result}")
    # A provider that honours keys charges once per key; one that does not may be called once.
    keys = {(effect.job, effect.what) for effect in effects.entries if effect.what[:5] == "call:"}
    charged = Counter(job for job, _ in keys) + effects.times("only-call")
    return found + [f"{job} was charged {n} times" for job, n in charged.items() if n > 1]


def _excesses(rows: dict[str, Job], failed: Counter[str]) -> list[str]:
    found = []
    for job_id, job in rows.items():
        if job.attempt > job.max_attempts:
            found.append(f"I3 {job_id}: attempt {job.attempt} of {job.max_attempts}")
        successes = int(job.state == State.SUCCEEDED)
        if failed[job_id] + successes > job.attempt:
            found.append(f"I3 {job_id}: {failed[job_id]} failed attempts, {job.attempt} counted")
    return found


def _unseen(rows: dict[str, Job]) -> list[str]:
    """Failed attempts that the admin's page of their job does not tell."""
    latest = Attempt.objects.order_by("-pk")[:PAGES]
    browser = _operator() if latest else Client()
    missing = []
    for attempt in latest:
        job = rows[str(attempt.job_id)]
        page = browser.get(reverse("admin:django_bgtasks_job_change", args=[str(job.pk)]))
        text = html.unescape(page.content.decode())
        wanted = [attempt.message, job.error]
        missing += [f"I4 {attempt}: {what!r} is not shown" for what in wanted if what not in text]
    return missing


def _operator() -> Client:
    users = get_user_model().objects
    user = users.filter(username="operator").first()
    browser = Client()
    browser.force_login(user or users.create_superuser("operator"))
    return browser
