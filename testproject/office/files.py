"""Writing files under MEDIA_ROOT: whole or not at all, and again without harm."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.files.storage import default_storage


@contextmanager
def written(name: str) -> Iterator[Path]:
    """A path to write to; when the block ends well, that file is `name` in the media storage.

    A block that raises, or a process that dies in it, leaves the earlier file as it was.
    """
    place = Path(default_storage.path(name))
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=".", suffix=place.suffix)
    os.close(descriptor)
    path = Path(name)
    try:
        yield path
        path.replace(place)
    finally:
        path.unlink(missing_ok=True)
