"""bgaudit finds each idiom at its line, and no look-alike."""

from __future__ import annotations

import json
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_bgtasks.contrib import celery
from django_bgtasks.contrib.audit import FindingCode, FindingKind, refusals
from django_bgtasks.contrib.audit.findings import PAGE, TITLES
from django_bgtasks.contrib.celery import options, signals
from django_bgtasks.contrib.celery.errors import NoEqual
from django_bgtasks.core.compat import InvalidTask
from tests.docs.markdown import ROOT
from tests.docs.test_pages import anchors_of

from .audited import PROJECTS, audit, expected_in, found_by, write_project


@celery.shared_task(name="tests.contrib.test_audit.send")
def send(pk: int) -> None:
    """A task of which calls are refused."""


@pytest.mark.parametrize("name", PROJECTS)
def test_each_idiom_is_found_at_its_line_and_nothing_else(name: str, tmp_path: Path) -> None:
    files = PROJECTS[name]
    found, expected = found_by(audit(tmp_path, files), tmp_path), expected_in(files)
    assert sorted((found - expected).items()) == []
    assert sorted((expected - found).items()) == []


def test_every_code_is_found_in_a_project_here() -> None:
    places = [place for files in PROJECTS.values() for place in expected_in(files)]
    assert {code.value for code in FindingCode} == {code.rstrip("?") for _, _, code in places}


def test_every_finding_leads_to_a_section_that_exists() -> None:
    anchors = anchors_of(ROOT / PAGE)
    assert not [code for code in FindingCode if code.rule.section not in anchors]
    assert set(TITLES) == set(FindingKind)


def test_what_is_refused_is_what_contrib_celery_refuses() -> None:
    assert set(options.TASK_REFUSED) == refusals.REFUSED_BY_TASKS
    assert set(options.CALL_REFUSED) == refusals.REFUSED_BY_CALLS
    known = options.TASK_WORKS | options.TASK_ACCEPTED | options.OWN
    assert known == refusals.KNOWN_BY_TASKS
    known = options.CALL_WORKS | options.CALL_ACCEPTED | options.OWN_OF_A_CALL
    assert known == refusals.KNOWN_BY_CALLS
    assert set(signals.NOT_SENT) == refusals.SIGNALS_NOT_SENT
    for option in refusals.REFUSED_AS_FALSE:
        with pytest.raises(InvalidTask):
            options.check_definition("shop.send", {option: False})
    with pytest.raises(TypeError, match="UUID"):
        send.apply_async((1,), task_id="order-1")


def test_what_has_no_equal_is_not_in_contrib_celery() -> None:
    app, signatures = celery.Celery("x"), (send.s(1), celery.group(send.s(1)))
    assert not [name for name in refusals.APP_NO_EQUAL if hasattr(app, name)]
    refused = {"freeze", "stamp"}
    for signature in signatures:
        names = [name for name in refusals.SIGNATURE_NO_EQUAL if hasattr(signature, name)]
        assert set(names) == refused
        for name in refused:
            with pytest.raises(NoEqual):
                getattr(signature, name)()


@pytest.mark.parametrize("below", refusals.CELERY_NAMES)
def test_what_the_audit_lets_pass_can_be_imported_from_contrib_celery(below: str) -> None:
    module = import_module(f"{celery.__name__}.{below}".rstrip("."))
    names = refusals.CELERY_NAMES[below]
    assert not [name for name in names if not hasattr(module, name)]
    if not below:
        assert names == set(module.__all__)


def test_a_name_is_followed_through_modules_and_directories(tmp_path: Path) -> None:
    """`src` and a directory without an `__init__.py` are roots, and `celery.py` is no library."""
    files = {
        "src/shop/tasks.py": "from ..site.celery import app\n\n\n@app.task\ndef f():\n    pass\n",
        "src/site/celery.py": """\
from celery import Celery


def make():
    application = Celery()
    return application


app = make()
""",
        "src/shop/views.py": """\
import shop.tasks as t
from shop import tasks

t.f.delay()
tasks.f.delay()
""",
        "plugins/one/work.py": "from shop.tasks import f\n\nf.delay()\n",
    }
    write_project(tmp_path, files)
    (tmp_path / "src/__init__.py").unlink()
    (tmp_path / "plugins/__init__.py").unlink()
    (tmp_path / "plugins/one/__init__.py").unlink()
    report = json.loads(bgaudit(tmp_path, "--json"))
    calls = [found for found in report["findings"] if found["kind"] == "call"]
    assert [(call["subject"], call["certain"]) for call in calls] == [("shop.tasks.f", True)] * 3


def test_what_is_not_the_projects_own_is_left_out(tmp_path: Path) -> None:
    text = "from celery import shared_task\n\n\n@shared_task\ndef f():\n    pass\n"
    left_out = [
        "node_modules",
        "shop/migrations",
        ".git",
        "templates",
        ".venv",
        "env",
        "a/__pycache__",
    ]
    read = ["read", "shop/migrations/tasks"]
    write_project(tmp_path, {f"{name}/x.py": text for name in [*left_out, *read]})
    (tmp_path / "env/pyvenv.cfg").touch()
    report = json.loads(bgaudit(tmp_path, "--json"))
    assert [found["subject"] for found in report["findings"]] == [
        "read.x.f",
        "shop.migrations.tasks.x.f",
    ]


def test_a_file_that_is_no_python_3_is_named_and_skipped(tmp_path: Path) -> None:
    files = {
        "old.py": "import x\nprint 'x'\n",
        "zero.py": "\0",
        "latin.py": "# -*- coding: latin-1 -*-\nx = '\xe4'\n",
        "newer.py": "try:\n    x = 1\nexcept A, B:\n    pass\n",
        "good.py": "from celery import shared_task\n\nf = shared_task(print)\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    report = json.loads(bgaudit(tmp_path, "--json"))
    assert [(Path(file["path"]).name, file["line"]) for file in report["skipped"]] == [
        ("old.py", 2),
        ("zero.py", 0),
    ]
    assert report["files"] == 3
    assert f"{tmp_path / 'old.py'}:2" in bgaudit(tmp_path)


def test_nothing_of_the_project_is_run(tmp_path: Path) -> None:
    write_project(tmp_path, {"settings.py": "raise SystemExit\nCELERY_BROKER_URL = 1 / 0\n"})
    assert "CELERY_BROKER_URL" in bgaudit(tmp_path)


@pytest.mark.timeout(20)
def test_names_that_depend_on_each_other_take_no_time(tmp_path: Path) -> None:
    steps = [f"    {a} = {b}.filter({c})" for a in "abcdef" for b in "fedcba" for c in "ace"]
    code = "\n".join(["def f(a, b, c, d, e, g):", *steps, "    a.delay(b)", "", "import celery"])
    report = audit(tmp_path, {"work.py": code})
    assert [finding.subject for finding in report.findings] == ["a"]


def test_the_json_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    write_project(tmp_path, PROJECTS["celery"] | PROJECTS["celery calls"])
    first, second = bgaudit(tmp_path, "--json"), bgaudit(tmp_path, "--json")
    assert first == second
    report = json.loads(first)
    assert set(report) == {"format", "files", "skipped", "counts", "findings"}
    assert set(report["counts"]) == {kind.value for kind in FindingKind}
    assert sum(counts["all"] for counts in report["counts"].values()) == len(report["findings"])
    assert set(report["findings"][0]) == {
        *("kind", "code", "path", "line", "column", "subject", "note", "certain", "test", "doc"),
    }


def test_people_read_groups_with_their_counts_at_the_end(tmp_path: Path) -> None:
    write_project(tmp_path, PROJECTS["mocks"])
    lines = bgaudit(tmp_path).splitlines()
    assert lines[0] == "Definitions of tasks (1)"
    advice = FindingCode.TASK_FUNCTION.rule.advice
    assert lines[2] == f"  task-function: {advice} docs/moving.md#tasks"
    assert lines[3] == f"    {tmp_path / 'shop/tasks.py'}:4: shop.tasks.send celery"
    assert lines[-7] == "5 files read, 0 skipped."
    assert lines[-4].split() == ["Tests", "13", "(1", "perhaps,", "13", "in", "tests)"]
    assert lines[-2].split() == ["test-mock", "7", "(1", "perhaps,", "7", "in", "tests)"]


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nowhere"):
        bgaudit(tmp_path / "nowhere")
    assert "Nothing was found" in bgaudit(tmp_path)


def bgaudit(*arguments: Any) -> str:
    """What the command prints."""
    out = StringIO()
    call_command("bgaudit", *map(str, arguments), stdout=out)
    return out.getvalue()
