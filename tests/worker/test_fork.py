"""A child process and the signals that come while it is being born."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.workers import ROOT

# The signal is there before the child has run a line of ours.
BORN_STOPPED = """
import os, signal, time
from django_bgtasks.worker.processes import fork
signal.signal(signal.SIGTERM, lambda *ignored: None)
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
_, status = os.waitpid(fork(lambda: time.sleep(30)), 0)
print(os.waitstatus_to_exitcode(status))
"""


def test_a_stop_that_comes_while_a_child_is_born_is_not_lost(worker_env: dict[str, str]) -> None:
    command = [sys.executable, "-c", f"import django; django.setup(){BORN_STOPPED}"]
    ended = subprocess.run(
        command, cwd=ROOT, env=worker_env, check=True, capture_output=True, text=True, timeout=25
    )
    assert ended.stdout.strip() == str(-signal.SIGTERM)
