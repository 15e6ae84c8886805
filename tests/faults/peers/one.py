"""One system in a process of its own: `python -m tests.faults.peers.one SYSTEM [CASE ...]`."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from testproject.servers import PostgresServer, RedisServer

from .adapter import VARIABLE, Adapter, adapter_of


def main(name: str, *sections: str) -> None:
    """Set the site of this system up on fresh servers, and run its cases."""
    os.environ.update(
        {
            VARIABLE: name,
            "BGTASKS_TEST_DB": "postgres",
            "DJANGO_SETTINGS_MODULE": "tests.faults.peers.settings",
        }
    )
    directory = Path(tempfile.mkdtemp(prefix="bgtasks-peers-"))
    # With its append-only file Redis keeps its jobs over a polite restart, as a site's does.
    with RedisServer(persistent=True) as redis, PostgresServer(private=True) as postgres:
        os.environ[redis.variable], os.environ[postgres.variable] = redis.url, postgres.url
        set_up()
        measure(adapter_of(name), redis, postgres, directory, sections)
    shutil.rmtree(directory, ignore_errors=True)


def set_up() -> None:
    """Django with an empty database."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, run_syncdb=True)


def measure(
    adapter: Adapter,
    redis: RedisServer,
    postgres: PostgresServer,
    directory: Path,
    sections: tuple[str, ...],
) -> None:
    """Run the cases one after the other; each is recorded when it is over."""
    from tests.faults.report import Entry, record

    from .cases import CASES
    from .run import Run

    for case in CASES:
        if sections and case.section not in sections:
            continue
        if case.on_redis and not adapter.needs_redis:
            entry = Entry(case.section, case.injected, adapter.name, remark="uses no Redis")
        else:
            run = Run(adapter, redis, postgres, directory / case.section)
            try:
                case.strike(run)
            except AssertionError:
                # It waited in vain before or after the fault, so its counts mean something else.
                traceback.print_exc()
                run.tell_workers()
                run.end_workers()
                when = "after" if run.faults else "before"
                remark = f"not measured: it broke off {when} the fault"
                entry = Entry(case.section, case.injected, adapter.name, remark=remark)
            else:
                entry = run.entry(case.section, case.injected)
        record(entry)
        sys.stdout.write(f"{entry}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
