"""Hostile text in every field of every table, and what a page makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.db import models
from django.utils import timezone

from django_bgtasks.core import clock
from django_bgtasks.core.states import FINAL, State
from django_bgtasks.models import (
    Attempt,
    AttemptOutcome,
    EffectState,
    HistoryEntry,
    IdempotencyRecord,
    Job,
    QueuePause,
    Worker,
)

PLAIN = "quite harmless words, without any sign that means something to somebody"
TEXTS = {
    "script": "<script>alert(1)</script>",
    "quotes": "\"'><img src=x onerror=alert(1)>",
    "link": "javascript:alert(1)",
    "template": "{{ 1|add:1 }}{% debug %}{# x #}${7*7}",
    "attribute": "' onmouseover='alert(1)' style='color:red",
    "closing": "</pre></details></title></textarea><style>*{display:none}</style>",
    "entity": "&lt;script&gt;&amp;&#x27;",
    "comment": "<!-- ]]><svg/onload=alert(1)> -->",
}
# Which object a row is about, and what Django reads as JSON, are no text.
NO_TEXT = {"about_key", "object_id", "change_message"}
UNIQUE = {"dedup_slot": 64, "key": 255}
# Where a browser takes an address from.
ADDRESSES = {"href", "src", "action", "formaction", "data", "poster", "xlink:href", "srcdoc"}


def text_fields(model: type[models.Model], text: str) -> dict[str, Any]:
    """A value that holds the text for every field of the model that takes text or JSON."""
    values: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        if field.name in NO_TEXT:
            continue
        if isinstance(field, models.JSONField):
            values[field.name] = {text: [text, {"a": text}]}
        elif isinstance(field, models.CharField | models.TextField) and not field.choices:
            values[field.name] = text[: field.max_length]
    return values


def populate(owner: Any) -> list[models.Model]:
    """Rows in every state, with plain text everywhere. The first one is a job that failed."""
    owner.username = owner.first_name = owner.last_name = PLAIN
    owner.save()
    worker = _row(Worker, id=clock.new_id(), pid=7, processes=1, **_times("started", "last_seen"))
    rows = [_job(state, owner, worker) for state in (State.FAILED, *State)]
    rows += [
        _row(
            Attempt, job=rows[0], attempt=n, outcome=outcome, worker=worker.pk, **_times("finished")
        )
        for n, outcome in enumerate(AttemptOutcome, start=1)
    ]
    for state in EffectState:
        key = {"key": f"{state} {PLAIN}", "token": clock.new_id(), "job": rows[0].pk}
        rows.append(_row(IdempotencyRecord, state=state, **key, **_times("created", "expires")))
    done = _row(HistoryEntry, at=timezone.now(), job=rows[0].pk, verb="cancelled", via="admin")
    return [*rows, worker, done, _row(QueuePause, **_times("paused"))]


def write(rows: list[models.Model], owner: Any, text: str) -> None:
    """Write the text into every field of these rows that takes text."""
    owner.username = owner.first_name = owner.last_name = text
    owner.save()
    for number, row in enumerate(rows):
        values = text_fields(type(row), text)
        for name, length in UNIQUE.items():
            if name in values:
                values[name] = f"{text}{number}"[-length:]
        type(row)._base_manager.filter(pk=row.pk).update(**values)


def _job(state: str, owner: Any, worker: models.Model) -> models.Model:
    begun = state == State.RUNNING or state in FINAL
    times = _times(
        "enqueued", *(["started"] if begun else []), *(["finished"] if state in FINAL else [])
    )
    numbers: dict[str, Any] = {"attempt": 5 if begun else 0, "max_attempts": 6, "timeout": 60}
    numbers["waits_for"] = "lane" if state == State.BLOCKED else ""
    progress = {"progress_done": 1, "progress_total": 2, "worker": worker.pk if begun else None}
    return _row(
        Job,
        state=state,
        owner=owner,
        about=owner,
        **times,
        **numbers,
        **progress,
    )


def _row(model: Any, **values: Any) -> models.Model:
    texts = text_fields(model, PLAIN)
    texts.pop("dedup_slot", None)
    row: models.Model = model._base_manager.create(**{**texts, **values})
    return row


def _times(*names: str) -> dict[str, Any]:
    return {f"{name}_at": timezone.now() - timedelta(minutes=5) for name in names}


def snapshot() -> dict[str, list[dict[str, Any]]]:
    """All rows of our tables."""
    models_of_app: list[Any] = list(apps.get_app_config("django_bgtasks").get_models())
    return {m.__name__: list(m._base_manager.order_by("pk").values()) for m in models_of_app}


class Page(HTMLParser):
    """A page as a browser's parser sees it.

    elements: how often each is there, with the names of its attributes. texts: what it says, in
    text and in attributes. faults: what a strict Content-Security-Policy would not let pass.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[tuple[str, ...]] = Counter()
        self.faults: list[str] = []
        self.texts: list[str] = []
        self._inline = False
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        """All that it says, in one string."""
        return "\n".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, *(name for name, _ in attrs)] += 1
        self.texts += [value for _, value in attrs if value]
        self.faults += [f"<{tag} {name}={value!r}>" for name, value in _refused(tag, attrs)]
        given = dict(attrs)
        data = given.get("type") == "application/json"
        self._inline = tag == "style" or (tag == "script" and "src" not in given and not data)

    def handle_endtag(self, tag: str) -> None:
        self._inline = False

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._inline:
            self.faults.append(f"inline: {data!r}")

    def handle_comment(self, data: str) -> None:
        self.elements[("comment",)] += 1


def _refused(tag: str, attrs: list[tuple[str, str | None]]) -> Iterator[tuple[str, str | None]]:
    for name, value in attrs:
        address = urlsplit((value or "").strip()) if name in ADDRESSES else None
        elsewhere = address is not None and (address.scheme or address.netloc)
        # A link may lead to another site, and the admin has one to Django's.
        leads_away = elsewhere and not (tag == "a" and address and address.scheme == "https")
        if name.startswith("on") or name in ("style", "srcdoc") or leads_away:
            yield name, value
