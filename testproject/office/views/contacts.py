"""Uploading contacts and looking at an import."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from django_bgtasks import refuse_when_full

from ..answers import answer, member, refuse
from ..forms import ContactsForm
from ..models import Import
from ..tasks.contacts import import_contacts
from ..uploads import row_of_upload
from .jobs import latest_job

TEMPLATE = "office/contacts.html"


@login_required
@refuse_when_full
def contacts(request: HttpRequest) -> HttpResponse:
    """List the member's imports, or take one more file."""
    owner = member(request)
    imports = Import.objects.filter(owner=owner)[:60]
    if request.method != "POST":
        return render(request, TEMPLATE, {"form": ContactsForm(), "imports": imports})
    form = ContactsForm(request.POST, request.FILES)
    if not form.is_valid():
        return refuse(request, TEMPLATE, form, imports=imports)
    with row_of_upload(Import, owner, form.cleaned_data["file"]) as source:
        job = import_contacts.using(dedup_key=source.content_key, sequence=source.sequence)
        result = job.using(owner=owner, about=source).enqueue(str(source.pk))
    return answer(request, result)


@login_required
def import_page(request: HttpRequest, import_id: UUID) -> HttpResponse:
    """One import and its contacts."""
    source = get_object_or_404(Import, pk=import_id, owner=member(request))
    page = Paginator(source.contacts.all(), 25).get_page(request.GET.get("page"))
    context = {"source": source, "page": page, "job": latest_job(source)}
    return render(request, "office/import.html", context)
