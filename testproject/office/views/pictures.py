"""Uploading pictures and looking at their sizes."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from django_bgtasks import refuse_when_full

from ..answers import answer, member, refuse
from ..forms import PictureForm
from ..models import Picture, PictureSize
from ..tasks.pictures import make_sizes
from ..uploads import row_of_upload
from .jobs import latest_job

TEMPLATE = "office/pictures.html"


@login_required
@refuse_when_full
def pictures(request: HttpRequest) -> HttpResponse:
    """List the member's pictures, or take one more."""
    owner = member(request)
    rows = Picture.objects.filter(owner=owner).prefetch_related("sizes")[:60]
    if request.method != "POST":
        return render(request, TEMPLATE, {"form": PictureForm(), "pictures": rows})
    form = PictureForm(request.POST, request.FILES)
    if not form.is_valid():
        return refuse(request, TEMPLATE, form, pictures=rows)
    with row_of_upload(Picture, owner, form.cleaned_data["file"]) as picture:
        job = make_sizes.using(dedup_key=picture.content_key, sequence=picture.sequence)
        result = job.using(owner=owner, about=picture).enqueue(str(picture.pk))
    return answer(request, result)


@login_required
def picture(request: HttpRequest, picture_id: UUID) -> HttpResponse:
    """One picture and its sizes."""
    found = get_object_or_404(Picture, pk=picture_id, owner=member(request))
    context = {"picture": found, "sizes": found.sizes.all(), "job": latest_job(found)}
    return render(request, "office/picture.html", context)


@login_required
def picture_size(request: HttpRequest, picture_id: UUID, name: str) -> FileResponse:
    """The file of one size, for the picture's owner only."""
    size = get_object_or_404(
        PictureSize, picture=picture_id, picture__owner=member(request), name=name
    )
    response = FileResponse(size.file.open("rb"), content_type="image/webp")
    response.headers["Content-Disposition"] = f'inline; filename="{name}.webp"'
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response
