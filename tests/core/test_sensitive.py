"""What the mask hides, and what it leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from django_bgtasks import task
from django_bgtasks.core.payload import MASK, masked, masked_call, masked_key, redact

IBAN = "DE89370400440532013000"


def pay(order: int, iban: str, /, reason: str = "", *, pin: str = "") -> None:
    """Positional, either way and by name."""


def gather(first: Any, *rest: Any, **options: Any) -> None:
    """Whatever it is given."""


def in_context(context: Any, iban: str, reason: str = "") -> None:
    """The context is not in a call's arguments."""


@pytest.mark.parametrize(
    ("func", "sensitive", "args", "kwargs", "call"),
    [
        (pay, (), [7, IBAN], {"reason": "rent"}, ([7, IBAN], {"reason": "rent"})),
        (pay, ("iban",), [7, IBAN], {}, ([7, MASK], {})),
        (pay, ("pin",), [7, IBAN], {"pin": "1234"}, ([7, IBAN], {"pin": MASK})),
        (pay, ("reason",), [7, IBAN, "rent"], {}, ([7, IBAN, MASK], {})),
        (pay, ("reason",), [7, IBAN], {"reason": {"a": [1]}}, ([7, IBAN], {"reason": MASK})),
        (in_context, ("iban",), [IBAN, "rent"], {}, ([MASK, "rent"], {})),
        (gather, ("rest",), [1, 2, 3], {"x": 4}, ([1, MASK, MASK], {"x": 4})),
        (gather, ("options",), [1, 2], {"x": 4, "first": 5}, ([1, 2], {"x": MASK, "first": 5})),
        (gather, ("x",), [1, 2], {"x": 4, "y": 5}, ([1, 2], {"x": MASK, "y": 5})),
    ],
)
def test_a_sensitive_parameter_is_masked_however_its_value_is_given(
    func: Any, sensitive: tuple[str, ...], args: Any, kwargs: Any, call: Any
) -> None:
    made = task(takes_context=func is in_context, sensitive=sensitive)(func)  # type: ignore[call-overload]
    assert masked_call(made, args, kwargs) == call


def test_a_name_or_key_that_looks_like_a_secrets_is_masked_by_default_at_any_depth() -> None:
    def log_in(user: str, password: str, headers: Any = None) -> None: ...

    log_in.__qualname__ = "log_in"
    headers = [{"Authorization": "Basic x", "Accept": "*", "more": {"api_token": ["a"]}}]
    hidden = [{"Authorization": MASK, "Accept": "*", "more": {"api_token": MASK}}]
    made = task(log_in)
    assert masked_call(made, ["ada", "pw"], {"headers": headers}) == (
        ["ada", MASK],
        {"headers": hidden},
    )
    assert masked({"Secret": 1, "rows": headers}) == {"Secret": MASK, "rows": hidden}
    assert masked([None, 1, "password"]) == [None, 1, "password"]


def test_what_is_within_a_masked_value_is_told_in_no_form() -> None:
    made: Any = task(sensitive=("reason",))(pay)
    tag = {"$type": "dict", "value": {"$type": "date", "class": "s3cr3t", "value": "t0pt0p"}}
    for reason in ({"a": ["s3cr3t", {"b": "t0pt0p"}]}, tag):
        assert redact("s3cr3t, t0pt0p", made, [7, IBAN, reason], {}) == f"{MASK}, {MASK}"
    decimal = {"$type": "decimal", "value": "1234.50"}
    text = redact("Decimal('1234.50') decimal", made, [7, IBAN, decimal], {})
    assert text == f"{MASK} decimal"
    date = {"$type": "date", "value": "2026-11-28"}
    assert redact("datetime.date(2026, 11, 28)", made, [7, IBAN, date], {}) == MASK


def test_what_nobody_knows_is_masked() -> None:
    made = task(pay)
    assert masked_call(None, [1, IBAN], {"x": 2}) == ([MASK, MASK], {"x": MASK})
    renamed: tuple[list[Any], dict[str, Any]] = ([1, IBAN, "r", MASK], {"account": MASK})
    assert masked_call(made, [1, IBAN, "r", "too many"], {"account": IBAN}) == renamed


def test_a_dedup_key_is_masked_as_a_whole_if_its_task_has_sensitive_arguments() -> None:
    assert masked_key(task(pay), IBAN) == IBAN
    assert masked_key(task(sensitive=("iban",))(pay), IBAN) == MASK
    assert masked_key(None, IBAN) == MASK
    assert masked_key(None, "") == ""


def test_a_text_that_quotes_a_masked_value_is_told_without_it() -> None:
    made: Any = task(sensitive=("iban", "reason"))(pay)
    error = f"{IBAN} (and {IBAN[:8]}) {['two' + chr(10) + 'lines']} 7 abc"
    text = redact(error, made, [7, IBAN, "two\nlines"], {"pin": "abc"})
    assert text == f"{MASK} (and {IBAN[:8]}) ['{MASK}'] 7 abc"
    numbers: Any = task(sensitive=("order", "iban"))(pay)
    assert redact("True 7 12345 None", numbers, [12345, True], {}) == f"True 7 {MASK} None"


def test_the_longest_value_is_struck_out_first() -> None:
    made: Any = task(sensitive=("options",))(gather)
    call = {"a": "secret", "b": "secret-of-ada"}
    assert redact("secret-of-ada", made, [], call) == MASK


def test_what_is_in_a_value_that_is_masked_as_a_whole_is_struck_out_too() -> None:
    made: Any = task(sensitive=("options",))(gather)
    card = {"number": "4111-1111", "owners": ["Zoë", {"pin": 98765, "ok": True}], "name": "Ada"}
    error = "card 4111-1111 of Zoë (98765) is no number of Ada: owners, True"
    told = redact(error, made, [1], {"card": card, "list": ["a secret", [["another"]]]})
    assert told == f"card {MASK} of Zoë ({MASK}) is no number of Ada: owners, True"
    assert redact("a secret another", made, [1], {"x": ["a secret", [["another"]]]}) == (
        f"{MASK} {MASK}"
    )


def test_what_is_under_a_key_that_looks_secret_is_struck_out_at_any_depth() -> None:
    made: Any = task(gather)
    call = [{"auth": {"user": "grace", "codes": [1234, "5678"]}, "user": "linus"}]
    told = redact("grace and linus: 1234, 5678", made, call, {})
    assert told == f"{MASK} and linus: {MASK}, {MASK}"


@pytest.mark.parametrize("quoted", [str, repr, json.dumps])
def test_a_value_is_struck_out_in_the_form_in_which_an_error_quotes_it(quoted: Any) -> None:
    made: Any = task(sensitive=("rest",))(gather)
    secret = 'Zoë\'s "secret"\nof two lines'
    told = redact(f"bad: {quoted([secret])}", made, [1, {"deep": [secret]}], {})
    assert MASK in told
    assert "secret" not in told
    assert "two lines" not in told
