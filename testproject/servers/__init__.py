"""Real servers for the tests, the demo and the benchmarks, started on the spot without root.

A server named by the environment is used instead of starting one: BGTASKS_TEST_REDIS_URL,
BGTASKS_TEST_POSTGRES_URL, BGTASKS_TEST_MYSQL_URL.
"""

from .base import Server, ServerMissing
from .databases import (
    DatabaseServer,
    MariaDBServer,
    PgBouncerServer,
    PostgresServer,
    database_settings,
)
from .redis import RedisServer

__all__ = [
    "DatabaseServer",
    "MariaDBServer",
    "PgBouncerServer",
    "PostgresServer",
    "RedisServer",
    "Server",
    "ServerMissing",
    "database_settings",
]
