"""Small questions about nodes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .scopes import FunctionNode


def parse_annotation(text: str) -> ast.expr | None:
    """The expression of an annotation that is written as a text; None if it is none."""
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        return None


def decorator_of(node: ast.expr) -> ast.expr:
    """The decorator without its arguments."""
    return node.func if isinstance(node, ast.Call) else node


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword of a call."""
    return next((item.value for item in call.keywords if item.arg == name), None)


def is_true(node: ast.expr | None) -> bool:
    """Whether this is the word True."""
    return isinstance(node, ast.Constant) and node.value is True


def returns_of(function: FunctionNode) -> Iterator[ast.expr]:
    """The values that a function returns, without those of functions within it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value
        elif not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            waiting[:0] = list(ast.iter_child_nodes(node))


def union_parts(node: ast.expr) -> list[ast.expr]:
    """The types of `A | B | C`."""
    if isinstance(node, ast.BinOp):
        return [*union_parts(node.left), *union_parts(node.right)]
    return [node]
