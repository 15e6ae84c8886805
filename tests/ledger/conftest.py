"""Each promise of the ledger is tried with both forms of its SQL."""

from __future__ import annotations

import pytest

from django_bgtasks.ledger import returning, statements


@pytest.fixture(autouse=True, params=["hot", "portable"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database's own statements where there are some, and the ORM's for all others."""
    form: str = request.param
    if form == "portable":
        monkeypatch.setattr(statements, "DIALECTS", {})
        monkeypatch.setattr(returning, "update_returns", lambda using: False)
        monkeypatch.setattr(returning, "insert_returns", lambda using: False)
    return form
