"""A worker that has nothing to do takes no lock for writing: on SQLite that lock is everybody's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_bgtasks.core import clock
from django_bgtasks.ledger.lifecycle import claim_next
from django_bgtasks.worker.maintenance import promote, prune, rescue
from django_bgtasks.worker.maintenance.rollups import RollUps
from tests.app.tasks import add
from tests.interfaces.rows import make_worker
from tests.statements import statements

DB = "default"
LOOKS: dict[str, Callable[[], object]] = {
    "promote": partial(promote.run_once, DB),
    "prune": partial(prune.run_once, DB),
    "rescue": partial(rescue.run_once, 100.0, DB),
    "roll up": RollUps(DB).run_once,
    "fetch from the database": partial(claim_next, ["default"], clock.new_id(), DB, None, DB),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_look_that_finds_nothing_writes_nothing(look: Callable[[], object]) -> None:
    make_worker()
    add.using(queue_name="emails").enqueue(1, 2)
    look()
    with CaptureQueriesContext(connection) as queries:
        look()
    assert set(statements(queries)) <= {"select"}
