"""The site's secret key: from the environment, or made once and kept in a file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def secret_key(path: Path) -> str:
    """The key in DJANGO_SECRET_KEY, else the one in `path`, which is made if it is missing."""
    if key := os.environ.get("DJANGO_SECRET_KEY"):
        return key
    try:
        # Created with its mode, and only if it is new: of two processes that start, one wins.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text()
    with os.fdopen(descriptor, "w") as file:
        file.write(key := secrets.token_urlsafe(50))
    return key
