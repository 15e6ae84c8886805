"""Who waits behind the jobs that a process runs, in the lanes of their limits and sequences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from ..ledger.admission import SOME_BEHIND
from ..ledger.lanes import Line, first_in_line
from ..models import Job

# Of so many lanes it is remembered.
MOST = 1000


class Heir(NamedTuple):
    """Who is to have the place of a job that has ended."""

    id: UUID
    queue: str
    priority: int
    backend: str


Choose = Callable[[Iterable[Heir]], Iterable[Heir]]


class Lines:
    """Who seems to be next in the lanes in which somebody waited.

    Who it is, is asked when the job is claimed; but its id is known before, so that a crash can be
    laid to it.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        self._lines: dict[str, Line] = {}
        # The lanes of which somebody was left out.
        self._longer: set[str] = set()

    def look(self, freed: Mapping[str, Sequence[int]]) -> Collection[str]:
        """Those of these lanes in which somebody may wait for the numbers that were freed. The
        first one there is let in now.
        """
        # Where there are more, they are for admit() alone.
        lanes = [lane for lane, numbers in freed.items() if len(numbers) == 1]
        lines = first_in_line(lanes, self._using) if lanes else None
        if lines is None:
            return freed
        self._forget(lanes)
        if len(self._lines) + len(lines) > MOST:
            self._forget(list(self._lines))
        self._remember(lines)
        self._go_on(lines)
        return (freed.keys() - set(lanes)) | lines.keys()

    def heirs(self, jobs: Sequence[Job], choose: Choose) -> dict[UUID, tuple[str, int]]:
        """Who is to have the places of these jobs: for each the lane and its number.

        choose: those of some jobs that there is time for.
        """
        ended = Counter(job.lane for job in jobs)
        numbers = {
            job.lane: job.place
            for job in jobs
            if job.lane in self._lines and job.place and ended[job.lane] == 1
        }
        if used_up := [lane for lane in numbers if not self._lines[lane].ids]:
            found = first_in_line(used_up, self._using) or {}
            self._forget(used_up)
            self._remember(found)
        lines = {lane: self._lines[lane] for lane in numbers if lane in self._lines}
        lane_of = {line.ids[0]: lane for lane, line in lines.items() if line.ids}
        chosen = choose(Heir(pk, *lines[lane][:3]) for pk, lane in lane_of.items())
        return {heir.id: (lane_of[heir.id], numbers[lane_of[heir.id]]) for heir in chosen}

    def handed_on(self, heirs: dict[UUID, tuple[str, int]], claimed: Collection[UUID]) -> None:
        """These of the heirs were claimed; of the other lanes nothing is known any more."""
        self._forget([lane for pk, (lane, _) in heirs.items() if pk not in claimed])
        self._go_on([heirs[job_id][0] for job_id in claimed])

    def _remember(self, lines: Mapping[str, Line]) -> None:
        self._lines |= lines
        self._longer |= {lane for lane, line in lines.items() if len(line.ids) == SOME_BEHIND}

    def _go_on(self, lanes: Iterable[str]) -> None:
        """Leave out the first of each. One that is used up is read again if there were more."""
        for lane in list(lanes):
            ids = self._lines[lane].ids
            del ids[:1]
            if not ids and lane not in self._longer:
                del self._lines[lane]

    def _forget(self, lanes: Iterable[str]) -> None:
        for lane in lanes:
            self._lines.pop(lane, None)
            self._longer.discard(lane)
