"""Charts as SVG: drawn here, so that they need no script, and styled by classes alone.

Each has a title and a description for who does not see it; the page has a table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 340, 170
LEFT, RIGHT, TOP, BOTTOM = 58, 4, 10, 24
ACROSS, DOWN = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


@dataclass(frozen=True, slots=True)
class Layer:
    """One kind of value, a number or None for each point. css: its colour and dash."""

    label: Any
    css: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Scale:
    """From a value to its height; `ticks` are the values that have a line."""

    ticks: tuple[float, ...]
    place: Callable[[float], float]
    text: Callable[[float], str]

    def y(self, value: float) -> float:
        """The distance from the top."""
        return round(TOP + DOWN * (1 - min(1.0, max(0.0, self.place(value)))), 1)


def counting(top: float, text: Callable[[float], str]) -> Scale:
    """From zero to a round number at or above `top`."""
    step = _round_step(max(top, 1) / 3)
    end = step * math.ceil(max(top, 1) / step)
    ticks = tuple(step * n for n in range(int(end / step) + 1))
    return Scale(ticks, lambda value: value / end, text)


def by_magnitude(values: Sequence[float], text: Callable[[float], str]) -> Scale:
    """Powers of ten: a wait of milliseconds and a run of minutes fit into one picture."""
    known = [value for value in values if value > 0] or [0.01, 1]
    low = math.floor(math.log10(min(known)))
    high = max(low + 1, math.ceil(math.log10(max(known))))
    ticks = tuple(10.0**power for power in range(low, high + 1))
    return Scale(ticks, lambda value: (math.log10(max(value, 1e-9)) - low) / (high - low), text)


def bars(
    ident: str, title: str, says: str, layers: Sequence[Layer], scale: Scale, times: Sequence[str]
) -> SafeString:
    """Stacked columns, the first layer at the bottom."""
    count = len(times)
    slot = ACROSS / max(count, 1)
    columns = []
    for place in range(count):
        below = 0.0
        for layer in layers:
            value = layer.values[place] or 0
            if value:
                top, foot = scale.y(below + value), scale.y(below)
                columns.append(
                    (layer.css, round(LEFT + slot * place, 2), top, round(slot * 0.8, 2),
                     round(max(foot - top, 0.5), 1), f"{times[place]}: {layer.label} {value:g}")
                )  # fmt: skip
                below += value
    column = '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
    drawn = format_html_join("", column, columns)
    return _chart(ident, title, says, scale, times, drawn)


def lines(
    ident: str, title: str, says: str, layers: Sequence[Layer], scale: Scale, times: Sequence[str]
) -> SafeString:
    """A line for each layer, broken where there is nothing."""
    slot = ACROSS / max(len(times), 1)
    paths = ((layer.css, _path(layer.values, slot, scale)) for layer in layers)
    drawn = format_html_join("", '<path class="bgtasks-line {}" d="{}"/>', paths)
    return _chart(ident, title, says, scale, times, drawn)


def _path(values: Sequence[float | None], slot: float, scale: Scale) -> str:
    steps, pen_is_down = [], False
    for place, value in enumerate(values):
        if value is not None:
            x, y = round(LEFT + slot * (place + 0.4), 1), scale.y(value)
            # A point without neighbours must be seen too.
            steps.append(f"L{x} {y}" if pen_is_down else f"M{x - 1.5:.1f} {y}h3")
        pen_is_down = value is not None
    return "".join(steps)


def _chart(
    ident: str, title: str, says: str, scale: Scale, times: Sequence[str], drawn: SafeString
) -> SafeString:
    return format_html(
        '<svg class="bgtasks-chart" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="{ident}-title {ident}-says"><title id="{ident}-title">{title}</title>'
        '<desc id="{ident}-says">{says}</desc>{grid}{drawn}{axis}</svg>',
        width=WIDTH,
        height=HEIGHT,
        ident=ident,
        title=title,
        says=says,
        grid=_grid(scale),
        drawn=drawn,
        axis=_time_axis(times),
    )


def _grid(scale: Scale) -> SafeString:
    rows = (
        (LEFT, WIDTH - RIGHT, scale.y(tick), scale.y(tick), LEFT - 6, scale.y(tick) + 4,
         scale.text(tick))
        for tick in scale.ticks
    )  # fmt: skip
    return format_html_join(
        "",
        '<line class="bgtasks-grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<text class="bgtasks-tick bgtasks-end" x="{}" y="{}">{}</text>',
        rows,
    )


def _time_axis(times: Sequence[str]) -> SafeString:
    """A word under the first, the middle and the last point."""
    if not times:
        return SafeString("")
    marks = (
        ("bgtasks-start", LEFT, times[0]),
        ("bgtasks-middle", LEFT + ACROSS / 2, times[len(times) // 2]),
        ("bgtasks-end", WIDTH - RIGHT, times[-1]),
    )
    word = f'<text class="bgtasks-tick {{}}" x="{{}}" y="{HEIGHT - 5}">{{}}</text>'
    return format_html_join("", word, marks)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(rough, 1)))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= rough)
