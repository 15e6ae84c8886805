"""The texts in the source that people get to read, and which of them no translation can reach."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

WRAPPED = re.compile(r"_|[np]{0,2}gettext(_lazy|_noop)?")
# Two words or more, or a word and a value.
SENTENCE = re.compile(r"[A-Za-z]{2,}[.,:;]? +[A-Za-z{%]")
# Whatever is given to these is read, be it a single word.
CALLS = {
    "write", "CommandError", "ArgumentTypeError", "Http404", "BadKey", "ValidationError",
    "message_user", "success", "info", "warning", "error", "Table",
}  # fmt: skip
NAMES = {
    "help", "help_text", "title", "label", "description", "verbose_name", "verbose_name_plural",
    "search_help_text", "empty_value_display", "text", "cure", "says", "heads",
}  # fmt: skip


def unreachable(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each text for people that is not given to gettext."""
    for node in _outside_of_gettext(ast.parse(source)):
        if (text := _text(node)) is not None and SENTENCE.search(re.sub(r"<[^>]*>", " ", text)):
            yield _place(node, text)
        for part in _read(node):
            if (text := _text(part)) is not None and re.search(r"[A-Za-z]{2}", text):
                yield _place(part, text)


def _outside_of_gettext(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but docstrings, lines of the log, and what is translated."""
    if isinstance(node, ast.Call) and (WRAPPED.fullmatch(_name(node.func)) or _is_log(node.func)):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    yield node
    # The parts of an f-string are not texts of their own.
    parts = ast.iter_child_nodes(node)
    if isinstance(node, ast.JoinedStr):
        parts = iter([part for part in node.values if isinstance(part, ast.FormattedValue)])
    for part in parts:
        yield from _outside_of_gettext(part)


def _read(node: ast.AST) -> Iterator[ast.AST]:
    """What this node gives to people."""
    if isinstance(node, ast.Call) and _name(node.func) in CALLS:
        yield from node.args
    elif isinstance(node, ast.Call) and _name(node.func).endswith("Field"):
        yield from node.args[:1]
    elif isinstance(node, ast.keyword) and node.arg in NAMES:
        yield node.value
    elif isinstance(node, ast.Assign) and {_name(target) for target in node.targets} & NAMES:
        yield node.value
        yield from getattr(node.value, "elts", ())
    elif isinstance(node, ast.Dict):
        keys = [_text(key) if key else None for key in node.keys]
        yield from (value for key, value in zip(keys, node.values, strict=True) if key == "error")


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _place(node: ast.AST, text: str) -> tuple[int, str]:
    return getattr(node, "lineno", 0), text


def _name(node: ast.AST) -> str:
    return getattr(node, "id", "") or getattr(node, "attr", "")


def _is_log(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and _name(node.value) == "logger"
