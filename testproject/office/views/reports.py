"""Asking for a report and downloading it."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from django_bgtasks import idempotent, refuse_when_full

from ..answers import answer, member
from ..models import Report
from ..tasks.reports import build_report

TYPES = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf"}


@login_required
@refuse_when_full
@idempotent
def reports(request: HttpRequest) -> HttpResponse:
    """List the member's reports, or have one built."""
    owner = member(request)
    if request.method != "POST":
        rows = Report.objects.filter(owner=owner)[:60]
        return render(request, "office/reports.html", {"reports": rows})
    result = build_report.using(owner=owner).enqueue(owner.pk)
    return answer(request, result)


@login_required
def download(request: HttpRequest, report_id: UUID, kind: str) -> FileResponse:
    """A file of a report, for its owner only: for anybody else there is no such report."""
    report = get_object_or_404(Report, pk=report_id, owner=member(request))
    file = report.csv if kind == "csv" else report.pdf
    name = f"contacts-{report.created_at:%Y-%m-%d}.{kind}"
    response = FileResponse(
        file.open("rb"), as_attachment=True, filename=name, content_type=TYPES[kind]
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
