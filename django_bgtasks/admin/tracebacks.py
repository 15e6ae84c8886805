"""A traceback for who wrote the site: its own frames stand out, those of libraries are counted.

An exception group has each of its exceptions folded. The whole text is a step further.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .formatting import code

FRAME = re.compile(r'^ +File "(?P<path>.+)", line \d+')
# Told by the path alone: the worker that wrote it may be another host, with another Python.
LIBRARY = re.compile(
    r"[/\\](site|dist)-packages[/\\]|[/\\]lib[/\\]python3|[/\\]django_bgtasks[/\\]|^<frozen ",
    re.IGNORECASE,
)
# What Python draws around the exceptions of a group.
NUMBERED = re.compile(r"^ *(?:\+-)?\+-+ (?P<number>\d+|\.\.\.) -+$")
END = re.compile(r"^ *\+-+$")
MARGIN = re.compile(r"^ *[|+] ?")
OWN, FOLDED, TEXT = "own", "folded", "text"


@dataclass
class Part:
    """The lines of one exception, without a margin. numbers: its place in the groups around it."""

    numbers: tuple[str, ...] = ()
    lines: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Its number and its message."""
        messages = [line for line in self.lines if line and not line.startswith((" ", "Traceback"))]
        return ": ".join(filter(None, (".".join(self.numbers), messages[-1] if messages else "")))


def traceback_html(text: str) -> SafeString:
    """The site's own frames, and the whole text folded; that alone when no frame is the site's."""
    parts = list(_parts(text.splitlines()))
    kinds = {kind for part in parts for kind, _line in _kinds(part.lines)}
    if OWN not in kinds and len(parts) == 1:
        return code(text)
    blocks = [_exception(part) for part in parts]
    if FOLDED in kinds or len(parts) > 1:
        whole = "<details><summary>{}</summary><pre>{}</pre></details>"
        blocks.append(format_html(whole, _("The whole traceback"), text))
    return format_html(
        '<div class="bgtasks-traceback" tabindex="0">{}</div>',
        format_html_join("", "{}", ((part,) for part in blocks)),
    )


def _parts(lines: list[str]) -> Iterator[Part]:
    """The exception itself, and those of its groups, each behind the one that it is in."""
    if not any(NUMBERED.match(line) for line in lines):
        yield Part(lines=lines)
        return
    part = Part()
    places: list[tuple[int, str]] = []
    for line in lines:
        if found := NUMBERED.match(line):
            yield part
            column = line.rindex("+")
            places = [place for place in places if place[0] < column]
            places.append((column, found["number"]))
            part = Part(tuple(number for _column, number in places))
        elif not (places and END.match(line)):
            part.lines.append(MARGIN.sub("", line))
    yield part


def _exception(part: Part) -> SafeString:
    runs = groupby(_kinds(part.lines), key=itemgetter(0))
    drawn = ((_drawn(kind, [line for _kind, line in run]),) for kind, run in runs)
    lines = format_html_join("", "{}", drawn)
    if not part.numbers:
        return lines
    folded = '<details data-depth="{}"><summary>{}</summary>{}</details>'
    return format_html(folded, len(part.numbers), part.title, lines)


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
    if kind != FOLDED:
        return format_html('<pre class="bgtasks-{}">{}</pre>', kind, "\n".join(lines))
    frames = sum(FRAME.match(line) is not None for line in lines)
    label = ngettext("%d frame of a library", "%d frames of libraries", frames) % frames
    return format_html('<p class="bgtasks-folded">{}</p>', label)
