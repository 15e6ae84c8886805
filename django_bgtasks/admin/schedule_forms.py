"""The form of a schedule: what a person fills in, and what it makes of a row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from ..core import clock
from ..core.compat import InvalidTask
from ..core.cron import check_cron, zone_of
from ..core.errors import (
    BgTasksError,
    InvalidArguments,
    InvalidSchedule,
    ObjectGone,
    Unreadable,
)
from ..core.options import backend_settings, default_backend
from ..core.payload import MASK, masked_call, may_see_secrets
from ..core.timing import Cron, Every, Rule, Timing
from ..core.values import TYPED, loaded_class
from ..jobs.discovery import try_to_discover
from ..jobs.task import RETRIES, known_task, queues_of
from ..jobs.typed import value_of
from ..models import CatchUp, HistoryEntry, Job, Overlap, Schedule
from ..schedules.actions import MOST, check_row
from ..schedules.call import CARRIED, row_of, task_of
from .duplicate import Indented, of_type

T = TypeVar("T")
UNITS = {
    1: pgettext_lazy("unit of a span", "seconds"),
    60: pgettext_lazy("unit of a span", "minutes"),
    3600: pgettext_lazy("unit of a span", "hours"),
    86400: pgettext_lazy("unit of a span", "days"),
}
# Of what the preview is made.
OF_THE_PREVIEW = ("cron", "every_0", "every_1", "zone")
TIMES = ("cron", "every", "zone")
CALL = ("args", "kwargs")
# Nothing longer is stored for ever in the row of a schedule.
LONGEST = 400 * 86400
CATCH_UP = {
    CatchUp.LATEST: gettext_lazy("One job for all of them, the latest"),
    CatchUp.ALL: gettext_lazy("A job for each of them"),
    CatchUp.NONE: gettext_lazy("No job: they are skipped"),
}
OVERLAP = {
    Overlap.SKIP: gettext_lazy("The tick is skipped"),
    Overlap.ALLOW: gettext_lazy("Both run side by side"),
    Overlap.WAIT: gettext_lazy("The tick waits until the earlier job has ended"),
}


class SpanWidget(forms.MultiWidget):
    """A number and its unit."""

    template_name = "admin/django_bgtasks/schedule/span.html"

    def __init__(self) -> None:
        number = forms.NumberInput(attrs={"step": "any", "min": "0", "class": "vIntegerField"})
        unit = forms.Select(choices=list(UNITS.items()), attrs={"aria-label": _("Unit")})
        super().__init__([number, unit])

    def decompress(self, value: Any) -> list[Any]:
        """In the largest unit of which it is a whole number."""
        if value is None or value == "":
            return [None, 60]
        unit = max((unit for unit in UNITS if value and not value % unit), default=1)
        amount = value / unit
        return [int(amount) if float(amount).is_integer() else amount, unit]

    def id_for_label(self, id_: str) -> str:
        """The number: the unit has a label of its own."""
        return f"{id_}_0"


class SpanField(forms.MultiValueField):
    """A length of time, in seconds; None if it is left empty."""

    widget = SpanWidget

    def __init__(self, **options: Any) -> None:
        number = forms.FloatField(required=False, min_value=0)
        unit = forms.TypedChoiceField(choices=list(UNITS.items()), coerce=int, required=False)
        super().__init__((number, unit), required=False, require_all_fields=False, **options)

    def clean(self, value: Any) -> Any:
        """Nothing but a unit is nothing."""
        if not value or value[0] in (None, ""):
            return None
        return super().clean(value)

    def compress(self, data_list: list[Any]) -> float:
        seconds = float(data_list[0] * data_list[1])
        if seconds > LONGEST:
            raise ValidationError(_("This is longer than %d days.") % (LONGEST // 86400))
        return seconds


class TimesForm(forms.Form):
    """When: a cron expression or an interval, and a zone."""

    cron = forms.CharField(
        label=gettext_lazy("Cron expression"),
        required=False,
        max_length=255,
        help_text=gettext_lazy(
            "Minute, hour, day of the month, month and day of the week, such as 0 6 * * MON-FRI. "
            "Either this or an interval."
        ),
    )
    every = SpanField(
        label=gettext_lazy("Or every"),
        help_text=gettext_lazy("An interval that is counted on from when the schedule was made."),
    )
    zone = forms.CharField(
        label=gettext_lazy("Time zone"),
        required=False,
        max_length=64,
        help_text=gettext_lazy("Of the cron expression, such as Europe/Berlin; empty: the site’s."),
    )

    # What has been filled in, when it is right.
    timing: Timing | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        text = {"class": "vTextField", "autocomplete": "off", "spellcheck": "false"}
        self.fields["cron"].widget.attrs |= {**text, "placeholder": "0 6 * * MON-FRI"}
        self.fields["zone"].widget.attrs |= {**text, "placeholder": settings.TIME_ZONE}
        self.fields["zone"].widget.attrs["list"] = "bgtasks-zones"

    @property
    def zones(self) -> list[str]:
        """The names to choose from."""
        return sorted(available_timezones())

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if self.errors.keys() & set(TIMES):
            return data
        if bool(data["cron"]) == (data["every"] is not None):
            both = _("Fill in a cron expression or an interval, and not both.")
            self.add_error("cron", both if data["cron"] else _("Fill in this or an interval."))
            return data
        try:
            self.timing = timing_of(data)
        except InvalidSchedule as refusal:
            self.add_error(field_of(refusal), refusal_text(refusal))
        return data


def timing_of(data: dict[str, Any], **policies: Any) -> Timing:
    """The times that the form says. Raises InvalidSchedule."""
    if data["cron"]:
        return Cron(data["cron"], zone=data["zone"] or None, **policies)
    return Every(timedelta(seconds=data["every"]), **policies)


def field_of(refusal: InvalidSchedule) -> str:
    """The field that a refusal is about."""
    kind = refusal.reason.code.partition("_")[0] if refusal.reason else ""
    return kind if kind in ("every", "zone") else "cron"


def refusal_text(refusal: Exception) -> str:
    """A refusal in the language of who reads it."""
    reason = getattr(refusal, "reason", None)
    return str(reason.text if reason else refusal)


class ScheduleForm(TimesForm):
    """A schedule: what it calls, when, where and with which policies.

    row: the one that is edited; None for a new one. Of a schedule of the code, what it calls stays.
    """

    draft: Schedule | None = None

    name = forms.CharField(label=gettext_lazy("Name"), max_length=200)
    task = forms.ChoiceField(label=gettext_lazy("Task"))
    args = forms.JSONField(
        label=gettext_lazy("Arguments"),
        required=False,
        encoder=Indented,
        help_text=gettext_lazy("A JSON list, such as [42]."),
    )
    kwargs = forms.JSONField(
        label=gettext_lazy("Keyword arguments"),
        required=False,
        encoder=Indented,
        help_text=gettext_lazy('A JSON object, such as {"full": true}.'),
    )
    queue = forms.CharField(
        label=gettext_lazy("Queue"),
        required=False,
        max_length=100,
        help_text=gettext_lazy("Empty: that of the task."),
    )
    priority = forms.IntegerField(
        label=gettext_lazy("Priority"),
        required=False,
        min_value=-100,
        max_value=100,
        help_text=gettext_lazy("From -100 to 100; empty: that of the task."),
    )
    catch_up = forms.ChoiceField(
        label=gettext_lazy("After an outage"),
        choices=list(CATCH_UP.items()),
        help_text=gettext_lazy("What becomes of ticks for which no worker was there."),
    )
    grace = SpanField(
        label=gettext_lazy("At most late by"),
        help_text=gettext_lazy("A tick that is later is skipped in any case. Empty: no limit."),
    )
    overlap = forms.ChoiceField(
        label=gettext_lazy("While an earlier job is not done"),
        choices=list(OVERLAP.items()),
        help_text=gettext_lazy("What happens at a tick when the job of an earlier one still runs."),
    )
    jitter = SpanField(
        label=gettext_lazy("Spread over"),
        help_text=gettext_lazy(
            "Each job starts up to so much later, so that not all schedules start at once."
        ),
    )
    revision = forms.IntegerField(required=False, widget=forms.HiddenInput)
    field_order = ("name", "task", *CALL, "cron", "every", "zone", "queue", "priority")

    def __init__(self, user: Any, row: Schedule | None = None, data: Any = None) -> None:
        self.row, self.is_hidden = row, False
        super().__init__(data, initial=self._initial(row, user))
        tasks: Any = self.fields["task"]
        tasks.choices = task_choices(row.task if row else "")
        backend = row.backend if row else default_backend()
        self.queues = sorted(queues_of(backend))
        self.fields["queue"].widget.attrs |= {"list": "bgtasks-queue-names", "class": "vTextField"}
        self.fields["name"].widget.attrs |= {"class": "vTextField"}
        for name in CALL:
            value = self.initial.get(name) or []
            lines = json.dumps(value, indent=2, ensure_ascii=False).count("\n") + 2
            self.fields[name].widget.attrs |= {
                "rows": min(20, max(2, lines)),
                "class": "vLargeTextField",
            }
        for name in self._fixed(row):
            self.fields[name].disabled = True

    def _initial(self, row: Schedule | None, user: Any) -> dict[str, Any]:
        if row is None:
            return {"catch_up": CatchUp.LATEST, "overlap": Overlap.SKIP}
        same = ("name", "task", *TIMES, "catch_up", "overlap", "grace", "revision")
        values = {name: getattr(row, name) for name in same}
        values |= {"args": row.args, "kwargs": row.kwargs, "jitter": row.jitter or None}
        if not may_see_secrets(user):
            values["args"], values["kwargs"] = masked_call(
                known_task(row.task), row.args, row.kwargs
            )
            self.is_hidden = MASK in json.dumps([values["args"], values["kwargs"]])
        options = row.options
        return {**values, "queue": options.get("queue_name"), "priority": options.get("priority")}

    def _fixed(self, row: Schedule | None) -> list[str]:
        if row is None:
            return []
        fixed = ["name", "task"] if row.source == "code" else ["name"]
        # What is masked would be stored as the mask; for another task it would mean another thing.
        return [*fixed, "task", *CALL] if self.is_hidden else fixed

    def clean_name(self) -> str:
        """A name that no other schedule has."""
        name: str = self.cleaned_data["name"]
        if self.row is None and Schedule.objects.filter(name=name).exists():
            raise ValidationError(_("There is a schedule of this name: edit that one."))
        return name

    def clean_args(self) -> list[Any]:
        return of_type(self.cleaned_data["args"], list, _("This must be a list: [1, 2]."))

    def clean_kwargs(self) -> dict[str, Any]:
        text = _('This must be an object: {"name": 1}.')
        return of_type(self.cleaned_data["kwargs"], dict, text)

    def clean(self) -> dict[str, Any]:
        """With all that is right the row as it is to be is `draft`."""
        super().clean()
        data, row = self.cleaned_data, self.row
        if row is not None and data.get("revision") not in (None, row.revision):
            # Who saves once more has been told.
            self.data = dict(self.data.items()) | {"revision": str(row.revision)}
            self.add_error(None, self._change_meanwhile(row))
        task = self._task()
        if task is None or self.timing is None or self.errors:
            return data
        try:
            self.draft = self._row(task)
            check_row(self.draft)
        except (BgTasksError, InvalidTask, TypeError, ValueError) as refusal:
            self.add_error(_refused_field(refusal), refusal_text(refusal))
        return data

    def _change_meanwhile(self, row: Schedule) -> str:
        last = HistoryEntry.objects.filter(schedule=row.pk).order_by("-id").first()
        text = _(
            "%s has changed this schedule since you opened this page. Look at it in another tab; "
            "saving once more replaces it by what is here."
        )
        return text % (last.by if last and last.by else _("Somebody"))

    def clean_grace(self) -> float | None:
        """Not so short that no tick is in time."""
        grace: float | None = self.cleaned_data["grace"]
        if grace is not None and grace < 1:
            raise ValidationError(_("At least one second. Leave it empty for no limit."))
        return grace

    def _task(self) -> Any:
        data, row = self.cleaned_data, self.row
        if not {"task", "queue", "priority"} <= data.keys():
            return None
        options = dict(row.options) if row else {}
        for option, value in (("queue_name", data["queue"]), ("priority", data["priority"])):
            options.pop(option, None)
            options |= {} if value in ("", None) else {option: value}
        found = known_task(data["task"])
        if found is None:
            self.add_error("task", _("The code of this site has no such task."))
            return None
        backend = row.backend if row else found.backend
        try:
            return task_of(Schedule(backend=backend, task=data["task"], options=options))
        except (BgTasksError, InvalidTask, TypeError, ValueError) as refusal:
            self.add_error("queue" if data["queue"] else "task", refusal_text(refusal))
            return None

    def _row(self, task: Any) -> Schedule:
        data, row = self.cleaned_data, self.row
        same = ("catch_up", "overlap")
        policies = {name: data[name] for name in same} | {"jitter": data["jitter"] or 0.0}
        policies["grace"] = None if data["grace"] is None else timedelta(seconds=data["grace"])
        policies["when"] = (row.when or None) if row else None
        args, kwargs = self._call(task)
        timing = timing_of(data, args=args, kwargs=kwargs, **policies)
        people = {"owner": row.owner, "about": row.about} if row else {}
        draft = row_of(data["name"], task, timing, people)
        # The context of this request is nobody's.
        carried = row.options.get(CARRIED) if row else None
        draft.options.pop(CARRIED, None)
        draft.options |= {CARRIED: carried} if carried else {}
        return draft

    def _call(self, task: Any) -> tuple[list[Any], dict[str, Any]]:
        data, row = self.cleaned_data, self.row
        types = getattr(task, "types", "") or backend_settings(task.backend).options.types
        if self.is_hidden and row is not None:
            call = [row.args, row.kwargs]
            args, kwargs = value_of(call) if row.types == TYPED else call
        elif types == TYPED:
            # Nothing is imported for what a person has typed.
            args, kwargs = value_of([data["args"], data["kwargs"]], loaded_class)
        else:
            args, kwargs = data["args"], data["kwargs"]
        return args, kwargs


def _refused_field(refusal: Exception) -> str | None:
    if isinstance(refusal, InvalidSchedule):
        return field_of(refusal)
    return "args" if isinstance(refusal, InvalidArguments | Unreadable | ObjectGone) else None


def task_choices(current: str) -> list[Any]:
    """The tasks of the site's code by their modules, the chosen one among them if it is gone."""
    try_to_discover()
    paths = {path for path in RETRIES if not path.startswith(f"{__package__}.")}
    groups: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(paths | ({current} if current else set())):
        groups.setdefault(path.rpartition(".")[0], []).append((path, path))
    return [("", "---------"), *groups.items()]


def _moment() -> forms.DateTimeInput:
    kind = {"type": "datetime-local", "step": "1", "class": "vTextField"}
    return forms.DateTimeInput(attrs=kind, format="%Y-%m-%dT%H:%M:%S")


class SpanOfTicksForm(forms.Form):
    """From when until when ticks are made up, in the zone of the schedule.

    missing: the ticks there that have no job.
    """

    start = forms.DateTimeField(label=gettext_lazy("From"), widget=_moment())
    end = forms.DateTimeField(label=gettext_lazy("To"), widget=_moment())

    def __init__(self, row: Schedule, data: Any = None) -> None:
        self.row, self.missing = row, list[datetime]()
        self.zone = row.zone or settings.TIME_ZONE
        super().__init__(data, initial=self._last_day())

    def _last_day(self) -> dict[str, datetime]:
        try:
            now = clock.now().astimezone(zone_of(self.zone)).replace(microsecond=0, tzinfo=None)
        except InvalidSchedule:
            return {}
        return {"start": now - timedelta(days=1), "end": now}

    def full_clean(self) -> None:
        """The times are read as they stand: in the reader's zone there may be no such time."""
        with timezone.override(UTC):
            super().full_clean()

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if self.errors:
            return data
        try:
            return self._with_ticks(data)
        except InvalidSchedule as refusal:
            self.add_error(None, refusal_text(refusal))
            return data

    def _with_ticks(self, data: dict[str, Any]) -> dict[str, Any]:
        start, end = (self._in_zone(data[name]) for name in ("start", "end"))
        if self.row.cron:
            # Another version may have written what this one cannot read.
            check_cron(self.row.cron)
        data |= {"start": start, "end": end}
        if start > end:
            self.add_error("end", _("This is before the start."))
        elif end > clock.now():
            self.add_error("end", _("This is in the future: what is due then comes by itself."))
        else:
            self._look_for_missing(start, end)
        return data

    def _look_for_missing(self, start: datetime, end: datetime) -> None:
        ticks = Rule.of(self.row).between(start, end, MOST + 1)
        if len(ticks) > MOST:
            text = _("These are more than %d ticks: choose a shorter span.")
            self.add_error("end", text % MOST)
            return
        jobs = Job.objects.filter(schedule=self.row.pk, tick__gte=start, tick__lte=end)
        there = {clock.in_utc(tick) for tick in jobs.values_list("tick", flat=True) if tick}
        self.missing = [tick for tick in ticks if tick not in there]

    def _in_zone(self, moment: datetime) -> datetime:
        try:
            return moment.replace(tzinfo=zone_of(self.zone)).astimezone(UTC)
        except OverflowError:
            # At the ends of the calendar.
            return moment.replace(tzinfo=UTC)
