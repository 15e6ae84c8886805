"""The terminal, refusals and the reasons of failures in another language than English."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import redis
from django.core.management import load_command_class
from django.core.management.base import BaseCommand, CommandError
from django.utils import translation
from pytest_django import Settings

from django_bgtasks import management
from django_bgtasks.core.formats import exact
from django_bgtasks.core.messages import TEXTS, WORKER_GONE, translated
from django_bgtasks.core.states import State, Transition, refuse
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.sandbox.isolation import EXIT_FDS_CLOSED
from django_bgtasks.worker.processes import describe_end

from .commands import busy, run
from .rows import make_attempt, make_job

COMMANDS = sorted(
    path.stem for path in Path(management.__file__ or "").parent.glob("commands/bg*.py")
)
CALLS = {
    "bgpause": ["emails"],
    "bgstatus": [],
    "bgdoctor": [],
    "bgcancel": ["--all", "--dry-run"],
    "bgprune": [],
    "bgresume": ["emails"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_is_in_the_language_of_the_site(name: str) -> None:
    shown = {language: options_of(name, language) for language in ("en", "de")}
    assert shown["en"].keys() == shown["de"].keys()
    assert len(shown["en"]) > 1
    assert not [option for option, told in shown["en"].items() if shown["de"][option] == told]


@pytest.mark.django_db(transaction=True)
def test_the_commands_speak_the_language_of_the_site(redis_client: redis.Redis) -> None:
    busy()
    with translation.override("de"):
        said = {name: run(name, *arguments)[0] for name, arguments in CALLS.items()}
        with pytest.raises(CommandError, match="Unbekannte Warteschlange: emials"):
            run("bgpause", "emials")
        with pytest.raises(CommandError, match="1 Aufgabe abgewiesen"):
            run("bgretry", UUID(int=0))
    assert "Die Warteschlange emails ist angehalten; 0 Aufgaben warten darin." in said["bgstatus"]
    assert re.search("Warteschlange +wartend +älteste +laufend", said["bgstatus"])
    assert re.search("lebt +vor .+ 1 von 2", said["bgstatus"])
    assert "gut     1 Worker lebt." in said["bgdoctor"]
    assert said["bgpause"] == "emails ist angehalten.\n"
    assert said["bgcancel"].endswith("\n1 Aufgabe; nichts wurde getan.\n")
    assert said["bgprune"] == "0 Zeilen wurden gelöscht.\n"
    assert said["bgresume"] == "emails läuft weiter.\n"


@pytest.mark.django_db(transaction=True)
def test_json_is_the_same_in_every_language(redis_client: redis.Redis) -> None:
    pause_queue("emails")
    make_attempt(make_job(State.FAILED, attempt=1), outcome="crash", message=WORKER_GONE)
    with translation.override("de"):
        german, code = run("bgstatus", "--json")
    found, usual = json.loads(german), json.loads(run("bgstatus", "--json")[0])
    assert code == 2
    assert found["problems"] == usual["problems"]
    assert found["problems"][0]["what"] == "No worker is running."
    assert found["failures"][0]["exception"] == usual["failures"][0]["exception"] == "Crashed"
    assert found["failures"][0]["message"] == WORKER_GONE


@pytest.mark.parametrize("text", TEXTS)
def test_a_stored_reason_is_translated_where_it_is_read(text: str) -> None:
    stored = text % dict.fromkeys(re.findall(r"%\((\w+)\)s", text), "shop.x: 7")
    assert translated(f"crash: {stored}") == f"crash: {stored}"
    with translation.override("de"):
        told = translated(stored)
        assert translated(f"GiveUp: {stored}") == f"GiveUp: {told}"
    assert told != stored
    assert told.count("shop.x: 7") == stored.count("shop.x: 7")


@pytest.mark.parametrize("status", [0, 1 << 8, EXIT_FDS_CLOSED << 8, 9, 60])
def test_the_end_of_a_process_is_a_reason_that_is_known(status: int) -> None:
    stored = f"The process {describe_end(status)}."
    with translation.override("de"):
        assert translated(stored).startswith("Der Prozess ")
        assert "closed" not in translated(stored)


def test_what_the_site_has_stored_itself_is_shown_as_it_is() -> None:
    with translation.override("de"):
        for text in ("", "ValueError: no", "no: crash", "GiveUp: 100 %s of it", "crash"):
            assert translated(text) == text.replace(
                "crash", "Absturz" if text == "crash" else "crash"
            )


def test_a_refusal_is_in_the_language_of_who_asked() -> None:
    with translation.override("de"):
        told = str(refuse(Transition.CANCEL_WAITING, State.FAILED, 7))
    assert told.startswith("Aufgabe 7 hat den Zustand „gescheitert“: Abbrechen lässt sich")
    assert "blockiert, wartet oder geplant" in told


def test_times_have_the_form_and_the_zone_of_the_site(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    with translation.override("de"):
        assert exact(datetime(2026, 3, 1, 20, 5, 9, tzinfo=UTC)) == "2. März 2026 05:05:09"
    assert exact(datetime(2026, 3, 1, 20, 5, 9)) == "March 1, 2026 20:05:09"  # noqa: DTZ001


def options_of(name: str, language: str) -> dict[str, str]:
    """What --help says of a command and of each of its own options."""
    with translation.override(language):
        parser = load_command_class("django_bgtasks", name).create_parser("manage.py", name)
        usual = {action.dest for action in BaseCommand().create_parser("", "")._actions}
        own = [action for action in parser._actions if action.dest not in usual and action.help]
        assert str(parser.description).split()[0] in parser.format_help()
        return {"": str(parser.description), **{one.dest: str(one.help) for one in own}}
