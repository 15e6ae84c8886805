"""Each promise of the ledger is tried with both forms of its SQL."""

from __future__ import annotations

import pytest

from django_bgtasks.ledger import sql


@pytest.fixture(autouse=True, params=["returning", "portable"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """UPDATE … RETURNING where the database has it, and the form for those that have not."""
    form: str = request.param
    if form == "portable":
        monkeypatch.setattr(sql, "update_returns", lambda alias: False)
        monkeypatch.setattr(sql, "insert_returns", lambda alias: False)
    return form
