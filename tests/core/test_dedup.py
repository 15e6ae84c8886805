"""From a call to its dedup key."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_bgtasks import InvalidArguments, task
from django_bgtasks.core.dedup import dedup_of, key_of, slot_of
from django_bgtasks.core.payload import bind


def send(user_id: Any, kind: str = "welcome") -> None:
    """Any function at a module's top level."""


def with_context(context: Any, user_id: int) -> None:
    """One that takes the context."""


def keyed(dedup_key: Any, **options: Any) -> Any:
    decorator: Any = task
    return decorator(dedup_key=dedup_key, **options)(send)


def test_a_format_string_is_filled_with_the_arguments_of_the_call() -> None:
    assert key_of(keyed("{kind}:{user_id}"), (7,), {}) == "welcome:7"
    assert key_of(keyed("{kind}:{user_id}"), (), {"user_id": 7, "kind": "reset"}) == "reset:7"


def test_arguments_by_position_and_by_name_make_the_same_key() -> None:
    by_user = keyed("{user_id}")
    assert key_of(by_user, (7,), {}) == key_of(by_user, (), {"user_id": 7})


def test_a_key_can_reach_into_lists_and_dicts() -> None:
    assert key_of(keyed("{user_id[name]}"), ({"name": "ada"},), {}) == "ada"


def test_a_callable_is_called_with_the_arguments_of_the_call() -> None:
    assert key_of(keyed(lambda user_id, kind="x": f"{user_id}-{kind}"), (7,), {}) == "7-x"


def test_the_context_is_no_argument_of_the_call() -> None:
    by_user = task(takes_context=True, dedup_key="{user_id}")(with_context)
    assert key_of(by_user, (7,), {}) == "7"


@pytest.mark.parametrize("key", [None, "", lambda *a, **k: None, lambda *a, **k: ""])
def test_a_call_without_a_key_is_never_a_duplicate(key: Any) -> None:
    assert dedup_of(keyed(key), (7,), {}) is None


def test_braces_can_be_escaped() -> None:
    assert key_of(keyed("{{{user_id}}}"), (7,), {}) == "{7}"


@pytest.mark.parametrize(
    "key",
    [
        "{nobody}",
        "{}",
        "{0}",
        "{user_id",
        "{user_id.name}",
        "{user_id[0]}",
        "{user_id:>d!}",
        "{user_id:{nobody}}",
    ],
)
def test_a_key_that_cannot_be_made_says_which_names_it_may_use(key: str) -> None:
    with pytest.raises(InvalidArguments) as refusal:
        key_of(keyed(key), (7,), {})
    message = str(refusal.value)
    assert repr(key) in message
    assert "tests.core.test_dedup.send" in message
    assert "these arguments: user_id, kind" in message


def test_a_format_that_does_not_fit_the_value_is_a_clear_error_too() -> None:
    with pytest.raises(InvalidArguments, match="cannot be made"):
        key_of(keyed("{user_id:>10}"), (None,), {})


@pytest.mark.parametrize(
    "key", ["{user_id.__class__}", "{user_id._x}", "{user_id[_x]}", "{kind:{user_id.__class__}}"]
)
def test_private_attributes_are_out_of_reach(key: str) -> None:
    with pytest.raises(InvalidArguments, match="cannot be made"):
        key_of(keyed(key), ({"_x": 1},), {})


def test_a_key_that_is_no_string_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="must give a string or None, not <class 'int'>"):
        key_of(keyed(lambda *a: 7), (1,), {})


def test_a_key_that_is_too_long_is_refused_with_the_cure() -> None:
    assert key_of(keyed("{user_id}"), ("x" * 255,), {})
    with pytest.raises(InvalidArguments, match=r"256 characters long.*Use a hash"):
        key_of(keyed("{user_id}"), ("x" * 256,), {})


@pytest.mark.parametrize("key", ["a\0b", "\ud800"])
def test_a_key_that_no_database_stores_is_refused(key: str) -> None:
    with pytest.raises(InvalidArguments, match=r"dedup key of tests\.core\.test_dedup\.send"):
        dedup_of(keyed(lambda *a: key), (1,), {})


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, "a", 3), {}), ((1,), {"user_id": 2}), ((1,), {"nope": 2})]
)
def test_a_call_that_does_not_fit_the_function_is_refused_by_name(args: Any, kwargs: Any) -> None:
    with pytest.raises(InvalidArguments, match=r"^tests\.core\.test_dedup\.send: "):
        bind(keyed(None), args, kwargs)


def test_the_same_key_of_two_tasks_has_two_slots() -> None:
    assert slot_of("a.b", "c") == slot_of("a.b", "c")
    assert len({slot_of("a.b", "c"), slot_of("a.d", "c"), slot_of("a.b", "d")}) == 3


def test_the_scope_is_live_queued_or_a_window() -> None:
    hour = timedelta(hours=1)
    found = [
        dedup_of(keyed("k", dedup_scope=scope), (1,), {}) for scope in ("live", "queued", hour)
    ]
    assert [(d.scope, d.window) for d in found if d] == [
        ("live", None),
        ("queued", None),
        ("window", hour),
    ]
