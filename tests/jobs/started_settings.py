"""The site of the tests, with a receiver that asks the database when a process begins."""

from django_bgtasks import process_started
from tests.jobs.middleware import ask_database
from tests.settings import *  # noqa: F403

process_started.connect(ask_database)
