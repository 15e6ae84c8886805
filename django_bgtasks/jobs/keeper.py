"""A process that goes on with what becomes free by the jobs that it has run, without a message."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from ..core.current import job_at_hand
from ..ledger.lanes import Admitted, HandedOn
from ..models import Job

Ready = Sequence[Job | Admitted]


class Keeper(Protocol):
    """A process that runs itself what can begin by the end of those that it has run."""

    def hand_on(self, done: Sequence[tuple[Job, Any]]) -> HandedOn:
        """Settle these successes and claim who is next for their places, if it can do so at once:
        what was not settled is to be settled as usual.
        """

    def look(self, freed: Mapping[str, Sequence[int]]) -> Collection[str]:
        """Those of these lanes in which somebody may wait for the numbers that were freed."""

    def keep(self, ready: Ready) -> Ready:
        """Run some of these jobs. Returns the others, which are to be sent."""


# The one that has the first choice of jobs that can begin by what is done here.
keeper_here: ContextVar[Keeper | None] = ContextVar("bgtasks_keeper", default=None)


def find_keeper() -> Keeper | None:
    """The process that has the first choice of jobs that can begin now.

    None for code of the site: nobody knows how long a task goes on, and what it lets begin is for
    processes that have nothing to do.
    """
    return keeper_here.get() if job_at_hand() is None else None


def settle_by_keeper(done: Sequence[tuple[Job, Any]]) -> HandedOn:
    """Keeper.hand_on(); nothing is settled where there is no keeper."""
    keeper = keeper_here.get() if done else None
    return HandedOn() if keeper is None else keeper.hand_on(done)
