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
from django.db.models import Count, QuerySet
from django.utils import timezone

from django_bgtasks import JobContext, Retry, task

from ..files import written
from ..models import Contact, Import, Report
from ..pdf import Section, write_pdf

FIELDS = ("name", "email", "company", "city")
CHUNK = 2_000
SHOWN = 200


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
    contacts = Contact.objects.filter(source__owner=owner)
    folder = f"report/{context.job_id.hex}"
    with written(f"{folder}/contacts.csv") as path:
        rows = write_csv(context, path, contacts)
    with written(f"{folder}/summary.pdf") as path:
        context.progress(rows, rows + 1, "Setting the PDF")
        write_pdf(path, f"Contacts of {owner.username}", sections(owner, contacts, rows))
    report = record(context, owner, rows, folder)
    context.progress(rows + 1, rows + 1, "Done")
    return {"rows": rows, "csv_bytes": report.csv.size, "pdf_bytes": report.pdf.size}


def write_csv(context: JobContext, path: Path, contacts: QuerySet[Contact]) -> int:
    """Write every contact, CHUNK in memory at a time, and return how many there were."""
    total, row = contacts.count(), 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        records = contacts.order_by("pk").values_list(*FIELDS).iterator(chunk_size=CHUNK)
        for row, record in enumerate(records, start=1):
            writer.writerow([harmless(cell) for cell in record])
            if row % CHUNK == 0:
                context.progress(row, max(total, row) + 1, f"{row:,} of {total:,} contacts written")
    return row


def harmless(cell: str) -> str:
    """The cell, quoted where a spreadsheet would take it for a formula and run it."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def sections(owner: User, contacts: QuerySet[Contact], rows: int) -> Iterator[Section]:
    """What the PDF says."""
    imports = Import.objects.filter(owner=owner).order_by("uploaded_at")
    yield (
        f"{rows:,} contacts, {timezone.now():%d %B %Y}",
        [("File", "Contacts", "Skipped", "Size")]
        + [(i.name, f"{i.rows:,}", f"{i.skipped:,}", f"{i.size:,} bytes") for i in imports],
    )
    cities = contacts.exclude(city="").values_list("city").annotate(n=Count("pk")).order_by("-n")
    yield "Most frequent cities", [("City", "Contacts"), *((c, f"{n:,}") for c, n in cities[:10])]
    first = contacts.order_by("pk").values_list(*FIELDS)[:SHOWN]
    yield f"The first {min(rows, SHOWN)} contacts; the CSV has all", [FIELDS, *first]


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
