"""A schedule in words."""

from __future__ import annotations

import pytest
from django.utils import translation

from django_bgtasks.core.cron import NAMES
from django_bgtasks.core.cron_text import explain

ENGLISH = {
    "0 6 * * MON-FRI": "At 06:00, Monday to Friday",
    "0 6 * * *": "At 06:00, every day",
    "30 6,18 * * *": "At 06:30 and 18:30, every day",
    "0,30 8,9 * * 6,7": "At 08:00, 08:30, 09:00 and 09:30, Saturday and Sunday",
    "* * * * *": "Every minute",
    "*/15 * * * *": "Every 15 minutes",
    "0-59/15 * * * *": "Every 15 minutes",
    "0 * * * *": "Every hour",
    "20 * * * *": "Every hour, at minute 20",
    "5,35 * * * *": "Every hour, at minutes 5 and 35",
    "0 */2 * * *": "Every 2 hours",
    "10 */2 * * *": "Every 2 hours, at minute 10",
    "0 */12 * * *": "At 00:00 and 12:00, every day",
    "0 8-17 * * MON-FRI": "Every hour, 08:00 to 17:00, Monday to Friday",
    "*/20 8-17 * * MON-FRI": "Every 20 minutes, 08:00 to 17:40, Monday to Friday",
    "* 2 * * *": "Every minute, 02:00 to 02:59, every day",
    "*/15 * * * SUN": "Every 15 minutes, Sunday",
    "0 8 * * MON,THU": "At 08:00, Monday and Thursday",
    "0 8 * * 0,7": "At 08:00, Sunday",
    "0 8 * * MON-SAT": "At 08:00, Monday to Saturday",
    "0 8 * * 1-7": "At 08:00, every day",
    "0 8 1-31 * MON": "At 08:00, every day",
    "0 8 1 * 0-6": "At 08:00, every day",
    "0 8 * * MON#1": "At 08:00, on the first Monday of the month",
    "0 8 * * 5L": "At 08:00, on the last Friday of the month",
    "0 8 1 * *": "At 08:00, on day 1 of the month",
    "0 8 1,15 * *": "At 08:00, on days 1 and 15 of the month",
    "0 8 1-7 * *": "At 08:00, on days 1 to 7 of the month",
    "0 8 L * *": "At 08:00, on the last day of the month",
    "0 8 LW * *": "At 08:00, on the last weekday (Monday to Friday) of the month",
    "0 8 1 * MON": "At 08:00, on day 1 of the month, or Monday",
    "0 8 24 12 *": "At 08:00, December 24",
    "0 8 29 2 *": "At 08:00, February 29",
    "0 8 1 1,7 *": "At 08:00, on day 1 of the month, in January and July",
    "0 8 1 3-6 *": "At 08:00, on day 1 of the month, March to June",
    "*/10 * * * * *": "Every 10 seconds",
    "* * * * * *": "Every second",
    "30 0 6 * * *": "At 06:00:30, every day",
    "0 0 6 * * *": "At 06:00, every day",
}


@pytest.mark.parametrize("expression", ENGLISH)
def test_an_expression_in_words(expression: str) -> None:
    assert explain(expression) == ENGLISH[expression]


@pytest.mark.parametrize(
    "expression",
    [
        "7-59/13 3,9,15 * * *",
        "*/7 * * * *",
        "0 8 */2 * *",
        "0 8 */2 * MON",
        "0 8 1,L * *",
        "0 8 * * MON#1,MON#3",
        "0 8 * * MON,MON#3",
        "0 8 1-3,10-20 * *",
        "*/10 5 6 * * *",
        "0 1,3,5,7,9,13 * * *",
        "no expression",
    ],
)
def test_what_would_be_long_is_shown_as_it_is(expression: str) -> None:
    assert explain(expression, "Asia/Tokyo") == f"{expression} (Asia/Tokyo)"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_says_what_its_expression_says(name: str) -> None:
    assert explain(name) == explain(NAMES[name])
    assert explain(name) != name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "Every second"),
        (1.5, "Every 1.5 seconds"),
        (90, "Every 90 seconds"),
        (60, "Every minute"),
        (600.0, "Every 10 minutes"),
        (5_400, "Every 90 minutes"),
        (129_600, "Every 36 hours"),
        (86_400, "Every day"),
        (1_209_600, "Every 2 weeks"),
    ],
)
def test_an_interval_in_words(seconds: float, text: str) -> None:
    assert explain(seconds) == text


def test_the_words_are_those_of_the_language_that_is_spoken() -> None:
    with translation.override("de"):
        assert explain("0 6 * * MON-FRI", "Europe/Berlin") == (
            "Um 06:00, Montag bis Freitag (Europe/Berlin)"
        )
        assert explain("0 8 24 12 *") == "Um 08:00, 24. Dezember"
        assert explain("0 8 * * MON#1") == "Um 08:00, am ersten Montag des Monats"
        assert explain("5,35 * * * *") == "Jede Stunde, zu den Minuten 5 und 35"
        assert explain(600) == "Alle 10 Minuten"
        assert explain(1.5) == "Alle 1,5 Sekunden"
