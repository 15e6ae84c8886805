"""The rows of the idempotency log: who may perform an effect, and what it gave.

A record is owned through its `token`: only its holder may complete or withdraw it, so that a
caller that was taken over changes nothing when it wakes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.db.models import Exists, OuterRef, Q

from ..core.errors import FingerprintMismatch
from ..core.faultpoints import fault_point
from ..core.states import State
from ..ledger.connection import retried
from ..ledger.returning import current, insert_returning
from ..ledger.times import Now, after
from ..models import EffectState, IdempotencyRecord, Job

LEASE = timedelta(seconds=60)
CHUNK = 1000
SCOPE_AND_KEY = '("scope", "key")'


@dataclass(frozen=True, slots=True)
class Owner:
    """Who performs an effect: an attempt of a job, or, without one, a view or a command."""

    job: UUID | None = None
    attempt: int | None = None


@retried
def begin(
    scope: str,
    key: str,
    fingerprint: str,
    owner: Owner,
    keep_for: timedelta,
    using: str,
    token: UUID | None = None,
) -> IdempotencyRecord | None:
    """Insert the record of a new effect and return it; None if the key is there already.

    One whose time is over gives way, whether or not it was pruned by now.
    token: by which a caller knows its own record again, if the answer was lost.
    """
    record = IdempotencyRecord(scope=scope, key=key, fingerprint=fingerprint)
    record.job, record.attempt, record.token = owner.job, owner.attempt, token or uuid4()
    record.created_at, record.expires_at = Now(), after(keep_for)
    insert = partial(insert_returning, record, "created_at", using, SCOPE_AND_KEY)
    if insert():
        return record
    forgotten = expired(using).filter(scope=scope, key=key)._raw_delete(using)
    return record if forgotten and insert() else None


def expired(using: str) -> Any:
    """The records whose time is over, without those of effects that are going on."""
    running = Job.objects.using(using).filter(pk=OuterRef("job"), state=State.RUNNING)
    owned = Q(Exists(running)) | Q(job=None, created_at__gte=after(-LEASE))
    over = IdempotencyRecord.objects.using(using).filter(expires_at__lt=Now())
    return over.exclude(owned, state=EffectState.IN_PROGRESS)


@retried
def find(scope: str, key: str, fingerprint: str, using: str) -> IdempotencyRecord | None:
    """The record of this key. FingerprintMismatch if it was made for another call."""
    record = current(IdempotencyRecord.objects.using(using).filter(scope=scope, key=key))
    if record is not None and record.fingerprint != fingerprint:
        raise FingerprintMismatch(
            f"The idempotency key {key!r} was used before with other arguments. "
            f"Use a new key for a new effect."
        )
    return record


@retried
@fault_point("record")
def complete(record: IdempotencyRecord, response: Any, using: str) -> bool:
    """Record what the effect gave. False if the record was taken over meanwhile."""
    done = {"state": EffectState.DONE, "response": response, "completed_at": Now()}
    return bool(_in_progress(record, using).update(**done))


@retried
def withdraw(record: IdempotencyRecord, using: str) -> None:
    """Forget an effect that raised, so that the next attempt may perform it."""
    _in_progress(record, using)._raw_delete(using)


@retried
def take_over(
    record: IdempotencyRecord, owner: Owner, using: str, token: UUID | None = None
) -> IdempotencyRecord | None:
    """Become the owner of an effect whose owner is gone; None if someone else was faster."""
    token = token or uuid4()
    count = _in_progress(record, using).update(
        token=token, job=owner.job, attempt=owner.attempt, created_at=Now()
    )
    if not count:
        return None
    record.token, record.job, record.attempt = token, owner.job, owner.attempt
    return record


@retried
def give_up_on(record: IdempotencyRecord, using: str) -> None:
    """Mark an effect whose owner is gone as unknown: a person must decide."""
    _in_progress(record, using).update(state=EffectState.UNKNOWN)


@retried
def owner_is_gone(record: IdempotencyRecord, me: Owner, using: str) -> bool:
    """Whether nobody performs this effect any more.

    A job's claim tells; an owner without a job is given LEASE. The caller's own claim counts as
    gone, for it asks because an earlier life of the same attempt left the record behind.
    """
    if record.job is None:
        stale = IdempotencyRecord.objects.using(using).filter(created_at__lt=after(-LEASE))
        return stale.filter(pk=record.pk).exists()
    if record.job == me.job:
        return True
    live = Job.objects.using(using).filter(pk=record.job, state=State.RUNNING)
    return not live.filter(attempt=record.attempt or 0).exists()


def _in_progress(record: IdempotencyRecord, using: str) -> Any:
    return IdempotencyRecord.objects.using(using).filter(
        scope=record.scope, key=record.key, token=record.token, state=EffectState.IN_PROGRESS
    )


@retried
def prune(using: str, chunk: int = CHUNK) -> int:
    """Forget records that have expired, one chunk. Returns how many were deleted."""
    over = expired(using)
    ids = list(over.values_list("pk", flat=True)[:chunk])
    return over.filter(pk__in=ids)._raw_delete(using) if ids else 0
