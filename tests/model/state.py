"""What the model remembers: plain tuples, so that two equal situations are one state."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from django_bgtasks.core.states import State

T = TypeVar("T")

DELETED = "deleted"  # Row.state: of a row that is no more
UNCOMMITTED = "uncommitted"  # Row.state: nobody but who has inserted it sees it yet
IN_TIME, LATE = 1, 2
NOBODY, GONE = -2, -1  # Row.worker: nobody runs it; its worker has ended or was restarted

# A claim as its holder knows it: (fencing token, 1 if the claim is still the job's latest else 0).
# The second half is the model's own knowledge: no process has it, the properties are about it.
# Empty for one who does not know of a claim.
Ref = tuple[Any, ...]
UNKNOWN: Ref = ()

# Where a process is. The comment says what its shared state shows the supervisor meanwhile.
IDLE = "idle"  # nothing
POPPED = "popped"  # claiming
MARKING = "marking"  # nothing, for a moment: only in the twin with a blank state
CLAIMED = "claimed"  # claiming, then claimed: the claim is committed, the task has not begun
BODY = "body"  # running
CHECKED = "checked"  # running: only in the twin with a lease
SETTLING = "settling"  # its settlement got no answer and is written again. running; ended, if it is
# the success of a group; claimed, if it is the release of what has not begun
REREAD = "reread"  # running: the COMMIT of an atomic task got no answer


class Row(NamedTuple):
    """A job's row, whether Redis has a message for it, and what has happened to it so far.

    done: settlements as succeeded. begun: for on_crash="fail" how often the task began, for others
    in how many attempts the process died. suspect: seen by one look of OrphanedClaims. chosen: read
    by the first statement of a prune, which has yet to delete it. expiry: of one that must begin in
    time, IN_TIME or LATE. ran: whether such a one has begun. dropped: whether a worker has looked
    for it until it gave up, for it was not committed.
    """

    state: str = State.QUEUED
    attempt: int = 0
    worker: int = NOBODY
    message: int = 1
    done: int = 0
    begun: int = 0
    suspect: int = 0
    chosen: int = 0
    expiry: int = 0
    ran: int = 0
    dropped: int = 0


class Seat(NamedTuple):
    """A process. `kind`: what it wants to write, while its settlement has no answer."""

    at: str = IDLE
    job: int = -1
    ref: Ref = UNKNOWN
    kind: str = ""


class Worker(NamedTuple):
    """A bgworker: whether others have called it dead, and the deaths that maintenance has to
    settle.
    """

    lost: int = 0
    deaths: tuple[tuple[int, Ref, str], ...] = ()


class Late(NamedTuple):
    """A statement whose sender got no answer, or has died: it arrives later, or never."""

    what: str
    job: int
    worker: int
    ref: Ref = UNKNOWN
    kind: str = ""


PROCESSES = tuple(f"job process {number}" for number in range(4))
WORKERS = tuple(f"worker {number}" for number in range(4))


class World(NamedTuple):
    """A state of the model. left: how many more faults may strike."""

    rows: tuple[Row, ...]
    seats: tuple[Seat, ...]
    workers: tuple[Worker, ...]
    late: tuple[Late, ...] = ()
    left: int = 0


class Step(NamedTuple):
    """A move to another state. calm: neither a fault nor a wish of the task to run later."""

    calm: bool
    what: str
    who: str
    world: World


class Broken(Exception):
    """A property does not hold after this step."""

    def __init__(self, text: str, what: str, who: str) -> None:
        super().__init__(text)
        self.step = (what, who)


def put(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    """The tuple with another item at one place."""
    return (*items[:index], item, *items[index + 1 :])


def without(items: tuple[T, ...], index: int) -> tuple[T, ...]:
    """The tuple without the item at one place."""
    return items[:index] + items[index + 1 :]
