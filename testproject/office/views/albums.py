"""Uploading a zip of pictures, and looking at how far its workflow is."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files.storage import default_storage
from django.db import transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_POST

from django_bgtasks import (
    BatchHandle,
    DuplicateJob,
    get_batch,
    refuse_when_full,
    retry_batch,
    status_url,
)
from django_bgtasks.models import Batch

from ..answers import member, refuse, wants_json
from ..forms import AlbumForm, PictureForm
from ..models import Album, AlbumPicture
from ..tasks.albums import process
from ..uploads import row_of_upload
from .jobs import failed_job, latest_jobs

TEMPLATE = "office/albums.html"


@login_required
@refuse_when_full
def albums(request: HttpRequest) -> HttpResponse:
    """List the member's albums, or take one more."""
    owner = member(request)
    rows = Album.objects.filter(owner=owner)[:60]
    if request.method != "POST":
        return render(request, TEMPLATE, {"form": AlbumForm(), "albums": rows})
    form = AlbumForm(request.POST, request.FILES)
    if not form.is_valid():
        return refuse(request, TEMPLATE, form, albums=rows)
    with row_of_upload(Album, owner, form.cleaned_data["file"]) as album:
        # The same zip again is the album that there is.
        if album.workflow is None:
            album.workflow = process(album).id
            album.save(update_fields=["workflow"])
    return answer(request, album)


def answer(request: HttpRequest, album: Album) -> HttpResponse:
    """202 with the address of the workflow's status for a script, 303 to its page for a browser."""
    response: HttpResponse
    if wants_json(request):
        response = JsonResponse({"id": str(album.pk), "workflow": str(album.workflow)}, status=202)
        response.headers["Location"] = request.build_absolute_uri(status_url(album.workflow))
    else:
        response = redirect(album)
        response.status_code = 303
    patch_vary_headers(response, ["Accept"])
    return response


@login_required
def album(request: HttpRequest, album_id: UUID) -> HttpResponse:
    """One album: how far it is, its pictures, and its sheet."""
    found = own_album(request, album_id)
    run = workflow_of(found)
    pictures = list(found.pictures.all())
    jobs = latest_jobs(pictures)
    context = {
        "album": found,
        "run": run,
        "progress": run.progress() if run else None,
        "failed": failed_job(found),
        "pictures": [(picture, jobs.get(picture.pk)) for picture in pictures],
        "form": PictureForm(auto_id=False),
    }
    return render(request, "office/album.html", context)


@login_required
def sheet(request: HttpRequest, album_id: UUID) -> FileResponse:
    """The contact sheet, for the album's owner only."""
    return webp(own_album(request, album_id).sheet.name or "")


@login_required
def thumbnail(request: HttpRequest, album_id: UUID, picture_id: int) -> FileResponse:
    """The thumbnail of one picture, for the album's owner only."""
    return webp(own_picture(request, album_id, picture_id).thumbnail.name or "")


@login_required
@require_POST
@refuse_when_full
def retry(request: HttpRequest, album_id: UUID) -> HttpResponse:
    """Try again what has failed; what has succeeded stays."""
    found = own_album(request, album_id)
    try_again(request, found)
    return redirect(found)


@login_required
@require_POST
@refuse_when_full
def replace(request: HttpRequest, album_id: UUID, picture_id: int) -> HttpResponse:
    """Take another file for a picture that could not be read, and go on."""
    picture = own_picture(request, album_id, picture_id)
    form = PictureForm(request.POST, request.FILES)
    if not form.is_valid():
        messages.warning(request, " ".join(map(str, form.errors["file"])))
        return redirect(picture.album)
    with transaction.atomic():
        picture.replacement = form.cleaned_data["file"]
        picture.save(update_fields=["replacement"])
        try_again(request, picture.album)
    return redirect(picture.album)


def try_again(request: HttpRequest, album: Album) -> None:
    """Retry what has failed in the workflow of an album."""
    if run := workflow_of(album):
        try:
            retry_batch(run.id, by=member(request).get_username())
        except DuplicateJob as error:
            messages.warning(request, str(error))


def workflow_of(album: Album) -> BatchHandle | None:
    """The workflow of an album; None if it was so long ago that its rows are deleted."""
    try:
        return get_batch(album.workflow) if album.workflow else None
    except Batch.DoesNotExist:
        return None


def own_album(request: HttpRequest, album_id: UUID) -> Album:
    """The member's own album, or 404."""
    return get_object_or_404(Album, pk=album_id, owner=member(request))


def own_picture(request: HttpRequest, album_id: UUID, picture_id: int) -> AlbumPicture:
    """A picture of the member's own album, or 404."""
    rows = AlbumPicture.objects.select_related("album")
    return get_object_or_404(rows, pk=picture_id, album=album_id, album__owner=member(request))


def webp(name: str) -> FileResponse:
    """A picture that a job has made, or 404."""
    if not name:
        raise Http404
    response = FileResponse(default_storage.open(name), content_type="image/webp")
    response.headers["X-Content-Type-Options"] = "nosniff"
    # A picture that is replaced has the same address.
    response.headers["Cache-Control"] = "private, no-cache"
    return response
