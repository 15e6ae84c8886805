"""What the run of other projects' tests makes of the list of those that do not apply."""

from __future__ import annotations

import re

from .run import BEGIN, END, PAGE, Report
from .sources import SUITES, TO_THE_BACKPORT


def faults_of(passed: dict[str, bool], *fails: str) -> list[str]:
    report = Report(SUITES[0], passed, dict.fromkeys(fails, "why"), not_run=2)
    report.find_faults()
    return report.faults


def test_a_listed_test_that_fails_is_no_fault() -> None:
    assert faults_of({"one": True, "two": False}, "two") == []


def test_a_test_that_fails_and_is_not_listed_is_a_fault() -> None:
    assert faults_of({"one": False}) == ["failed, and is not listed: one"]


def test_a_listed_test_that_passes_or_is_gone_is_a_fault() -> None:
    assert faults_of({"one": True}, "one", "two") == [
        "passes, and is listed as not applicable: one",
        "is listed, and not there: two",
    ]


def test_the_row_counts_all_tests() -> None:
    report = Report(SUITES[0], {"one": True, "two": False}, {"two": "why"}, not_run=2)
    assert report.row == "| Django 6.1.3 | 4 | 1 | 3 |"


def test_the_page_has_a_row_for_each_suite() -> None:
    counts = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (\d+) \| (\d+) \|$", counts, re.MULTILINE)
    assert [row[0] for row in rows] == [suite.name for suite in SUITES]
    assert all(int(row[1]) == int(row[2]) + int(row[3]) for row in rows)


def test_the_backport_gets_djangos_tests_with_its_own_names() -> None:
    text = "from django.tasks import Task, task\nfrom django.tasks.exceptions import InvalidTask"
    for pattern, name in TO_THE_BACKPORT.items():
        text = re.sub(pattern, name, text)
    assert text.splitlines() == [
        "from django_tasks.base import Task",
        "from django_tasks import task",
        "from django_tasks.exceptions import InvalidTaskError",
    ]
