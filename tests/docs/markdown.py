"""The documents, and the blocks of code in them.

A block is fenced (```python), or a comment that readers do not see:

    <!-- test
    assert result.return_value == 3
    -->

The Python blocks and these comments of a page are one module, run from top to bottom. A Python
block whose first line is a comment with the name of a file is that file: `# settings.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, *DOCS]

_BLOCK = re.compile(
    r"^```(?P<kind>\w*)\n(?P<code>.*?)^```$|^<!-- test\n(?P<test>.*?)^-->$",
    re.DOTALL | re.MULTILINE,
)
_FILE = re.compile(r"# (\S+\.py)\n")


@dataclass(frozen=True)
class Block:
    """One block of a page. kind: python, console, json … or test; line: where its text begins."""

    page: Path
    kind: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @cached_property
    def file(self) -> str:
        """The name of the file that this block is; empty if it is none."""
        named = _FILE.match(self.text) if self.kind == "python" else None
        return named[1] if named else ""

    @cached_property
    def is_settings(self) -> bool:
        """Whether it belongs into the settings of a site."""
        return Path(self.file).name == "settings.py"

    def run(self, namespace: dict[str, object]) -> None:
        """Run it as Python; a traceback shows the page and the line."""
        source = "\n" * (self.line - 1) + self.text
        code = compile(source, str(self.page), "exec", dont_inherit=True)
        exec(code, namespace)


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in their order."""
    text = page.read_text()
    return [
        Block(
            page,
            found["kind"] if found["test"] is None else "test",
            found["code"] if found["test"] is None else found["test"],
            text.count("\n", 0, found.start()) + 2,
        )
        for found in _BLOCK.finditer(text)
    ]


def section(page: Path, title: str) -> list[Block]:
    """The blocks from the heading with this title to the next one of its rank or higher."""
    # Without the code: a comment in it would look like a heading.
    text = _BLOCK.sub(lambda found: "\n" * found[0].count("\n"), page.read_text())
    heading = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert heading, f"{page.name} has no heading {title!r}"
    rest = text[heading.end() :]
    after = re.search(rf"^#{{1,{len(heading[1])}}} ", rest, re.MULTILINE)
    first = text.count("\n", 0, heading.start()) + 1
    last = first + rest.count("\n", 0, after.start()) if after else text.count("\n")
    return [block for block in blocks_of(page) if first <= block.line <= last]
