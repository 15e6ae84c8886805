"""No text that a person reads is forgotten when it comes to translations."""

from __future__ import annotations

from pathlib import Path

import pytest

import django_bgtasks

from .spoken import unreachable

PACKAGE = Path(django_bgtasks.__file__).parent
DOORS = ("admin", "management", "models", "templatetags", "http")
BELOW = (
    "apps.py", "core/messages.py", "core/states.py", "monitoring/diagnosis.py",
    "core/formats.py", "monitoring/snapshot.py", "management/doctor.py",
    "ledger/transitions.py", "worker/logs.py", "idempotency/view.py", "idempotency/replay.py",
    "idempotency/request_key.py",
)  # fmt: skip
# English for machines, and for who sets them up.
FOR_MACHINES = {"models/fields.py", "http/health.py", "http/metrics.py"}
FOR_MACHINES |= {"management/commands/bgaudit.py", "management/commands/bgimport.py"}
FOR_MACHINES |= {f"management/imports/{path.name}" for path in PACKAGE.glob("management/imports/*")}
FILES = sorted(
    path
    for path in (*(file for door in DOORS for file in (PACKAGE / door).rglob("*.py")),
                 *(PACKAGE / name for name in BELOW))
    if str(path.relative_to(PACKAGE)) not in FOR_MACHINES
)  # fmt: skip
# Commands, units, keys, styles.
NO_TEXTS = (
    "python manage.py ", "pip install ", "rq resume", "{} min {} s", "{} h {} min", "run now",
    "bgtasks-", "bold red", "id: {}\n", ": still here", "@idempotent",
    "Event streams need ASGI.", "error__contains", "memory",
    "No monitoring_token is set.", "Bearer realm=",
    "JOIN {}", "SELECT DISTINCT ", "SELECT {}", "bgtasks_last.", "(%(expressions)s IS NOT NULL)",
)  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_text_for_people_is_given_to_gettext(path: Path) -> None:
    found = [pair for pair in unreachable(path.read_text()) if not pair[1].startswith(NO_TEXTS)]
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        'self.stdout.write("done")',
        'self.stdout.write(f"{count} jobs were moved.")',
        'raise CommandError("Name the queues.")',
        'parser.add_argument("--all", help="All that are paused.")',
        'help = "Print JSON."',
        'verbose_name = "job"',
        'name = models.CharField("name")',
        'messages.success(request, "Paused.")',
        '@admin.display(description="state")\ndef state(self): ...',
        'return JsonResponse({"error": "no"})',
        'text = "It is over." if over else _("It goes on.")',
    ],
)
def test_a_text_that_was_forgotten_is_found(line: str) -> None:
    assert list(unreachable(line))


@pytest.mark.parametrize(
    "line",
    [
        'self.stdout.write(_("done"))',
        'raise CommandError(ngettext("%d job refused.", "%d jobs refused.", n) % n)',
        'logger.warning("The database is away: %s", reason)',
        'def run_once() -> int:\n    """What it does."""',
    ],
)
def test_what_is_translated_or_logged_is_left_alone(line: str) -> None:
    assert not list(unreachable(line))
