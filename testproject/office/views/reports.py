"""Asking for a report, now or every week, and downloading it."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from django_bgtasks import idempotent, refuse_when_full, remove_schedule, set_schedule
from django_bgtasks.models import Job, Schedule

from ..answers import answer, member, refuse
from ..forms import ReportScheduleForm
from ..models import Report
from ..tasks.reports import build_report

TYPES = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf"}
SCHEDULE_PAGE = "office/report_schedule.html"


@login_required
@refuse_when_full
@idempotent
def reports(request: HttpRequest) -> HttpResponse:
    """List the member's reports, or have one built."""
    owner = member(request)
    if request.method != "POST":
        rows = Report.objects.filter(owner=owner)[:60]
        context = {"reports": rows, "schedule": schedule_of(owner)}
        return render(request, "office/reports.html", context)
    result = build_report.using(owner=owner).enqueue(owner.pk)
    return answer(request, result)


@login_required
def schedule(request: HttpRequest) -> HttpResponse:
    """Have a report built by the clock: one schedule for each member, whose name is theirs."""
    owner = member(request)
    found = schedule_of(owner)
    if request.method != "POST":
        last = Job.objects.filter(schedule=found.pk).first() if found else None
        context = {"form": ReportScheduleForm.of(found), "schedule": found, "last": last}
        return render(request, SCHEDULE_PAGE, context)
    form = ReportScheduleForm(request.POST)
    if not form.is_valid():
        return refuse(request, SCHEDULE_PAGE, form, schedule=found)
    report = build_report.using(owner=owner)
    set_schedule(schedule_name(owner), report, form.timing(), args=[owner.pk])
    messages.success(request, "Your report is scheduled.")
    return redirect("office:report_schedule")


@login_required
@require_POST
def remove(request: HttpRequest) -> HttpResponse:
    """No more reports by the clock."""
    remove_schedule(schedule_name(member(request)))
    messages.success(request, "Reports come only when you ask for one.")
    return redirect("office:reports")


def schedule_of(owner: User) -> Schedule | None:
    """The schedule of a member's reports."""
    return Schedule.objects.filter(name=schedule_name(owner)).first()


def schedule_name(owner: User) -> str:
    """What it is called."""
    return f"report-{owner.pk}"


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
