"""Who waits behind the jobs that a process runs, in the lanes of their limits and sequences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from uuid import UUID

from ..ledger.admission import SOME_BEHIND
from ..ledger.lanes import Admitted, first_in_line
from ..models import Job

# Of so many lanes it is remembered.
MOST = 1000
Choose = Callable[[Iterable[Job | Admitted]], Iterable[Job | Admitted]]


class Lines:
    """Who seems to be next in the lanes in which somebody waited.

    Who it is, is asked when the job is claimed; but its id is known before, so that a crash can be
    laid to it.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        self._lines: dict[str, list[Admitted]] = {}
        # The lanes of which nobody was left out.
        self._whole: set[str] = set()

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
        if used_up := [lane for lane in numbers if not self._lines[lane]]:
            found = first_in_line(used_up, self._using) or {}
            self._forget(used_up)
            self._remember(found)
        lane_of = {self._lines[lane][0].id: lane for lane in numbers if lane in self._lines}
        chosen = choose(self._lines[lane][0] for lane in lane_of.values())
        return {job.id: (lane_of[job.id], numbers[lane_of[job.id]]) for job in chosen}

    def handed_on(self, heirs: dict[UUID, tuple[str, int]], claimed: Collection[UUID]) -> None:
        """These of the heirs were claimed; of the other lanes nothing is known any more."""
        self._forget([lane for pk, (lane, _) in heirs.items() if pk not in claimed])
        self._go_on([heirs[job_id][0] for job_id in claimed])

    def _remember(self, lines: Mapping[str, list[Admitted]]) -> None:
        self._lines |= lines
        self._whole |= {lane for lane, line in lines.items() if len(line) < SOME_BEHIND}

    def _go_on(self, lanes: Collection[str]) -> None:
        """Leave out the first of each. One that is used up is read again if there were more."""
        for lane in lanes:
            self._lines[lane] = self._lines[lane][1:]
        self._forget([lane for lane in lanes if lane in self._whole and not self._lines[lane]])

    def _forget(self, lanes: Iterable[str]) -> None:
        for lane in lanes:
            self._lines.pop(lane, None)
            self._whole.discard(lane)
