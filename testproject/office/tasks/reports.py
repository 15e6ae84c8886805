"""A report of all that a member has imported, as a CSV and as a PDF."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from django_bgtasks import JobContext, Retry, task

from ..files import written
from ..models import Contact, Import, Report
from ..pdf import Section, write_pdf

FIELDS = ("name", "email", "company", "city")
CHUNK = 2_000
MOST_ROWS = 200


@task(
    queue_name="reports",
    dedup_key="report:{owner_id}",
    timeout=900,
    retry=Retry(max_attempts=3, delays=[5, 60]),
    takes_context=True,
)
def build_report(context: JobContext, owner_id: int) -> dict[str, Any]:
    """Write the files and note them. Again: the same names, and one report for one job."""
    owner = User.objects.get(pk=owner_id)
    folder = f"report/{context.job_id.hex}"
    with written(f"{folder}/contacts.csv") as path:
        rows = write_csv(context, path, owner)
    with written(f"{folder}/summary.pdf") as path:
        context.progress(rows, rows + 1, "Setting the PDF")
        write_pdf(path, f"Contacts of {owner.username}", sections(owner, rows))
    report = record(context, owner, rows, folder)
    context.progress(rows + 1, rows + 1, "Done")
    return {"rows": rows, "csv_bytes": report.csv.size, "pdf_bytes": report.pdf.size}


def write_csv(context: JobContext, path: Path, owner: User) -> int:
    """Write every contact, CHUNK in memory at a time, and return how many there were."""
    total = Contact.objects.filter(source__owner=owner).count()
    written_rows = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for chunk in chunks(owner):
            writer.writerows([harmless(cell) for cell in row] for _, *row in chunk)
            written_rows += len(chunk)
            message = f"{written_rows:,} of {total:,} contacts written"
            context.progress(written_rows, max(total, written_rows) + 1, message)
    return written_rows


def chunks(owner: User) -> Iterator[list[tuple[Any, ...]]]:
    """The member's contacts, CHUNK at a time, each with its primary key first.

    Every chunk is a query of its own: on SQLite a query that stays open while the task reports its
    progress would be refused with "database is locked" as soon as another process has written.
    """
    for source in Import.objects.filter(owner=owner).order_by("uploaded_at"):
        rows = source.contacts.order_by("pk").values_list("pk", *FIELDS)
        chunk = list(rows[:CHUNK])
        while chunk:
            yield chunk
            chunk = list(rows.filter(pk__gt=chunk[-1][0])[:CHUNK])


def harmless(cell: str) -> str:
    """The cell, quoted where a spreadsheet would take it for a formula and run it."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def sections(owner: User, rows: int) -> Iterator[Section]:
    """What the PDF says."""
    contacts = Contact.objects.filter(source__owner=owner)
    imports = Import.objects.filter(owner=owner).order_by("uploaded_at")
    yield (
        f"{rows:,} contacts, {timezone.now():%d %B %Y}",
        [("File", "Contacts", "Skipped", "Size")]
        + [(i.name, f"{i.rows:,}", f"{i.skipped:,}", f"{i.size:,} bytes") for i in imports],
    )
    cities = contacts.exclude(city="").values_list("city").annotate(n=Count("pk")).order_by("-n")
    yield "Most frequent cities", [("City", "Contacts"), *((c, f"{n:,}") for c, n in cities[:10])]
    first = [row for _, *row in next(chunks(owner), [])[:MOST_ROWS]]
    yield f"The first {len(first)} contacts; the CSV has all", [FIELDS, *first]


def record(context: JobContext, owner: User, rows: int, folder: str) -> Report:
    """Note the report and tell its owner. The email is a job of its own, of this transaction."""
    files = {"csv": f"{folder}/contacts.csv", "pdf": f"{folder}/summary.pdf"}
    with transaction.atomic():
        report, new = Report.objects.get_or_create(
            job_id=context.job_id, defaults={"owner": owner, "rows": rows, **files}
        )
        if new:
            send_mail(
                "Your report is ready",
                f"{rows:,} contacts: {settings.SITE_URL}{report.get_absolute_url()}",
                None,
                [owner.email],
            )
    return report
