"""The moves log: a trigger writes each change of a job's state, whoever made it.

So the oracle need not believe what the code under test says about itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from django.db import connection

from django_bgtasks.core.states import FINAL, Transition
from django_bgtasks.models import Job
from tests.app.models import Move

ALLOWED = {(source, each.target) for each in Transition for source in each.sources}

JOBS, LOG = Job._meta.db_table, Move._meta.db_table
WRITE = f"""
    INSERT INTO {LOG} (job, old, new, claims) VALUES (NEW.id, OLD.state, NEW.state, NEW.claims);
"""
SQLITE = f"""
CREATE TRIGGER faults_moves AFTER UPDATE OF state ON {JOBS} WHEN OLD.state <> NEW.state
BEGIN {WRITE} END
"""
POSTGRES = f"""
CREATE FUNCTION faults_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN {WRITE} RETURN NULL; END $$;
CREATE TRIGGER faults_moves AFTER UPDATE OF state ON {JOBS} FOR EACH ROW
WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION faults_moves()
"""
MYSQL = f"""
CREATE TRIGGER faults_moves AFTER UPDATE ON {JOBS} FOR EACH ROW
BEGIN IF NOT OLD.state <=> NEW.state THEN {WRITE} END IF; END
"""
DROP = "DROP TRIGGER IF EXISTS faults_moves"
TRIGGERS = {
    "sqlite": (DROP, SQLITE),
    "postgresql": ("DROP FUNCTION IF EXISTS faults_moves CASCADE", POSTGRES),
    "mysql": (DROP, MYSQL),
}


@contextmanager
def moves_logged() -> Iterator[None]:
    """While it lasts, each change of a job's state is a row of `Move`."""
    drop, create = TRIGGERS[connection.vendor]
    # A case that left the database locked could not.
    _execute(drop)
    _execute(create)
    try:
        yield
    finally:
        _execute(drop)


def violations() -> list[str]:
    """What the moves log shows that must never be."""
    by_job: dict[str, list[Move]] = defaultdict(list)
    for move in Move.objects.order_by("pk"):
        by_job[str(move.job)].append(move)
    return [text for moves in by_job.values() for text in _violations_of(moves)]


def _violations_of(moves: list[Move]) -> Iterator[str]:
    for move in moves:
        if (move.old, move.new) not in ALLOWED:
            yield f"{move}: there is no such move"
    for before, now in pairwise(moves):
        if before.new != now.old:
            yield f"{now}: it was {before.new} by {before}"
        if before.new in FINAL and now.new not in ("queued", "blocked"):
            yield f"{now}: after the end"
        grown = now.claims - before.claims
        if grown != (now.new == "running"):
            yield f"{now}: {grown} claims after {before}"


def _execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
