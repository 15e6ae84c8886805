"""A job: one enqueued call of a task, from the moment its transaction commits."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.lookups import Exact
from django.utils.translation import gettext_lazy as _

from ..core import clock
from ..core.labels import MAX_LABEL
from ..core.limits import TakenSeat
from ..core.payload import StoredJSON
from ..core.progress import shown_figure
from ..core.states import FINAL, LIVE, WAITING, State, WaitsFor
from .fields import ExactCharField, UnicodeCharField, UTCDateTimeField
from .indexes import PartialIndex, UniqueWhereSet, WaitingIndex
from .loose import LooseForeignKey, LooseGenericForeignKey, set_null

# Not as a lookup, of which Django makes no part of a comparison when it validates a model.
IS_FINISHED = Func(
    F("finished_at"), template="(%(expressions)s IS NOT NULL)", output_field=models.BooleanField()
)


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs by where they stand."""

    def waiting(self) -> JobQuerySet:
        """Jobs that have not started."""
        return self.filter(state__in=sorted(WAITING))

    def live(self) -> JobQuerySet:
        """Jobs that are not final."""
        return self.filter(state__in=sorted(LIVE))

    def final(self) -> JobQuerySet:
        """Jobs that succeeded, failed or were cancelled."""
        return self.filter(state__in=sorted(FINAL))


class Job(models.Model):
    """One enqueued call of a task. Only `django_bgtasks.ledger` changes its state."""

    id = models.UUIDField(_("id"), primary_key=True, default=clock.new_id, editable=False)
    task = ExactCharField(_("task"), max_length=255)
    label = UnicodeCharField(_("label"), max_length=MAX_LABEL, blank=True, default="")
    queue = ExactCharField(_("queue"), max_length=100)
    priority = models.SmallIntegerField(_("priority"), default=0)
    args = models.JSONField(_("arguments"), default=list, encoder=StoredJSON)
    kwargs = models.JSONField(_("keyword arguments"), default=dict, encoder=StoredJSON)
    # How arguments and result are stored: "django" is JSON with tags, see core/tags.py.
    types = models.CharField(_("types"), max_length=8, blank=True, default="", editable=False)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.QUEUED)
    run_after = UTCDateTimeField(_("run after"), null=True, blank=True)
    # Until when it may begin; NULL also if it has begun, given its attempt back, and waits again.
    expires_at = UTCDateTimeField(_("expires"), null=True, blank=True)
    enqueued_at = UTCDateTimeField(_("enqueued at"))
    started_at = UTCDateTimeField(_("started at"), null=True, blank=True)
    finished_at = UTCDateTimeField(_("finished at"), null=True, blank=True)
    # The only number that statements take from, and so the only one with a CHECK.
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0)
    max_attempts = models.SmallIntegerField(_("maximum of attempts"), default=1)
    # The policy of this job alone; NULL: its task's. See core/retry.py.
    retry = models.JSONField(null=True, blank=True, editable=False)
    worker = models.UUIDField(_("worker"), null=True, blank=True)
    # Unlike `attempt` it is never given back: a fencing token must not come twice.
    claims = models.IntegerField(_("claims"), default=0, editable=False)
    timeout = models.FloatField(_("timeout"), help_text=_("Seconds for one attempt."))
    on_crash = models.CharField(_("on crash"), max_length=5, default="retry")
    dedup_key = ExactCharField(_("dedup key"), max_length=255, blank=True, default="")
    dedup_slot = models.CharField(max_length=64, null=True, blank=True, editable=False)
    dedup_scope = models.CharField(_("dedup scope"), max_length=6, blank=True, default="")
    dedup_until = UTCDateTimeField(_("dedup until"), null=True, blank=True)
    # The key of its limit or sequence, and the number that it holds there: see ledger/lanes.py.
    lane = ExactCharField(_("limit key"), max_length=255, null=True, blank=True)
    place = models.SmallIntegerField(_("place"), null=True, blank=True, editable=False)
    at_once = models.SmallIntegerField(_("at once"), null=True, blank=True, editable=False)
    lane_mode = models.CharField(max_length=4, blank=True, default="", editable=False)
    # Within its lane: the lower goes first.
    turn = models.SmallIntegerField(default=0, editable=False)
    # The key of its rate, so many starts in so many seconds, and the seat that it will start with.
    rate = ExactCharField(_("rate key"), max_length=255, null=True, blank=True)
    seat = models.SmallIntegerField(null=True, blank=True, editable=False)
    starts = models.SmallIntegerField(null=True, blank=True, editable=False)
    per = models.FloatField(null=True, blank=True, editable=False)
    # A code, empty unless the job is blocked.
    waits_for = models.CharField(
        _("waits for"), max_length=4, choices=WaitsFor.choices, blank=True, default=""
    )
    result = models.JSONField(_("result"), null=True, blank=True, encoder=StoredJSON)
    progress_done = models.FloatField(_("progress"), null=True, blank=True)
    progress_total = models.FloatField(_("progress total"), null=True, blank=True)
    progress_message = UnicodeCharField(
        _("progress message"), max_length=255, blank=True, default=""
    )
    error = UnicodeCharField(_("error"), max_length=255, blank=True, default="")
    # What the error is, for programs: see core/messages.py. People search the English line above.
    error_code = models.CharField(_("error code"), max_length=32, blank=True, default="")
    error_params = models.JSONField(_("error parameters"), null=True, blank=True, editable=False)
    # A code too; empty unless the job waits for what keeps it from running.
    held_reason = models.CharField(_("held because"), max_length=32, blank=True, default="")
    owner = LooseForeignKey(
        settings.AUTH_USER_MODEL,
        set_null,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
        verbose_name=_("owner"),
    )
    about_type = LooseForeignKey(
        ContentType,
        set_null,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    about_key = ExactCharField(max_length=255, blank=True, default="")
    about = LooseGenericForeignKey("about_type", "about_key")
    # Of a workflow: the batch whose job it is; what it waits for, a job or a batch, and which end
    # of that lets it begin (core/flows.py); whether any job or batch waits for it.
    batch = models.UUIDField(_("batch"), null=True, blank=True)
    gate = models.UUIDField(_("waits for"), null=True, blank=True)
    gate_on = models.CharField(max_length=7, blank=True, default="", editable=False)
    has_followers = models.BooleanField(default=False, editable=False)
    # The schedule that enqueued it, and the time for which: when it was due, not when it ran.
    schedule = models.UUIDField(_("schedule"), null=True, blank=True)
    tick = UTCDateTimeField(_("tick"), null=True, blank=True)
    cancel_requested_at = UTCDateTimeField(_("cancel requested at"), null=True, blank=True)
    backend = ExactCharField(_("backend"), max_length=64)
    # Names and values as JSON of the context it was enqueued in; NULL if it carries none.
    carried = models.TextField(_("carried context"), null=True, blank=True, editable=False)
    # The span that enqueued it, as the header traceparent has it; NULL if none was recorded.
    trace = models.CharField(max_length=55, null=True, blank=True, editable=False)

    # Of a job that this process is about to begin: the seat that it has taken.
    seat_taken: TakenSeat | None = None
    # Of a job of a workflow that has ended: what followed, see ledger/batches.py.
    effects: Any = None

    objects = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ("-id",)
        permissions = (
            ("retry_job", _("Can retry jobs")),
            ("cancel_job", _("Can cancel jobs")),
            ("run_job_now", _("Can run jobs now")),
            ("view_sensitive", _("Can view sensitive values")),
        )
        constraints = (
            # With unique=True PostgreSQL would write two indexes at each move of each job.
            UniqueWhereSet(fields=("dedup_slot",), name="bgtasks_job_dedup_slot"),
            UniqueWhereSet(fields=("schedule", "tick"), name="bgtasks_job_schedule_tick"),
            UniqueWhereSet(
                fields=("rate", "seat"),
                name="bgtasks_job_seat",
                condition=Q(seat__isnull=False),
            ),
            UniqueWhereSet(
                fields=("lane", "place"),
                name="bgtasks_job_place",
                condition=Q(place__isnull=False),
            ),
            # One, and short: PostgreSQL reads each CHECK anew for each statement that writes a row.
            models.CheckConstraint(
                name="bgtasks_job_state_agrees",
                condition=Q(
                    Exact(IS_FINISHED, Q(state__in=sorted(FINAL))),
                    Exact(Q(waits_for__gt=""), Q(state=State.BLOCKED)),
                ),
            ),
        )
        indexes = (
            PartialIndex(
                fields=("queue", "-priority", "id"),
                name="bgtasks_job_queued",
                condition=Q(state=State.QUEUED),
            ),
            PartialIndex(
                fields=("run_after",), name="bgtasks_job_due", condition=Q(state=State.SCHEDULED)
            ),
            PartialIndex(
                fields=("expires_at",),
                name="bgtasks_job_expires",
                condition=Q(expires_at__isnull=False, finished_at__isnull=True, attempt=0),
            ),
            # One for four states: an index costs every statement about any job.
            PartialIndex(
                fields=("state", "id"),
                name="bgtasks_job_state",
                condition=Q(state=State.RUNNING)
                | Q(state=State.FAILED)
                | Q(state=State.CANCELLED)
                | Q(state=State.BLOCKED),
            ),
            PartialIndex(
                fields=("finished_at",),
                name="bgtasks_job_finished",
                condition=Q(finished_at__isnull=False),
            ),
            PartialIndex(
                fields=("owner",), name="bgtasks_job_owner", condition=Q(owner__isnull=False)
            ),
            PartialIndex(
                fields=("about_type", "about_key"),
                name="bgtasks_job_about",
                condition=Q(about_type__isnull=False),
            ),
            PartialIndex(
                fields=("dedup_key",), name="bgtasks_job_dedup_key", condition=~Q(dedup_key="")
            ),
            PartialIndex(
                fields=("batch", "state"),
                name="bgtasks_job_batch",
                condition=Q(batch__isnull=False),
            ),
            PartialIndex(
                fields=("gate",), name="bgtasks_job_gate", condition=Q(gate__isnull=False)
            ),
            # Whether a job of an earlier tick is still live.
            PartialIndex(
                fields=("schedule", "finished_at"),
                name="bgtasks_job_of_schedule",
                condition=Q(schedule__isnull=False, finished_at__isnull=True),
            ),
            WaitingIndex(
                fields=("waits_for", "rate", "turn", "enqueued_at", "id"),
                name="bgtasks_job_rate",
                condition=Q(waits_for=WaitsFor.RATE),
            ),
            WaitingIndex(
                fields=("waits_for", "lane", "turn", "enqueued_at", "id"),
                name="bgtasks_job_lane",
                condition=Q(waits_for=WaitsFor.LANE),
            ),
        )

    def __str__(self) -> str:
        return f"{self.task} {self.id}"

    @property
    def is_final(self) -> bool:
        """Whether the job will not run again by itself."""
        return self.state in FINAL

    @property
    def progress(self) -> dict[str, Any] | None:
        """What the task reported last, or None when it reported nothing."""
        if self.progress_done is None:
            return None
        return {
            "done": shown_figure(self.progress_done),
            "total": shown_figure(self.progress_total),
            "message": self.progress_message,
        }
