"""The first page: what there is, and the member's latest jobs."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from django_bgtasks.models import Job

from ..models import Tally

LATEST = 8


def home(request: HttpRequest) -> HttpResponse:
    """Say hello, or show where things stand."""
    context: dict[str, QuerySet[Any]] = {"tallies": Tally.objects.all()}
    if request.user.is_authenticated:
        context["jobs"] = Job.objects.filter(owner=request.user)[:LATEST]
    return render(request, "office/home.html", context)
