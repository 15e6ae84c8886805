"""The lines between the supervisor and maintenance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_bgtasks.worker.maintenance.pipes import Pipe

# A pipe holds 64 KiB on Linux.
MORE_THAN_FITS = 100
TEXT = "x" * 10_000


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe with both ends in this process."""
    made = Pipe()
    yield made
    made.close()


def test_lines_that_do_not_fit_arrive_later_whole_and_in_order(pipe: Pipe) -> None:
    for number in range(MORE_THAN_FITS):
        assert pipe.send("died", number=number, detail=TEXT)
    lines: list[dict[str, Any]] = []
    while len(lines) < MORE_THAN_FITS:
        received = pipe.receive()
        assert received, "nothing more arrives"
        lines += received
        assert pipe.flush()
    assert [line["number"] for line in lines] == list(range(MORE_THAN_FITS))
    assert {line["detail"] for line in lines} == {TEXT}


def test_a_pipe_that_nobody_reads_any_more_says_so_and_keeps_nothing(pipe: Pipe) -> None:
    pipe.keep_writer()
    assert not pipe.send("stop")
    assert pipe.flush()
