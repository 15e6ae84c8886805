"""The audit of a project: all findings, and how people and programs read them."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .arguments import find_arguments, find_functions
from .calls import find_calls
from .commits import find_commits
from .configuration import find_settings
from .definitions import find_definitions
from .findings import PAGE, TITLES, AuditFinding, FindingCode, FindingKind
from .hooks import find_hooks
from .locks import find_locks
from .mocks import find_mocks
from .project import Project
from .refusals import find_refusals
from .resolver import Resolver
from .results import find_results
from .schedules import find_schedules
from .sites import Finder, sites_of
from .sources import SkippedFile, read_sources

# Of the JSON: it grows when a key changes its meaning or goes.
FORMAT = 1
FUNCTIONS: tuple[Finder, ...] = (find_definitions, find_schedules, find_hooks)
ASSIGNMENTS: tuple[Finder, ...] = (find_schedules, find_settings)
# Which finders look at which nodes.
FINDERS: dict[type[ast.AST], tuple[Finder, ...]] = {
    ast.AnnAssign: ASSIGNMENTS,
    ast.Assign: ASSIGNMENTS,
    ast.AsyncFunctionDef: FUNCTIONS,
    ast.Attribute: (
        find_calls, find_hooks, find_locks, find_mocks, find_refusals, find_results, find_settings,
    ),
    ast.BinOp: (find_calls,),
    ast.Call: (
        find_definitions, find_calls, find_arguments, find_functions, find_commits, find_locks,
        find_schedules, find_hooks, find_results, find_settings, find_mocks,
        find_refusals,
    ),
    ast.ClassDef: (find_definitions, find_schedules, find_hooks, find_refusals),
    ast.FunctionDef: FUNCTIONS,
    ast.Import: (find_refusals,),
    ast.ImportFrom: (find_refusals,),
    ast.Name: (find_locks,),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit has found. files: how many were read."""

    files: int
    skipped: tuple[SkippedFile, ...]
    findings: tuple[AuditFinding, ...]

    def of_kind(self, kind: FindingKind) -> list[AuditFinding]:
        """The findings of one kind, by file and line."""
        return [finding for finding in self.findings if finding.rule.kind is kind]

    def as_dict(self) -> dict[str, Any]:
        """The report for a program; the same for the same files."""
        return {
            "format": FORMAT,
            "files": self.files,
            "skipped": [
                {"path": file.path, "line": file.line, "reason": file.reason}
                for file in self.skipped
            ],
            "counts": {kind.value: count_findings(self.of_kind(kind)) for kind in FindingKind},
            "findings": [finding.as_dict() for finding in self.findings],
        }

    def lines(self) -> Iterator[str]:
        """The report for people, grouped by kind and code, with the counts at the end."""
        for kind in FindingKind:
            findings = self.of_kind(kind)
            if findings:
                yield from (f"{TITLES[kind]} ({len(findings)})", "")
            for code in FindingCode:
                places = [finding for finding in findings if finding.code is code]
                if places:
                    yield f"  {code.value}: {code.rule.advice} {PAGE}#{code.rule.section}"
                    yield from map(_line, places)
                    yield ""
        version = ".".join(map(str, sys.version_info[:2]))
        for file in self.skipped:
            place = f"{file.path}:{file.line}" if file.line else file.path
            yield f"Skipped, as Python {version} cannot read it: {place}: {file.reason}"
        yield from self._summary()

    def _summary(self) -> Iterator[str]:
        yield f"{self.files} files read, {len(self.skipped)} skipped."
        wide = max(len(title) for title in TITLES.values()) + 2
        for kind in FindingKind:
            findings = self.of_kind(kind)
            if findings:
                yield _count_line(TITLES[kind], wide, findings)
            for code in FindingCode:
                places = [finding for finding in findings if finding.code is code]
                if places:
                    yield _count_line(f"  {code.value}", wide, places)
        if not self.findings:
            yield "Nothing was found that has to move."


def audit_project(paths: Iterable[Path]) -> AuditReport:
    """Read these directories and files, and say what has to move. Nothing of them is run."""
    sources, skipped = read_sources(paths)
    resolver = Resolver(Project(sources))
    findings = {
        finding
        for source in sources
        for site in sites_of(resolver.project.scope(source))
        for find in FINDERS.get(type(site.node), ())
        for finding in find(site, resolver)
    }
    return AuditReport(len(sources), tuple(skipped), tuple(sorted(findings)))


def count_findings(findings: Iterable[AuditFinding]) -> dict[str, int]:
    """How many there are, how many of them are not certain, and how many are in tests."""
    counts = Counter({"all": 0, "perhaps": 0, "tests": 0})
    for finding in findings:
        counts["all"] += 1
        counts["perhaps"] += not finding.is_certain
        counts["tests"] += finding.is_test
    return dict(counts)


def _line(finding: AuditFinding) -> str:
    subject = f"{finding.subject} {finding.note}".strip()
    perhaps = "" if finding.is_certain else "perhaps: "
    return f"    {finding.path}:{finding.line}: {perhaps}{subject}"


def _count_line(title: str, wide: int, findings: list[AuditFinding]) -> str:
    counts = count_findings(findings)
    texts = (("perhaps", "perhaps"), ("tests", "in tests"))
    more = ", ".join(f"{counts[key]} {text}" for key, text in texts if counts[key])
    return f"{title:<{wide}} {counts['all']:>6}{f'  ({more})' if more else ''}"
