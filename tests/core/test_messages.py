"""Codes, their texts, and that nothing reads a text to decide."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import django_bgtasks
from django_bgtasks import GiveUp, JobCancelled, JobTimeout
from django_bgtasks.core import errors
from django_bgtasks.core.messages import CRASHES, FOR_OWNERS, FOREIGN, TEMPLATES, TIMEOUTS, Reason
from django_bgtasks.core.outcomes import Failure, Outcome, failure_of, outcome_of_release
from django_bgtasks.core.states import Transition
from django_bgtasks.jobs.execute import is_suspect
from django_bgtasks.models import Attempt, Job, Worker

PACKAGE = Path(django_bgtasks.__file__).parent
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
# The attributes that hold a text of what went wrong.
TEXTS = {"error", "message", "problem", "trouble", "cause", "detail", "what"}
TAKEN_APART = {
    "startswith", "endswith", "partition", "rpartition", "split", "rsplit", "splitlines", "find",
    "index", "removeprefix", "removesuffix", "count",
}  # fmt: skip
MATCHES = {"match", "fullmatch", "search", "findall", "finditer", "sub", "split"}
# The operator names a part of the text for which to search.
SEARCHED_BY_PEOPLE = {"management/selection.py"}
ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type)}


def test_no_module_takes_a_stored_error_text_apart() -> None:
    found = [
        f"{path}: {reading}"
        for path in FILES
        if str(path) not in SEARCHED_BY_PEOPLE
        for reading in sorted(set(readings((PACKAGE / path).read_text())))
    ]
    assert not found, "decide by error_code instead"


@pytest.mark.parametrize(
    "line",
    [
        'job.error.startswith("crash")',
        'name, _, text = job.error.partition(": ")',
        'str(attempt.message).split(":")[0]',
        're.match("crash: .*", job.error)',
        "PATTERN.fullmatch(status.redis.problem)",
        'if "GiveUp" in job.error: ...',
        'if job.error == "crash": ...',
        'is_held = job.error != ""',
        'rows.exclude(error="")',
        'Q(error__startswith="crash")',
    ],
)
def test_a_reading_of_a_text_is_found(line: str) -> None:
    assert list(readings(line))


@pytest.mark.parametrize(
    "line",
    [
        "message(job.error_code, job.error_params, job.error)",
        "job.error_code in CRASHES",
        'rows.exclude(held_reason="")',
        'Reason("other", {"words": str(error).splitlines()[0]})',
        'Job(error="")',
    ],
)
def test_what_goes_by_a_code_is_let_alone(line: str) -> None:
    assert not list(readings(line))


def test_each_code_has_a_text_whose_parameters_are_those_that_its_writers_give() -> None:
    given = defaultdict(set)
    for path in FILES:
        for code, names in written((PACKAGE / path).read_text()):
            given[code].add(names)
    wanted = {code: {frozenset(re.findall(r"%\((\w+)\)s", TEMPLATES[code]))} for code in TEMPLATES}
    assert dict(given) == wanted


def test_a_code_fits_its_columns_and_its_groups_have_no_others() -> None:
    assert TEMPLATES.keys() >= CRASHES | TIMEOUTS | FOR_OWNERS
    assert not FOREIGN & TEMPLATES.keys()
    fields = [(Job, "error_code"), (Job, "held_reason"), (Attempt, "code")]
    for model, name in [*fields, (Worker, "trouble_code")]:
        field: Any = model._meta.get_field(name)
        assert max(map(len, {*TEMPLATES, *FOREIGN})) <= field.max_length


def test_a_crash_is_known_by_its_code() -> None:
    assert all(is_suspect(Job(error_code=code)) for code in CRASHES)
    own = failure_of(type("crash", (Exception,), {})("The process exited with code 1."))
    assert own.line == "crash: The process exited with code 1."
    assert not is_suspect(Job(**Outcome(Transition.RETRY_NOW, failure=own).error_columns))
    death = Failure.of("crash", Reason("process_exited", {"code": 1}))
    columns = Outcome(Transition.RETRY_NOW, failure=death).error_columns
    assert columns["error"] == "crash: The process exited with code 1."
    assert is_suspect(Job(**columns))


def test_only_a_job_that_is_held_has_a_reason_for_it() -> None:
    missing = Reason("not_a_task", {"task": "shop.x"})
    assert outcome_of_release(missing).error_columns == {
        "error": "shop.x is not a task: decorate the function with @task.",
        "error_code": "not_a_task",
        "error_params": {"task": "shop.x"},
        "held_reason": "not_a_task",
    }
    failed = Outcome(Transition.RETRY_AT, failure=failure_of(ValueError("no")))
    for outcome in (outcome_of_release(), failed, Outcome(Transition.SUCCEED)):
        assert outcome.error_columns["held_reason"] == ""
        assert outcome.error_columns.keys() == outcome_of_release(missing).error_columns.keys()


class Refused(Exception):
    """An exception of a site with a `reason` and a `code` of its own."""

    reason, code = "worker_gone", "worker_gone"


def test_an_exception_has_the_code_of_its_class_or_of_its_text() -> None:
    codes = {
        "exception": [ValueError("timeout"), Refused(), JobCancelled("by ada")],
        "give_up": [GiveUp("no such user"), GiveUp(), type("Gone", (GiveUp,), {})("no")],
        "timeout": [JobTimeout("too slow"), JobTimeout.of("timeout", seconds="5")],
        "cancelled": [JobCancelled.of("cancelled")],
        "mail_gone": [GiveUp.of("mail_gone", blob="b")],
    }
    found = {code: [failure_of(error).code for error in errors] for code, errors in codes.items()}
    assert found == {code: [code] * len(errors) for code, errors in codes.items()}


def test_parameters_are_stored_by_any_database_and_hold_no_secret() -> None:
    failure = failure_of(GiveUp.of("mail_gone", blob="secret\0\ud800" + "x" * 10**6))
    outcome = Outcome(Transition.FAIL, failure=failure).redacted(
        lambda text: text.replace("secret", "***")
    )
    params = outcome.error_columns["error_params"]
    assert params["blob"].startswith("***")
    assert len(params["blob"]) <= 255
    assert "\0" not in params["blob"]
    assert params["blob"].encode()
    redacted = Outcome(Transition.FAIL, failure=failure_of(GiveUp("secret"))).redacted(
        lambda _text: "***"
    )
    assert redacted.error_columns["error_params"] == {"words": "***"}


def readings(source: str) -> Iterator[str]:
    """The places where a text of what went wrong is taken apart, compared or searched for."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_read = node.func.attr in TAKEN_APART and holds_text(node.func.value)
            is_matched = node.func.attr in MATCHES and any(map(holds_text, node.args))
            if is_read or is_matched:
                yield ast.unparse(node)
        if isinstance(node, ast.Compare) and any(map(holds_text, [node.left, *node.comparators])):
            # Whether there is an exception at all is no question to its text.
            yield from [] if isinstance(node.ops[0], ast.Is | ast.IsNot) else [ast.unparse(node)]
        if isinstance(node, ast.Call) and name_of(node.func) in {"filter", "exclude", "Q", "get"}:
            names = [keyword.arg or "" for keyword in node.keywords]
            yield from (name for name in names if name.split("__")[0] == "error")


def holds_text(node: ast.AST) -> bool:
    """Whether it is a stored text, or what str() makes of one."""
    if isinstance(node, ast.Call) and name_of(node.func) in {"str", "translated"}:
        return any(map(holds_text, node.args))
    return isinstance(node, ast.Attribute) and node.attr in TEXTS


def written(source: str) -> Iterator[tuple[str, frozenset[str]]]:
    """The codes that are written, each with the names of the parameters that are given to it."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        code, func = node.args[0], node.func
        if not (isinstance(code, ast.Constant) and isinstance(code.value, str)):
            continue
        if name_of(func) == "Reason":
            params = node.args[1] if len(node.args) > 1 else ast.Dict([], [])
            assert isinstance(params, ast.Dict)
            names = [key.value for key in params.keys if isinstance(key, ast.Constant)]
            yield code.value, frozenset(map(str, names))
        elif name_of(func) == "of" and name_of(getattr(func, "value", func)) in ERRORS:
            yield code.value, frozenset(keyword.arg or "" for keyword in node.keywords)


def name_of(node: ast.AST) -> str:
    return getattr(node, "id", "") or getattr(node, "attr", "")
