"""Which workers of the tests are forked: all but those that another environment has made others."""

from __future__ import annotations

import sys

import pytest

from .workers import FORK_SERVERS, SETTINGS

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="each worker is started anew"),
    pytest.mark.usefixtures("transactional_db"),
]


@pytest.mark.parametrize("settings", FORK_SERVERS)
def test_a_usual_worker_is_forked_also_beside_other_tests(
    settings: str, worker_env: dict[str, str]
) -> None:
    usual = {**worker_env, SETTINGS: settings}
    assert FORK_SERVERS[settings].takes(usual, usual)
    own = {"BGTASKS_TEST_OPTIONS": "{}", "BGTASKS_TEST_REDIS_URL": "redis://127.0.0.1:1/0"}
    assert FORK_SERVERS[settings].takes({**usual, **own}, usual)


@pytest.mark.parametrize("name", ["BGTASKS_TEST_USE_TZ", "BGTASKS_TEST_TASKS", "TZ"])
def test_a_worker_with_settings_of_its_own_is_started_anew(
    name: str, worker_env: dict[str, str]
) -> None:
    usual = {**worker_env, SETTINGS: "tests.settings"}
    assert not FORK_SERVERS["tests.settings"].takes({**usual, name: "0"}, usual)
