"""`manage.py bgworker`: run background jobs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, OutputWrapper
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...advice import advice_for
from ...core.current import become_worker
from ...core.options import MAX_SECONDS, backend_settings
from ...jobs.discovery import discover_tasks
from ...jobs.task import queues_of
from ...ledger.lifecycle import ledger_database
from ...sandbox.connections import close_for_good
from ...worker import log_handlers, preflight, streams, unix_signals
from ...worker.config import (
    CONNECTIONS,
    COROUTINES,
    GROUP_SIZE,
    MOST_COROUTINES,
    MOST_THREADS,
    WorkerConfig,
)
from ...worker.heartbeat_file import HeartbeatFile, HeartbeatFileError
from ...worker.logs import banner, set_up_logging
from ...worker.processes import load_beforehand
from ...worker.reload import is_restart, run_with_reload
from ...worker.supervisor import Supervisor
from ..arguments import COUNT, MOST, QUEUE, Number, Text
from ..base import TranslatedCommand

# Each with its default.
NUMBERS: dict[str, tuple[int | None, Any]] = {
    "--processes": (1, gettext_lazy("Job processes (default %(default)d).")),
    "--async-concurrency": (
        COROUTINES,
        gettext_lazy(
            "Coroutines that wait side by side in a process at most (default %(default)d)."
        ),
    ),
    "--async-connections": (
        CONNECTIONS,
        gettext_lazy(
            "Coroutines of a process that use the database at once, each with a connection of its "
            "own (default %(default)d)."
        ),
    ),
    "--threads": (
        1,
        gettext_lazy(
            "Threads of a process that run other jobs side by side (default %(default)d)."
        ),
    ),
    "--group-size": (
        GROUP_SIZE,
        gettext_lazy("Short jobs that a process claims together at most (default %(default)d)."),
    ),
    "--max-jobs": (None, gettext_lazy("Replace a process after N jobs.")),
}
MOST_OF = {
    "--processes": 1000,
    "--async-concurrency": MOST_COROUTINES,
    "--async-connections": MOST_COROUTINES,
    "--threads": MOST_THREADS,
}


class Command(TranslatedCommand):
    """Runs the jobs of the queues until it is stopped."""

    help = gettext_lazy(
        "Run background jobs: one maintenance process and N processes that run jobs."
    )
    # Made in handle(), in the process that works: with --reload there are two.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        text = _("Queues in order of preference. Default: all of the backend.")
        parser.add_argument("queues", nargs="*", type=QUEUE, help=text)
        super().add_arguments(parser)
        text = _("Exit when no job is queued any more.")
        parser.add_argument("--burst", action="store_true", help=text)
        text = _("Seconds for running jobs when stopped.")
        parser.add_argument("--grace", type=Number(float, 0, MAX_SECONDS), metavar="S", help=text)
        text = _("Restart when code changes.")
        parser.add_argument("--reload", action="store_true", default=None, help=text)
        parser.add_argument("--no-reload", dest="reload", action="store_false")
        for option, (default, lazy) in NUMBERS.items():
            kind = Number(int, 1, MOST_OF.get(option, MOST))
            parser.add_argument(option, type=kind, default=default, metavar="N", help=str(lazy))
        text = _("Replace a process above so much.")
        parser.add_argument("--max-memory", type=COUNT, metavar="MIB", help=text)
        text = _("Touch this file every second while the worker is well.")
        parser.add_argument("--heartbeat-file", type=Text(4096), metavar="PATH", help=text)

    def run_from_argv(self, argv: list[str]) -> None:
        """Be ready for a stop, and do without an output, from the first moment on."""
        unix_signals.install()
        streams.make_lenient()
        self.stdout, self.stderr = OutputWrapper(sys.stdout), OutputWrapper(sys.stderr)
        self.stderr.style_func = self.style.ERROR
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, say what this worker does, and do it."""
        set_up_logging(options["verbosity"])
        # First of all, for --reload watches the files of what is loaded here.
        # Some of Django's checks ask the database, and a worker waits for one that is away.
        self.check(databases=())
        discover_tasks(self.chosen_backend(options))
        reload = settings.DEBUG if options["reload"] is None else options["reload"]
        if reload and not options["burst"] and not run_with_reload():
            return
        config = self._plan(options)
        queues = self._queues(config)
        become_worker()
        # What the start of the site may have opened must not be shared with the job processes.
        close_for_good()
        log_handlers.find_handlers()
        load_beforehand(config.backend, config.using)
        heartbeat = self._heartbeat(options["heartbeat_file"])
        try:
            code = preflight.check_database(config, heartbeat)
            if not code:
                if options["verbosity"]:
                    self.stderr.write(banner(config, queues))
                    self._advise(config)
                code = Supervisor(config, heartbeat).run()
                log_handlers.drain()
        finally:
            if heartbeat is not None:
                heartbeat.remove()
        sys.exit(code)

    def _heartbeat(self, path: str | None) -> HeartbeatFile | None:
        if path is None:
            return None
        try:
            heartbeat = HeartbeatFile(path)
        except HeartbeatFileError as error:
            text = _("--heartbeat-file: %s. Name a file that this user may write.")
            raise CommandError(text % error) from None
        unix_signals.before_end(heartbeat.remove)
        return heartbeat

    def _advise(self, config: WorkerConfig) -> None:
        """Say what would be better: once, and not at each change of the code."""
        if is_restart():
            return
        for advice in advice_for(config.backend, config.using):
            self.stderr.write(advice.line, self.style.NOTICE)

    def _plan(self, options: dict[str, Any]) -> WorkerConfig:
        backend, grace = self.chosen_backend(options), options["grace"]
        if grace is None:
            grace = backend_settings(backend).options.grace
        return WorkerConfig(
            backend=backend,
            using=ledger_database(),
            queues=tuple(dict.fromkeys(options["queues"])),
            processes=options["processes"],
            burst=options["burst"],
            group_size=min(options["group_size"], GROUP_SIZE),
            async_concurrency=options["async_concurrency"],
            async_connections=options["async_connections"],
            threads=options["threads"],
            max_jobs=options["max_jobs"],
            max_memory=options["max_memory"],
            grace=grace,
        )

    def _queues(self, config: WorkerConfig) -> tuple[str, ...]:
        known = queues_of(config.backend)
        configured = backend_settings(config.backend).queues
        unknown = [name for name in config.queues if configured and name not in configured]
        if unknown:
            text = _("Unknown queue: %(queues)s. TASKS[%(backend)r]['QUEUES'] has %(known)s.")
            values = {"queues": ", ".join(unknown), "known": ", ".join(sorted(known))}
            raise CommandError(text % {**values, "backend": config.backend})
        if strange := [name for name in config.queues if name not in known]:
            # QUEUES is empty: as in Django, any name is allowed, and a typo looks like one.
            text = _("No task here names the queue %(queues)s. Tasks name %(known)s.")
            values = {"queues": ", ".join(strange), "known": ", ".join(sorted(known))}
            self.stderr.write(text % values)
        return config.queues or tuple(sorted(known, key=lambda name: (name != "default", name)))
