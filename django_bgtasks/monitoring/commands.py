"""The commands that a cure names, as they are typed."""

from __future__ import annotations

from shlex import quote

from ..core.options import default_backend


def to_type(command: str, backend: str, name: str = "") -> str:
    """The command about this backend, and about one queue or schedule of it."""
    words = ["python manage.py", command]
    if backend != default_backend():
        words.append(f"--backend {quote(backend)}")
    if name.startswith("-"):
        words.append("--")
    return " ".join([*words, *([quote(name)] if name else [])])
