"""A zip of pictures becomes thumbnails, all at once, then one contact sheet, and then a mail."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import IO, Any

from django.conf import settings
from django.core.files.storage import default_storage
from PIL import Image

from django_bgtasks import RESULTS, BatchHandle, GiveUp, JobContext, Retry, chain, group, task

from ..files import written
from ..mail import send_now
from ..models import Album, AlbumPicture
from .emails import SENDING
from .pictures import opened

MOST = 200
MOST_BYTES = 25 * 1024**2
SIDE, GAP, COLUMNS = 160, 12, 6
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
READING = Retry(max_attempts=3, delays=[5, 60], on=OSError)


def process(album: Album) -> BatchHandle:
    """Enqueue all that becomes of an album; of one album only once at a time."""
    owner, key = album.owner, str(album.pk)
    flow = chain(
        unpack.using(owner=owner, about=album).step(key),
        # Empty here: only the zip says how many pictures there are.
        group(name="pictures"),
        make_sheet.using(owner=owner, about=album).step(key, RESULTS),
        mail_sheet.using(owner=owner, about=album).step(key),
    )
    return flow.using(
        name=f"album {album.name}"[:200], dedup_key=f"album:{key}", owner=owner, about=album
    ).enqueue()


@task(queue_name="uploads", timeout=120, retry=READING, takes_context=True, atomic=True)
def unpack(context: JobContext, album_id: str) -> dict[str, int]:
    """List the pictures of a zip, and add a step for each.

    Atomic: rows and steps commit with the success of this attempt, so that a second attempt adds
    no second ones.
    """
    album = Album.objects.select_related("owner").get(pk=album_id)
    rows = [AlbumPicture(album=album, entry=entry) for entry in entries_of(album)]
    for row in rows:
        row.save()
    context.batch["pictures"].add(
        make_thumbnail.using(owner=album.owner, about=row).step(row.pk, str(row)) for row in rows
    )
    return {"pictures": len(rows)}


@task(queue_name="uploads", timeout=60, retry=READING, label="{name}")
def make_thumbnail(picture_id: int, name: str) -> dict[str, Any]:
    """A small square of one picture, as WebP. Again: the same file."""
    picture = AlbumPicture.objects.select_related("album").get(pk=picture_id)
    with content_of(picture) as file:
        image = opened(file, name)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    path = f"album/{picture.album_id.hex}/{picture_id}.webp"
    with written(path) as place:
        image.save(place, "WEBP", quality=80, exif=b"", xmp=b"", icc_profile=b"")
    AlbumPicture.objects.filter(pk=picture_id).update(thumbnail=path)
    return {"pixels": f"{image.width}×{image.height}", "file": path}


@task(queue_name="uploads", timeout=120, retry=READING)
def make_sheet(album_id: str, thumbnails: list[dict[str, Any]]) -> dict[str, int]:
    """All thumbnails on one picture, in their order."""
    rows = -(-len(thumbnails) // COLUMNS)
    size = (COLUMNS * (SIDE + GAP) + GAP, rows * (SIDE + GAP) + GAP)
    sheet = Image.new("RGB", size, "white")
    for number, thumbnail in enumerate(thumbnails):
        row, column = divmod(number, COLUMNS)
        with default_storage.open(thumbnail["file"]) as file, Image.open(file) as image:
            left = GAP + column * (SIDE + GAP) + (SIDE - image.width) // 2
            top = GAP + row * (SIDE + GAP) + (SIDE - image.height) // 2
            sheet.paste(image.convert("RGB"), (left, top))
    path = f"album/{album_id}/sheet.webp"
    with written(path) as place:
        sheet.save(place, "WEBP", quality=85)
    Album.objects.filter(pk=album_id).update(sheet=path)
    return {"on_sheet": len(thumbnails)}


@task(queue_name="emails", timeout=30, retry=SENDING, takes_context=True)
def mail_sheet(context: JobContext, album_id: str) -> dict[str, str]:
    """Tell the member that the sheet is there, once."""
    return {"to": context.once("send", tell, album_id, context.idempotency_key)}


def tell(album_id: str, key: str) -> str:
    """Send the email and return the address it went to."""
    album = Album.objects.select_related("owner").get(pk=album_id)
    values = {"album": album, "count": album.pictures.count(), "site": settings.SITE_URL}
    send_now("album", values, album.owner.email, key)
    return album.owner.email


def entries_of(album: Album) -> list[str]:
    """The paths of the pictures in a zip; GiveUp if it is none, or too much."""
    try:
        with album.file.open("rb") as file, zipfile.ZipFile(file) as archive:
            found = [one for one in archive.infolist() if is_picture(one)]
    except zipfile.BadZipFile:
        raise GiveUp(f"{album.name} is not a zip file that can be read.") from None
    if not 0 < len(found) <= MOST:
        raise GiveUp(f"{album.name} has {len(found)} pictures; it should have 1 to {MOST}.")
    if any(one.file_size > MOST_BYTES or len(one.filename) > 200 for one in found):
        raise GiveUp(f"{album.name} has a picture of more than {MOST_BYTES // 1024**2} MB.")
    return sorted({one.filename for one in found})


def is_picture(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is named as a picture, and is none of what a Mac adds."""
    path = PurePath(entry.filename)
    is_named_so = path.suffix.lower() in PICTURES and not entry.is_dir()
    return is_named_so and not path.name.startswith(".") and path.parts[0] != "__MACOSX"


@contextmanager
def content_of(picture: AlbumPicture) -> Iterator[IO[bytes]]:
    """The file of a picture: the member's replacement, or the one in the zip."""
    if picture.replacement:
        with picture.replacement.open("rb") as file:
            yield file
        return
    with (
        picture.album.file.open("rb") as file,
        zipfile.ZipFile(file) as archive,
        archive.open(picture.entry) as entry,
    ):
        # Never more than that, whatever the zip says of itself.
        yield io.BytesIO(entry.read(MOST_BYTES))
