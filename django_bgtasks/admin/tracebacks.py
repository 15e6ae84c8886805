"""A traceback for who wrote the site: its own frames stand out, those of libraries are folded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from .formatting import code

FRAME = re.compile(r'^ +File "(?P<path>.+)", line \d+')
# Told by the path alone: the worker that wrote it may be another host, with another Python.
LIBRARY = re.compile(
    r"[/\\](site|dist)-packages[/\\]|[/\\]lib[/\\]python3|[/\\]django_bgtasks[/\\]|^<frozen ",
    re.IGNORECASE,
)
OWN, FOLDED, TEXT = "own", "folded", "text"


def traceback_html(text: str) -> SafeString:
    """The whole text, nothing left out; as it is when no frame in it is the site's own."""
    parts = list(_parts(text))
    if OWN not in {kind for kind, _lines, _frames in parts}:
        return code(text)
    drawn = ((_drawn(*part),) for part in parts)
    return format_html(
        '<div class="bgtasks-traceback" tabindex="0">{}</div>', format_html_join("", "{}", drawn)
    )


def _parts(text: str) -> Iterator[tuple[str, list[str], int]]:
    """(kind, lines, number of frames) of each run of lines of one kind."""
    kinds = _kinds(text.splitlines())
    for kind, run in groupby(kinds, key=lambda pair: pair[0]):
        lines = [line for _kind, line in run]
        yield kind, lines, sum(1 for line in lines if FRAME.match(line))


def _kinds(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Each line with its kind; what is indented below a frame belongs to the frame."""
    kind = TEXT
    for line in lines:
        if frame := FRAME.match(line):
            kind = FOLDED if LIBRARY.search(frame["path"]) else OWN
        elif not line.startswith("  "):
            kind = TEXT
        yield kind, line


def _drawn(kind: str, lines: list[str], frames: int) -> SafeString:
    text = "\n".join(lines)
    if kind != FOLDED:
        return format_html('<pre class="bgtasks-{}">{}</pre>', kind, text)
    label = ngettext("%d frame of a library", "%d frames of libraries", frames) % frames
    return format_html("<details><summary>{}</summary><pre>{}</pre></details>", label, text)
