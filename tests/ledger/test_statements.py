"""Each form of the hot statements makes the transitions of the enum, and no others."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.states import State, Transition
from django_bgtasks.ledger.lifecycle import _claimed_by, _values, claim, owned, settle_many
from django_bgtasks.ledger.statement_texts import claim_sql, settle_sql
from django_bgtasks.ledger.statements import DIALECTS, Dialect
from django_bgtasks.models import Job

from .rows import DB, in_state, now

WORKER = clock.new_id()
each_state = pytest.mark.parametrize("state", State)
each_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


@each_dialect
@pytest.mark.parametrize(
    ("sql_of", "transition"),
    [(claim_sql, Transition.CLAIM), (settle_sql, Transition.SUCCEED)],
    ids=["claim", "settle"],
)
def test_a_statement_names_the_states_of_its_transition_only(
    dialect: Dialect, sql_of: Callable[[Dialect], str], transition: Transition
) -> None:
    sql = sql_of(dialect)
    written = re.findall(r"SET state = '(\w+)'", sql)
    compared = re.findall(re.escape(dialect.state) + r" = '(\w+)'", sql)
    assert (written, tuple(compared)) == ([transition.target], transition.sources)


@pytest.mark.django_db
@each_state
def test_a_claim_is_made_from_the_states_of_its_transition_only(form: str, state: State) -> None:
    job = in_state(state)
    claimed = claim(job.pk, WORKER, DB)
    assert (claimed is not None) == (state in Transition.CLAIM.sources)
    assert now(job).state == (state if claimed is None else Transition.CLAIM.target)
    assert claimed is None or claimed.state == Transition.CLAIM.target


@pytest.mark.django_db
@each_state
def test_a_success_is_settled_from_the_states_of_its_transition_only(
    form: str, state: State
) -> None:
    job = in_state(state)
    Job.objects.filter(pk=job.pk).update(worker=WORKER)
    before = now(job)
    before_the_end = state in Transition.SUCCEED.sources
    assert owned(before, DB).exists() == before_the_end
    # One that succeeded is found settled: its COMMIT may have had no answer.
    found = before_the_end or state == Transition.SUCCEED.target
    assert settle_many([(before, "late")], DB) == ({job.pk} if found else set())
    assert now(job).state == (Transition.SUCCEED.target if before_the_end else state)
    assert (now(job).result == "late") == before_the_end


@pytest.mark.parametrize("transition", [t for t in Transition if State.RUNNING in t.sources])
def test_what_the_orm_writes_of_an_outcome_has_the_state_of_its_transition(
    transition: Transition,
) -> None:
    values: dict[str, Any] = _values(Outcome(transition))
    assert values["state"] == transition.target
    assert _claimed_by(WORKER)["state"] == Transition.CLAIM.target


def test_all_ways_out_of_running_have_one_condition() -> None:
    ends = [each for each in Transition if State.RUNNING in each.sources]
    assert {each.sources for each in ends} == {Transition.SUCCEED.sources}
