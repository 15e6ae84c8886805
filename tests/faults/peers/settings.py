"""The site of the comparison: that of the tests, and what the system under test needs."""

from tests.settings import *  # noqa: F403
from tests.settings import REDIS_URL

from .adapter import current

globals().update(current().settings(REDIS_URL))
