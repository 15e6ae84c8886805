"""What there is, is documented: the documents cannot fall behind."""

from __future__ import annotations

import ast
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from django.core.management import find_commands, load_command_class

import django_bgtasks
from django_bgtasks import BackgroundTask, Retry, testing
from django_bgtasks.core import errors
from django_bgtasks.core.messages import FOREIGN, TEMPLATES
from django_bgtasks.core.options import Options
from django_bgtasks.jobs.context import JobContext

from .markdown import PAGES, ROOT

PACKAGE = Path(django_bgtasks.__file__).parent
COMMANDS = find_commands(str(PACKAGE / "management"))
# Django's own, for every command.
STANDARD = {"help", "version", "settings", "pythonpath", "traceback", "no-color", "force-color"}


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def test_every_public_name_is_in_the_documents() -> None:
    text = "\n".join(path.read_text() for path in PAGES)
    missing = [name for name in django_bgtasks.__all__ if not re.search(rf"\b{name}\b", text)]
    assert not missing


def test_every_option_is_in_the_table_of_the_settings_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", page("settings"), re.MULTILINE))
    assert {name: ast.literal_eval(text) for name, text in rows.items()} == {
        option.name: option.default for option in fields(Options)
    }


def test_every_code_of_a_job_is_among_the_errors() -> None:
    codes = page("errors").partition("## Codes")[2].partition("\n## ")[0]
    of_servers = re.compile("redis_.+|without_redis|process_hung|other")
    stored = {code for code in {*TEMPLATES, *FOREIGN} if not of_servers.fullmatch(code)}
    assert not [code for code in stored if f"`{code}`" not in codes]
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", codes))
    assert named - stored <= {
        "error_code",
        "error_params",
        "params",
        "words",
        "held_reason",
        "timeout",
        "at_most_once",
    }


def test_every_option_of_a_task_is_in_the_table_of_tasks() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", page("tasks"), re.MULTILINE))
    assert {option.name for option in fields(BackgroundTask)} - {"func"} <= rows


def test_every_field_of_retry_is_in_its_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+|[^|]+) \|", page("tasks"), re.MULTILINE))
    for option in fields(Retry):
        assert option.name in rows
        if option.default is not MISSING and isinstance(option.default, float):
            assert float(rows[option.name]) == option.default


def test_everything_that_the_context_can_do_is_in_tasks() -> None:
    public = [name for name in vars(JobContext) if not name.startswith("_")]
    own = set(public) - {"using"}
    assert not [name for name in own if f"context.{name}" not in page("tasks")]


def test_every_exception_is_explained() -> None:
    classes = [name for name, value in vars(errors).items() if isinstance(value, type)]
    raised = [name for name in classes if issubclass(getattr(errors, name), errors.BgTasksError)]
    assert not [name for name in raised if not re.search(rf"\b{name}\b", page("errors"))]
    explained = re.findall(r"(?:\*\*|`)(\w+)(?:\.?\*\*|`)", page("errors"))
    assert not set(raised) - set(explained) - {"Interruption"}


def test_every_check_is_explained_and_no_other() -> None:
    sources = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    pattern = r"bgtasks\.[EW]\d{3}"
    assert set(re.findall(pattern, page("errors"))) == set(re.findall(pattern, sources))


def test_every_option_of_the_commands_is_in_workers() -> None:
    for name in COMMANDS:
        assert f"python manage.py {name}" in page("workers")
        command: Any = load_command_class("django_bgtasks", name)
        parser = command.create_parser("manage.py", name)
        strings = [string for action in parser._actions for string in action.option_strings]
        own = {string for string in strings if string.startswith("--")}
        own -= {f"--{name}" for name in STANDARD} | {"--skip-checks"}
        assert not [string for string in own if string not in page("workers")]


def test_every_name_of_the_test_kit_is_in_testing() -> None:
    assert not [name for name in testing.__all__ if name not in page("testing")]


def test_the_changelog_has_this_version() -> None:
    assert django_bgtasks.__version__ in (ROOT / "CHANGELOG.md").read_text()
