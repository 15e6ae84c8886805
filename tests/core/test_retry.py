"""The retry policy: how often, and how long from now."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_bgtasks import Retry


def waits(retry: Retry, attempts: int) -> list[float]:
    rng = Random(1)
    return [retry.next_delay(n, rng).total_seconds() for n in range(1, attempts + 1)]


def test_the_default_waits_one_minute_then_five_then_fifteen() -> None:
    retry = Retry(jitter=0)
    assert retry.max_attempts == 4
    assert waits(retry, 3) == [60, 300, 900]


def test_the_last_delay_repeats() -> None:
    assert waits(Retry(max_attempts=6, delays=[1, 2], jitter=0), 5) == [1, 2, 2, 2, 2]


def test_a_list_of_delays_means_one_attempt_more_than_it_has() -> None:
    assert Retry(delays=[1, 2]).max_attempts == 3


def test_delays_may_be_timedeltas() -> None:
    assert waits(Retry(delays=[timedelta(minutes=2)], jitter=0), 1) == [120]  # type: ignore[list-item]


def test_exponential_backoff_doubles_up_to_its_cap() -> None:
    retry = Retry(max_attempts=9, backoff="exponential", base=10, cap=100, jitter=0)
    assert waits(retry, 6) == [10, 20, 40, 80, 100, 100]


def test_exponential_backoff_stays_at_its_cap_for_any_number_of_attempts() -> None:
    retry = Retry(max_attempts=10_000, backoff="exponential", cap=3600, jitter=0)
    assert waits(retry, 10_000)[-1] == 3600


@given(seed=st.integers(), jitter=st.floats(0, 1), attempt=st.integers(1, 10_000))
def test_jitter_spreads_a_delay_by_at_most_its_share(
    seed: int, jitter: float, attempt: int
) -> None:
    retry = Retry(max_attempts=10_000, delays=[100], jitter=jitter)
    seconds = retry.next_delay(attempt, Random(seed)).total_seconds()
    assert 100 * (1 - jitter) - 1e-6 <= seconds <= 100 * (1 + jitter) + 1e-6


def test_jitter_keeps_failures_from_marching_in_step() -> None:
    retry, rng = Retry(delays=[100], jitter=0.1), Random(1)
    assert len({retry.next_delay(1, rng) for _ in range(10)}) == 10


def test_the_same_seed_gives_the_same_delays() -> None:
    assert waits(Retry(), 3) == waits(Retry(), 3)


def test_every_exception_is_retried_unless_it_is_said_otherwise() -> None:
    assert Retry().wants(ValueError())
    assert not Retry().wants(SystemExit())


def test_on_names_the_exceptions_to_retry_and_not_on_those_never_to() -> None:
    retry = Retry(on=OSError, not_on=[FileNotFoundError])
    assert retry.wants(ConnectionError())
    assert not retry.wants(FileNotFoundError())
    assert not retry.wants(ValueError())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_attempts": -1}, "max_attempts must be 1 to 10000, not -1"),
        ({"max_attempts": 10_001}, "max_attempts must be 1 to 10000"),
        ({"max_attempts": 1.5}, "max_attempts must be 1 to 10000, not 1.5"),
        ({"max_attempts": "3"}, "max_attempts must be 1 to 10000, not '3'"),
        ({"delays": [-1]}, "a delay is 0 to 3153600000 seconds (36500 days), not -1."),
        ({"delays": [float("nan")]}, "a delay is 0 to 3153600000 seconds (36500 days), not nan"),
        ({"delays": [float("inf")]}, "a delay is 0 to 3153600000 seconds"),
        ({"backoff": "linear"}, "backoff must be 'exponential' or None, not 'linear'"),
        ({"base": 0}, "base and cap are seconds and must be above 0"),
        ({"cap": -1}, "cap is 0 to 3153600000 seconds (36500 days), not -1"),
        ({"cap": float("nan")}, "cap is 0 to 3153600000 seconds"),
        ({"backoff": "exponential", "cap": float("inf")}, "cap is 0 to 3153600000 seconds"),
        (
            {"delays": [10**12]},
            "a delay is 0 to 3153600000 seconds (36500 days), not 1000000000000.",
        ),
        ({"delays": [10**5000]}, "a delay is 0 to 3153600000 seconds"),
        ({"delays": [timedelta.max]}, "a delay is 0 to 3153600000 seconds"),
        ({"base": 10**12}, "base is 0 to 3153600000 seconds"),
        ({"jitter": float("nan")}, "jitter is a share between 0 and 1, not nan"),
        ({"jitter": "0.1"}, "jitter is a share between 0 and 1, not '0.1'"),
        ({"jitter": 1.5}, "jitter is a share between 0 and 1, not 1.5"),
        ({"jitter": -0.1}, "jitter is a share between 0 and 1"),
        ({"on": "ValueError"}, "on takes exception classes, not 'V'"),
        ({"not_on": [int]}, "not_on takes exception classes, not <class 'int'>"),
    ],
)
def test_a_wrong_value_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^Retry: ") as refusal:
        Retry(**options)
    assert message in str(refusal.value)
