"""The site of the tests, with a middleware and with receivers of the signals about processes."""

from tests.jobs.middleware import connect
from tests.settings import *  # noqa: F403
from tests.settings import TASKS

TASKS["default"]["OPTIONS"]["middleware"] = ["tests.jobs.middleware.ToFile"]
connect()
