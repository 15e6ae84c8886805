"""A traceback for who wrote the site: its own frames stand out, those of libraries are folded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

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
    kinds = list(_kinds(text.splitlines()))
    if all(kind != OWN for kind, _line in kinds):
        return code(text)
    runs = groupby(kinds, key=itemgetter(0))
    drawn = ((_drawn(kind, [line for _kind, line in run]),) for kind, run in runs)
    return format_html(
        '<div class="bgtasks-traceback" tabindex="0">{}</div>', format_html_join("", "{}", drawn)
    )


def _kinds(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Each line with its kind; what is indented below a frame belongs to the frame."""
    kind = TEXT
    for line in lines:
        if frame := FRAME.match(line):
            kind = FOLDED if LIBRARY.search(frame["path"]) else OWN
        elif not line.startswith("  "):
            kind = TEXT
        yield kind, line


def _drawn(kind: str, lines: list[str]) -> SafeString:
    text = "\n".join(lines)
    if kind != FOLDED:
        return format_html('<pre class="bgtasks-{}">{}</pre>', kind, text)
    frames = sum(FRAME.match(line) is not None for line in lines)
    label = ngettext("%d frame of a library", "%d frames of libraries", frames) % frames
    return format_html("<details><summary>{}</summary><pre>{}</pre></details>", label, text)
