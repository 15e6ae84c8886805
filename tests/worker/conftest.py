"""What the tests of real workers share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

# A worker that is called dead soon. The defaults are 3 s and 10 s.
QUICK = {"BGTASKS_TEST_OPTIONS": json.dumps({"beat_every": 0.5, "dead_after": 1.5})}


class Effects:
    """What the tasks really did, told outside of the database, and the gate that holds one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def entries(self) -> list[tuple[str, int]]:
        """Text and process id of each effect, in order."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().splitlines()
        return [(text, int(pid)) for text, _, pid in (line.rpartition(" ") for line in lines)]

    @property
    def texts(self) -> list[str]:
        """The effects in order."""
        return [text for text, _ in self.entries]

    @property
    def pids(self) -> list[int]:
        """The processes that had them."""
        return [pid for _, pid in self.entries]

    def open_gate(self) -> None:
        """Let wait_at_gate() through."""
        Path(f"{self.path}.gate").touch()


@pytest.fixture
def effects(tmp_path: Path) -> Effects:
    """The effects of this test's tasks."""
    return Effects(tmp_path / "effects.log")
