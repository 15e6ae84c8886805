"""What people and the site do to a limit: change how many run at once, and leave it to the code."""

from __future__ import annotations

from typing import Any

from django.db import connections

from ..core.errors import InvalidArguments
from ..core.labels import MAX_KEY
from ..core.limits import MAX_PLACES, is_at_once, prefix_of
from ..core.payload import fault_of
from ..jobs.actions import By, acting
from ..jobs.enqueue import admit_now, admit_on_commit
from ..ledger import history
from ..ledger.admission import LANE
from ..ledger.connection import in_transaction
from ..ledger.lanes import keys_with_waiting
from ..ledger.lifecycle import ledger_database
from ..ledger.times import Now
from ..models import HistoryVerb, LimitOverride

# Of a key in the history, before the number.
KEY_IN_HISTORY = 240
# So many lanes are looked at in one statement.
PAGE = 100


def set_limit(key: str, at_once: int, *, prefix: bool = False, by: By = None) -> None:
    """Let so many jobs of a key run at once, from now on, whatever the code says.

    key: that of the limit, such as "stripe:42"; or, with prefix=True, what stands before the first
    colon of all keys that it is for. What is said of a key counts before what is said of its
    prefix. at_once: from 0, so that none begins, to 1,000. A sequence stays one at a time.
    by: who wants it, for the history; None writes nothing there.

    Those that wait get in after the commit. If it is lowered, what runs goes on, and none gets in
    until fewer run than it allows. Raises InvalidArguments.
    """
    _check(key, prefix)
    if not is_at_once(at_once):
        raise InvalidArguments(
            f"The limit of {key!r} is a whole number from 0 to {MAX_PLACES:,}, not {at_once!r}. "
            f"Nothing was changed."
        )
    using, actor = ledger_database(), acting(by)

    def write() -> None:
        values = {"at_once": at_once, "by": actor.name[:150] if actor else "", "changed_at": Now()}
        rows = LimitOverride.objects.using(using)
        rows.update_or_create(key=key, is_prefix=prefix, defaults=values)
        _after_change(key, prefix, using)
        _record(HistoryVerb.LIMIT_CHANGED, by, f"{_name(key, prefix)} = {at_once}", using)

    in_transaction(write, using)


def reset_limit(key: str, *, prefix: bool = False, by: By = None) -> bool:
    """Let the code say again how many jobs of a key, or of a prefix, run at once.

    False if nobody had said otherwise. Raises InvalidArguments for what is no key.
    """
    _check(key, prefix)
    using = ledger_database()

    def delete() -> bool:
        rows = LimitOverride.objects.using(using).filter(key=key, is_prefix=prefix)
        if not rows.delete()[0]:
            return False
        _after_change(key, prefix, using)
        _record(HistoryVerb.LIMIT_RESET, by, _name(key, prefix), using)
        return True

    return in_transaction(delete, using)


def key_fault(key: Any, prefix: bool = False) -> str:
    """Why that is no key of a limit, or no prefix; it goes on from "The key …". Empty if it is."""
    if fault := fault_of(key, MAX_KEY):
        return fault
    if prefix and prefix_of(key) != key:
        return f"stands before the first colon: it is {prefix_of(key)!r}."
    return ""


def _check(key: Any, prefix: bool) -> None:
    if fault := key_fault(key, prefix):
        what = "prefix" if prefix else "key"
        raise InvalidArguments(f"The {what} of a limit {fault} Nothing was changed.")


def _name(key: str, prefix: bool) -> str:
    """The key as people read it in the history."""
    cut = key if len(key) <= KEY_IN_HISTORY else f"{key[:KEY_IN_HISTORY]}…"
    return f"{cut}:*" if prefix else cut


def _after_change(key: str, prefix: bool, using: str) -> None:
    """After the commit let in those for whom there is a place now."""
    if prefix:
        connections[using].on_commit(lambda: _admit_all(key, using), robust=True)
    else:
        admit_on_commit({key: ()}, (), using)


def _admit_all(prefix: str, using: str) -> None:
    """Those that wait in a lane with this prefix. What fails is left to maintenance."""
    after = ""
    while lanes := keys_with_waiting(LANE, after, PAGE, using):
        if found := [lane for lane in lanes if prefix_of(lane) == prefix]:
            admit_now(dict.fromkeys(found, ()), (), using)
        after = lanes[-1]


def _record(verb: HistoryVerb, by: By, detail: str, using: str) -> None:
    if actor := acting(by):
        history.record(verb, actor, [{"detail": detail}], using)
