"""The servers and the directory of one test session, named to the settings by the environment."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile

from testproject.servers import DatabaseServer, MariaDBServer, PostgresServer, RedisServer

DATABASE_SERVERS: dict[str, type[DatabaseServer]] = {
    "postgres": PostgresServer,
    "mysql": MariaDBServer,
}


# The variables that a session has set itself and that its xdist workers, who inherit them, must not
# use: tests flush Redis, and look who waits in MariaDB. PostgreSQL they share, each with a database
# of its own.
STARTED = "BGTASKS_TEST_STARTED"


def hear_signals() -> None:
    """Have the signals that tests are about, though this runs in the background or under nohup."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ignored in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, signal.SIG_DFL)


def start() -> None:
    """Start what the environment does not name, until this process exits."""
    hear_signals()
    for variable in os.environ.pop(STARTED, "").split():
        os.environ.pop(variable, None)
    directory = tempfile.mkdtemp(prefix="bgtasks-tests-")
    os.environ["BGTASKS_TEST_DIR"] = directory
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    wanted: list[type[RedisServer | DatabaseServer]] = [RedisServer]
    if server := DATABASE_SERVERS.get(os.environ.get("BGTASKS_TEST_DB", "sqlite")):
        wanted.append(server)
    for kind in wanted:
        if kind.variable not in os.environ and kind is not PostgresServer:
            os.environ[STARTED] = f"{os.environ.get(STARTED, '')} {kind.variable}"
        running = kind().start()
        os.environ[kind.variable] = running.url
        atexit.register(running.stop)
