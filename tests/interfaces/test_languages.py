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
from django_bgtasks.core.messages import FOREIGN, TEMPLATES, Reason, error_message
from django_bgtasks.core.states import State, Transition, refuse
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.sandbox.restore import EXIT_FDS_CLOSED
from django_bgtasks.worker.processes import end_of

from .commands import busy, run
from .rows import make_attempt, make_job

COMMANDS = sorted(
    path.stem for path in Path(management.__file__ or "").parent.glob("commands/bg*.py")
)
# For those who move in, once.
IN_ENGLISH = {"bgaudit", "bgimport"}
CALLS = {
    "bgpause": ["emails"],
    "bgstatus": [],
    "bgdoctor": [],
    "bgcancel": ["--all", "--dry-run"],
    "bgprune": [],
    "bgresume": ["emails"],
}


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - IN_ENGLISH))
def test_the_help_of_a_command_is_in_the_language_of_the_site(name: str) -> None:
    helps = {language: options_of(name, language) for language in ("en", "de")}
    assert helps["en"].keys() == helps["de"].keys()
    assert len(helps["en"]) > 1
    assert not [option for option, text in helps["en"].items() if helps["de"][option] == text]


@pytest.mark.django_db(transaction=True)
def test_the_commands_speak_the_language_of_the_site(redis_client: redis.Redis) -> None:
    busy()
    with translation.override("de"):
        texts = {name: run(name, *arguments)[0] for name, arguments in CALLS.items()}
        with pytest.raises(CommandError, match="Unbekannte Warteschlange: emials"):
            run("bgpause", "emials")
        with pytest.raises(CommandError, match="1 Aufgabe abgewiesen"):
            run("bgretry", UUID(int=0))
    assert "hat die Warteschlange emails angehalten; 0 Aufgaben warten darin." in texts["bgstatus"]
    assert re.search("Warteschlange +wartend +älteste +laufend", texts["bgstatus"])
    assert re.search("lebt +vor .+ 1 von 2", texts["bgstatus"])
    assert "gut     1 Worker lebt." in texts["bgdoctor"]
    assert texts["bgpause"] == "emails ist angehalten.\n"
    assert texts["bgcancel"].endswith("\n1 Aufgabe; nichts wurde getan.\n")
    assert texts["bgprune"] == "0 Zeilen wurden gelöscht.\n"
    assert texts["bgresume"] == "emails läuft weiter.\n"


@pytest.mark.django_db(transaction=True)
def test_json_is_the_same_in_every_language(redis_client: redis.Redis) -> None:
    pause_queue("emails")
    gone = str(Reason("worker_gone"))
    job = make_job(State.FAILED, attempt=1)
    make_attempt(job, outcome="crash", message=gone, code="worker_gone")
    with translation.override("de"):
        german, code = run("bgstatus", "--json")
    found, usual = json.loads(german), json.loads(run("bgstatus", "--json")[0])
    assert code == 2
    assert found["problems"] == usual["problems"]
    assert found["problems"][0]["what"] == "No worker is running."
    [group] = found["failures"]["groups"]
    assert (group["error"], group["outcome"], group["message"]) == ("worker_gone", "crash", gone)


@pytest.mark.parametrize("code", sorted(TEMPLATES.keys() - {"other"}))
def test_a_reason_is_told_in_the_language_of_who_reads_it(code: str) -> None:
    reason = Reason(code, dict.fromkeys(places_of(TEMPLATES[code]), "shop.x: 7"))
    assert reason.text == str(reason)
    with translation.override("de"):
        text = reason.text
    assert text != str(reason)
    assert text.count("shop.x: 7") == str(reason).count("shop.x: 7")


def test_the_words_of_others_are_shown_as_they_are() -> None:
    words = "ValueError: 100 %s of it"
    with translation.override("de"):
        assert Reason("other", {"words": words}).text == words
        for code in ("", *FOREIGN, "of_another_release"):
            assert error_message(code, None, words) == words
        # A row of another release, in which the text had other parameters.
        assert error_message("timeout", {"minutes": 1}, words) == words


@pytest.mark.parametrize("status", [0, 1 << 8, EXIT_FDS_CLOSED << 8, 9, 60])
def test_the_end_of_a_process_is_told_in_every_language(status: int) -> None:
    end = end_of(status)
    with translation.override("de"):
        assert end.text.startswith("Der Prozess ")
        assert "closed" not in end.text
        assert error_message(end.code, end.params, "").startswith("Absturz: Der Prozess ")


def test_a_refusal_is_in_the_language_of_who_asked() -> None:
    with translation.override("de"):
        text = str(refuse(Transition.CANCEL_WAITING, State.FAILED, 7))
    assert text.startswith("Aufgabe 7 hat den Zustand „gescheitert“: Abbrechen lässt sich")
    assert "blockiert, wartet oder geplant" in text


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


def places_of(template: str) -> list[str]:
    """The names of the parameters of a text."""
    return re.findall(r"%\((\w+)\)s", template)
