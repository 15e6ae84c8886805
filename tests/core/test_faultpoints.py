"""Fault points: nothing at all in a real process, and every one of them reached in a test's."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import django_bgtasks
from django_bgtasks.core.faultpoints import fault_point
from django_bgtasks.jobs import execute
from django_bgtasks.ledger import lifecycle
from tests.workers import ROOT, environment

PACKAGE = Path(django_bgtasks.__file__).parent
SOURCES = [path.read_text() for path in PACKAGE.rglob("*.py")]
NAMES = sorted(
    str(argument.value)
    # A syntax tree of each file would take longer than all tests here.
    for source in SOURCES
    if "fault_point(" in source
    for node in ast.walk(ast.parse(source))
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "fault_point"
    for argument in node.args
    if isinstance(argument, ast.Constant)
)
# Runs one job that fails at first and succeeds, promoted in between, and prints the points.
SCRIPT = """
import json, sys
from django_bgtasks.core import faultpoints
reached = []
faultpoints.arm(lambda point, value: reached.append(point))
import django
django.setup()
from django_bgtasks.core.clock import new_id
from django_bgtasks.jobs.execute import claim_jobs, run_claimed
from tests.app.tasks import add
job = add.enqueue(1, 2).job
[claimed] = claim_jobs([job.pk], new_id(), "default")
run_claimed(claimed, "default")
print(json.dumps(reached))
"""


def test_unarmed_a_fault_point_is_the_very_function() -> None:
    def function() -> None: ...

    assert fault_point("name")(function) is function


@pytest.mark.parametrize(
    "function", [lifecycle.insert, lifecycle.claim, lifecycle.apply_outcome, execute.run_claimed]
)
def test_the_hot_path_is_wrapped_by_nothing(function: object) -> None:
    assert not hasattr(function, "__wrapped__")


@pytest.mark.usefixtures("transactional_db", "redis_client")
def test_armed_a_job_passes_the_points_of_its_way_in_their_order() -> None:
    env = {**environment(), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    way = [point.removeprefix("before ") for point in json.loads(ran.stdout) if "before" in point]
    assert way == ["insert", "push", "claim", "settle", "move", "announce"]
