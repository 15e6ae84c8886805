"""A picture becomes three sizes."""

from __future__ import annotations

import io
from typing import IO, Any

from django.db import transaction
from PIL import Image, ImageCms, ImageOps

from django_bgtasks import GiveUp, JobContext, Retry, task

from ..files import written
from ..models import Picture, PictureSize
from ..uploads import SAME_CONTENT
from .tallies import add_to_tally

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 50_000_000
SIZES = {"large": 1920, "medium": 960, "small": 320}  # the longest side, in pixels


@task(
    queue_name="uploads",
    dedup_scope=SAME_CONTENT,
    on_failed="skip",
    timeout=60,
    retry=Retry(max_attempts=3, delays=[5, 60], on=OSError),
    takes_context=True,
)
def make_sizes(context: JobContext, picture_id: str) -> dict[str, Any]:
    """Make the sizes of a picture, as WebP without metadata. Again: the same files, once.

    Gives up on a file that is no picture or far too large: another attempt would not help.
    """
    picture = Picture.objects.get(pk=picture_id)
    context.progress(0, len(SIZES) + 1, "Reading the picture")
    image = opened(picture.file.path, picture.name)
    sizes = []
    for done, name in enumerate(SIZES, start=1):
        context.progress(done, len(SIZES) + 1, f"Making the {name} size")
        sizes.append(made(picture, image, name))
    record(picture, sizes)
    context.progress(len(SIZES) + 1, len(SIZES) + 1, "Done")
    return {"sizes": [f"{size.width}×{size.height}" for size in reversed(sizes)]}


def opened(file: str | IO[bytes], name: str) -> Image.Image:
    """The decoded picture, upright and in sRGB; GiveUp if there is none in the file."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            # The header says the size: a decompression bomb is refused before it is decoded.
            if image.width * image.height > MAX_PIXELS:
                raise GiveUp(
                    f"{name} has {image.width} × {image.height} pixels; "
                    f"at most {MAX_PIXELS // 10**6} million are taken."
                )
            image.load()
            return in_srgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow's own message may name the file's path, which is not for the member to see.
        raise GiveUp(
            f"{name} is not a picture that can be read, or not all of it arrived. "
            f"Upload a JPEG, PNG, WebP or GIF."
        ) from error


def in_srgb(image: Image.Image) -> Image.Image:
    """The same colours without the profile that describes them."""
    profile = image.info.get("icc_profile")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    if profile and image.mode in ("RGB", "RGBA"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, source, target, outputMode=mode) or image
        except ImageCms.PyCMSError:
            pass  # a broken profile says nothing about the colours: take them as sRGB
    return image.convert(mode)


def made(picture: Picture, image: Image.Image, name: str) -> PictureSize:
    """Shrink the image to one size and write it; what comes next is smaller and shrinks it on."""
    image.thumbnail((SIZES[name], SIZES[name]), Image.Resampling.LANCZOS, reducing_gap=3.0)
    path = f"picture/{picture.pk.hex}/{name}.webp"
    with written(path) as file:
        image.save(file, "WEBP", quality=80, method=4, exif=b"", xmp=b"", icc_profile=b"")
        size = file.stat().st_size
    return PictureSize(
        picture=picture,
        name=name,
        width=image.width,
        height=image.height,
        bytes=size,
        file=path,
    )


def record(picture: Picture, sizes: list[PictureSize]) -> None:
    """Note the sizes once, and count the picture in the same transaction."""
    with transaction.atomic():
        Picture.objects.select_for_update().get(pk=picture.pk)
        if not picture.sizes.exists():
            PictureSize.objects.bulk_create(sizes)
            add_to_tally.enqueue("pictures", 1)
