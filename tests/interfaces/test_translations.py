"""Every text can be translated, and the translations that are there work."""

from __future__ import annotations

import gettext
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

import django_bgtasks
from django_bgtasks.core.states import State

from .rows import make_attempt, make_job

PACKAGE = Path(django_bgtasks.__file__).parent
TEMPLATES = sorted(PACKAGE.rglob("templates/**/*.html"))
CATALOGUES = sorted(PACKAGE.glob("locale/*/LC_MESSAGES/django.mo"))
TRANSLATED = re.compile(
    r"{% blocktranslate.*?{% endblocktranslate %}|{% block bodyclass %}.*?{% endblock %}", re.DOTALL
)
NO_TEXT = re.compile(r"{%.*?%}|{{.*?}}|{#.*?#}|<[^>]*>|&\w+;", re.DOTALL)
LABELS = re.compile(r'\b(?:title|alt|placeholder|aria-label)="([^"{]*[A-Za-z][^"{]*)"')
PLACE = re.compile(r"%(?:\(\w+\))?[sdr]|%%")
UNTRANSLATED = re.compile(r'^msgstr(?:\[\d\])? ""\n(?!")', re.MULTILINE)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_says_nothing_that_cannot_be_translated(path: Path) -> None:
    text = TRANSLATED.sub("", path.read_text())
    markup = re.sub(r"{%.*?%}|{{.*?}}", "", text)
    assert not LABELS.findall(markup)
    assert not re.findall(r"[A-Za-z]{2,}", NO_TEXT.sub(" ", text))


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_a_translation_keeps_the_places_for_values(path: Path) -> None:
    """A lost or invented place would raise where it is shown."""
    texts = texts_of(path)
    assert len(texts) > 250
    for key, value in texts.items():
        original = key[0] if isinstance(key, tuple) else key
        assert Counter(PLACE.findall(value)) == Counter(PLACE.findall(original)), key
        assert value.count("<") == original.count("<"), key


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_no_translation_is_a_guess_or_missing_or_left_over(path: Path) -> None:
    text = path.with_suffix(".po").read_text()
    assert "fuzzy" not in text
    assert "#~" not in text
    assert not UNTRANSLATED.findall(text)


@pytest.mark.skipif(not shutil.which("xgettext"), reason="needs GNU gettext")
def test_makemessages_has_nothing_to_complain_of(tmp_path: Path) -> None:
    copy = tmp_path / "django_bgtasks"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "django", "makemessages", "-l", "de", "-v", "0"],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # Nothing in the source is new to German, and German has nothing that the source has not.
    merged = (copy / "locale/de/LC_MESSAGES/django.po").read_text()
    assert not UNTRANSLATED.findall(merged)
    assert not re.findall("fuzzy|#~", merged)
    done = subprocess.run(
        ["msgfmt", "--check-format", "-o", "django.mo", copy / "locale/de/LC_MESSAGES/django.po"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert texts_of(tmp_path / "django.mo") == texts_of(CATALOGUES[0])


@pytest.mark.django_db
def test_the_pages_speak_the_language_of_who_looks(admin_client: Client) -> None:
    job = make_job(State.FAILED, attempt=1, error="crash", error_code="worker_gone")
    make_attempt(job, started_at=job.started_at, code="worker_gone")
    with translation.override("de"):
        headers = {"accept-language": "de"}
        pages = [
            admin_client.get(f"/admin/django_bgtasks/job/{path}", headers=headers).content.decode()
            for path in ("", f"{job.pk}/change/")
        ]
    assert "Gescheitert" in pages[0]
    assert "vor 5 Minuten" in pages[0].replace("\xa0", " ")
    assert "Es läuft kein Worker" in pages[0]
    assert "Versuch 1" in pages[1]
    assert "Wiederholen" in pages[1]
    assert "Absturz: Ihr Worker ist verschwunden" in pages[0]
    assert pages[1].count("Ihr Worker ist verschwunden") == 2


def texts_of(path: Path) -> dict[Any, str]:
    """What a compiled catalogue has, by its original."""
    with path.open("rb") as file:
        catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return {key: value for key, value in catalogue.items() if key}
