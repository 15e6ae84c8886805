"""The commands that a cure names, as they are typed."""

from __future__ import annotations

from shlex import quote

from ..core.options import default_backend


def to_type(command: str, backend: str, *names: str) -> str:
    """The command about this backend, and about a queue of it, or what it does to a schedule."""
    words = ["python manage.py", command]
    if backend != default_backend():
        words.append(f"--backend {quote(backend)}")
    if any(name.startswith("-") for name in names):
        words.append("--")
    return " ".join([*words, *map(quote, names)])
