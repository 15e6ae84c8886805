"""A CSV file becomes contacts: in chunks, in flat memory, and never twice."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

from django.db import reset_queries, transaction
from django.utils import timezone

from django_bgtasks import GiveUp, JobContext, Retry, RetryLater, task

from ..models import Contact, Import
from ..uploads import SAME_CONTENT
from .tallies import add_to_tally

CHUNK = 2_000
MAX_LINE = 64 * 1024
PROBLEMS_KEPT = 10
LIMITS = {"name": 200, "email": 254, "company": 200, "city": 100}


@task(
    queue_name="uploads",
    dedup_scope=SAME_CONTENT,
    # Of one member's uploads one at a time; a file that cannot be read stops none behind it.
    on_failed="skip",
    timeout=3600,
    retry=Retry(max_attempts=5, delays=[1, 30, 300]),
    takes_context=True,
)
def import_contacts(context: JobContext, import_id: str) -> dict[str, int]:
    """Import a file's rows as contacts. An attempt goes on where the last one was cut off."""
    source = Import.objects.get(pk=import_id)
    with source.file.open("rb") as file:
        lines = Lines(file, source.name)
        columns = lines.header()
        lines.go_on_at(source)
        records = csv.reader(lines)
        while chunk := take(records, source.name):
            store(source, lines, [contact_of(source, columns, row) for row in chunk])
            context.progress(source.offset, source.size, f"{source.rows:,} contacts imported")
    finish(source)
    context.progress(source.size, source.size, f"{source.rows:,} contacts imported")
    return {"contacts": source.rows, "skipped": source.skipped}


class Lines:
    """The lines of a file as text, and the offset in bytes behind the last one that was read."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.file, self.name = file, name
        self.offset = self.number = 0

    def __iter__(self) -> Iterator[str]:
        # A limit on the line: a "CSV" without line ends would be read into memory as a whole.
        while line := self.file.readline(MAX_LINE + 1):
            self.offset += len(line)
            self.number += 1
            if len(line) > MAX_LINE:
                raise GiveUp(f"{self.where()} is longer than {MAX_LINE} bytes: is this a CSV file?")
            yield self.text(line)

    def where(self) -> str:
        """The place that was read last, for a message."""
        return f"{self.name}: line {self.number}"

    def text(self, line: bytes) -> str:
        """The line decoded, without the mark that some programs put before the first one."""
        try:
            return line.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise GiveUp(f"{self.where()} is not UTF-8. Save the file as UTF-8 CSV.") from None

    def header(self) -> list[str]:
        """The names of the columns; GiveUp when name or email is missing."""
        names = [name.strip().lower() for name in next(csv.reader(self), [])]
        if missing := {"name", "email"} - set(names):
            raise GiveUp(
                f"{self.name} has no column {' and no '.join(sorted(missing))}. Its first line "
                f"must name the columns; it names: {', '.join(names)[:100] or 'nothing'}."
            )
        return names

    def go_on_at(self, source: Import) -> None:
        """Move to where the last committed chunk ended."""
        if source.offset:
            self.file.seek(source.offset)
            self.offset, self.number = source.offset, source.lines


def take(records: Iterator[list[str]], name: str) -> list[list[str]]:
    """The next rows, at most CHUNK; none at the end of the file."""
    try:
        return list(islice(records, CHUNK))
    except csv.Error as error:
        raise GiveUp(f"{name} is not valid CSV: {error}.") from error


def contact_of(source: Import, columns: list[str], row: list[str]) -> Contact | str:
    """The contact of a row, or what is wrong with it."""
    values = {
        name: value.strip() for name, value in zip(columns, row, strict=False) if name in LIMITS
    }
    if not values.get("name") or "@" not in values.get("email", ""):
        return f"no name or no email address: {','.join(row)[:80]}"
    for name, value in values.items():
        if len(value) > LIMITS[name] or "\0" in value:
            return f"the {name} is too long or not text: {value[:80]}"
    return Contact(source=source, **values)


def store(source: Import, lines: Lines, rows: list[Contact | str]) -> None:
    """Commit a chunk with the offset behind it.

    The offset moves only from where this attempt found it: of two attempts that overlap, say after
    a worker was given up for dead too early, one gets nowhere and its rows are rolled back.
    """
    contacts = [row for row in rows if isinstance(row, Contact)]
    problems = [row.replace("\0", "") for row in rows if isinstance(row, str)]
    moved: dict[str, Any] = {
        "offset": lines.offset,
        "lines": lines.number,
        "rows": source.rows + len(contacts),
        "skipped": source.skipped + len(problems),
        "problems": [*source.problems, *problems][:PROBLEMS_KEPT],
    }
    with transaction.atomic():
        Contact.objects.bulk_create(contacts, batch_size=CHUNK)
        if not Import.objects.filter(pk=source.pk, offset=source.offset).update(**moved):
            raise RetryLater(10, f"{source.name}: another attempt is importing this file")
    for field, value in moved.items():
        setattr(source, field, value)
    reset_queries()  # with DEBUG on, Django would keep the text of every INSERT


def finish(source: Import) -> None:
    """Note the end once, and count the contacts in the same transaction."""
    with transaction.atomic():
        unfinished = Import.objects.filter(pk=source.pk, finished_at=None)
        if unfinished.update(finished_at=timezone.now()):
            add_to_tally.enqueue("contacts", source.rows)
