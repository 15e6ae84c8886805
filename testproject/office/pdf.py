"""The PDF of a report: a summary, and the first contacts as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import LongTable, Paragraph, SimpleDocTemplate, Spacer, TableStyle

INK, ACCENT, RULE = (colors.HexColor(code) for code in ("#1c2430", "#3457d5", "#d9dee7"))
STYLES = getSampleStyleSheet()
Section = tuple[str, Sequence[Sequence[Any]]]


def write_pdf(path: Path, title: str, sections: Iterable[Section]) -> None:
    """Write a document: a title, then sections of a heading and a table, its first row the head."""
    story: list[Any] = [Paragraph(escape(title), STYLES["Title"])]
    for heading, rows in sections:
        story += [Paragraph(escape(heading), STYLES["Heading2"]), table(rows), Spacer(0, 6 * mm)]
    document = SimpleDocTemplate(str(path), pagesize=A4, title=title, author="Office", invariant=1)
    document.build(story, onFirstPage=page_number, onLaterPages=page_number)


def table(rows: Sequence[Sequence[Any]]) -> LongTable:
    """A table whose cells wrap; what they hold is text, never the markup of the library."""
    cells = [[Paragraph(escape(str(cell)), STYLES["BodyText"]) for cell in row] for row in rows]
    width = (A4[0] - 60 * mm) / len(rows[0])
    style = TableStyle(
        [
            ("LINEBELOW", (0, 0), (-1, 0), 1, ACCENT),
            ("LINEBELOW", (0, 1), (-1, -1), 0.25, RULE),
            ("TEXTCOLOR", (0, 0), (-1, -1), INK),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ]
    )
    return LongTable(cells, colWidths=[width] * len(rows[0]), repeatRows=1, style=style)


def page_number(canvas: Any, document: Any) -> None:
    """The number of the page, at its foot."""
    canvas.setFont("Helvetica", 8)
    canvas.drawRightString(A4[0] - 20 * mm, 12 * mm, f"Page {document.page}")
