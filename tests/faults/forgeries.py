"""What a stranger who can write to Redis puts there. Each forgery is to run a `touch`.

FORGERIES are messages whose hash lies; BELIEVED are those that a stock RQ worker believes, which a
test checks: a forgery that nobody would fall for proves nothing.
`python -m tests.faults.forgeries URL` is that stock worker.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import redis
import rq
from rq.serializers import JSONSerializer

NOW = "2026-01-01T00:00:00.000000Z"
HERE = "tests.faults.forgeries"
Fields = dict[Any, Any]
Forgery = Callable[["Target"], Fields]


@dataclass(frozen=True, slots=True)
class Target:
    """Which file is touched by whoever believes the forgery, and a site that may be called."""

    file: Path
    site: str

    @property
    def command(self) -> str:
        """For a shell."""
        return f"touch {self.file}"


class Bomb:
    """Whoever unpickles it runs its command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def called_back(job: rq.job.Job, *args: Any) -> None:
    """A callback: touches the file that the job was called with."""
    Path(job.args[0]).touch()


def pickled(function: str, *args: Any) -> bytes:
    return zlib.compress(pickle.dumps((function, None, args, {})))


def with_callback(kind: str, function: str, target: Target) -> Fields:
    data = pickled(function, str(target.file))
    return {"data": data, f"{kind}_callback_name": f"{HERE}.called_back"}


def with_webhooks(target: Target) -> Fields:
    hooks = [
        {"url": f"{target.site}/{target.file.name}", "job_status": status, "timeout": 5}
        for status in ("finished", "failed")
    ]
    return {"data": pickled("builtins.str", "x"), "webhooks": json.dumps(hooks)}


def bomb(target: Target) -> bytes:
    return pickle.dumps(Bomb(target.command))


FORGERIES: dict[str, Forgery] = {
    "os.system": lambda t: {"data": pickled("os.system", t.command)},
    "os.system uncompressed": lambda t: {"data": zlib.decompress(pickled("os.system", t.command))},
    "os.system in JSON": lambda t: {"data": json.dumps(["os.system", None, [t.command], {}])},
    "eval": lambda t: {"data": pickled("builtins.eval", f"__import__('os').system({t.command!r})")},
    "exec": lambda t: {"data": pickled("builtins.exec", f"import os; os.system({t.command!r})")},
    "subprocess": lambda t: {"data": pickled("subprocess.call", ["touch", str(t.file)])},
    "pickle as data": lambda t: {"data": bomb(t)},
    "compressed pickle as data": lambda t: {"data": zlib.compress(bomb(t))},
    "pickle as meta": lambda t: {"data": pickled("builtins.str", "x"), "meta": bomb(t)},
    "pickle as result": lambda t: {"data": pickled("builtins.str", "x"), "result": bomb(t)},
    "callback of success": lambda t: with_callback("success", "builtins.str", t),
    "callback of failure": lambda t: with_callback("failure", "builtins.int", t),
    "callback of a stop": lambda t: with_callback("stopped", "builtins.str", t),
    "webhooks": with_webhooks,
    "func_name": lambda t: {
        "func_name": "os.system",
        "description": f"os.system({t.command!r})",
        "args": json.dumps([t.command]),
        "data": b"",
    },
    "retries and repeats": lambda t: {
        "data": pickled("os.system", t.command),
        "retries_left": "9",
        "repeats_left": "9",
        "repeat_intervals": "[0]",
    },
    "every field a pickle": lambda t: dict.fromkeys(
        (
            *("data", "meta", "result", "exc_info", "origin", "status", "timeout", "ttl"),
            *("dependency_ids", "group_id", "worker_name", "webhooks", "created_at"),
            *("success_callback_name", "failure_callback_name", "stopped_callback_name"),
        ),
        bomb(t),
    ),
}
# Those for the JSON serializer, for a stop, without the data, and with a date that is none, are not
# for a stock worker with the defaults.
NOT_BELIEVED = {"os.system in JSON", "callback of a stop", "func_name", "every field a pickle"}
BELIEVED = [name for name in FORGERIES if name not in NOT_BELIEVED]


def plant(client: redis.Redis, waiting: str, job_id: str, forged: Fields) -> None:
    """Write the hash of a message, over what is there, and push its id to this list."""
    usual: Fields = {"created_at": NOW, "origin": "default", "status": "queued", "timeout": "30"}
    client.hset(f"rq:job:{job_id}", mapping={**usual, **forged})
    client.rpush(waiting, job_id)


def plant_registries(
    client: redis.Redis, waiting: str, job_id: str, forged: Fields, file: Path
) -> None:
    """Name a forged job wherever RQ's scheduler, cron, maintenance and workers look for jobs.

    waiting: the list of a queue; RQ has another one beside it.
    """
    usual: Fields = {"created_at": NOW, "origin": "default"}
    client.hset(f"rq:job:{job_id}", mapping={**usual, **forged})
    for name in ("wip", "scheduled", "failed", "deferred", "finished", "canceled"):
        client.zadd(f"rq:{name}:default", {job_id: 1})
    client.lpush(f"{waiting}:intermediate", job_id)
    client.zadd(f"rq:executions:{job_id}", {"x": 1})
    client.xadd(f"rq:results:{job_id}", {"return_value": pickle.dumps(Bomb(f"touch {file}"))})
    client.zadd("rq:cron_schedulers", {"evil": 9e9})
    client.sadd("rq:cron_jobs", "evil")
    cron: Fields = {
        "func_name": "os.system",
        "args": f'["touch {file}"]',
        "interval": "1",
        "cron": "* * *",
    }
    client.hset("rq:cron_scheduler:evil", mapping={"config": json.dumps([cron]), **cron})
    client.hset("rq:cron_job:evil", mapping=cron)
    client.sadd("rq:cron_job:evil:jobs", job_id)
    client.sadd(f"rq:job:{job_id}:dependents", job_id)
    for worker in rq.Worker.all(connection=client):
        client.hset(worker.key, mapping={"current_job": job_id, "shutdown_requested_date": NOW})


@contextmanager
def site() -> Iterator[tuple[str, list[str]]]:
    """A site that notes by which paths it was called; its address and the notes."""
    called: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(self.path.strip("/"))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", called
        server.shutdown()


def main(url: str) -> None:
    """A stock RQ worker, until the queue is empty; then one with the JSON serializer."""
    with redis.Redis.from_url(url) as connection:
        rq.SimpleWorker(["default"], connection=connection).work(burst=True)
        json_queue = rq.Queue("json", connection=connection, serializer=JSONSerializer)
        rq.SimpleWorker([json_queue], connection=connection, serializer=JSONSerializer).work(
            burst=True
        )


if __name__ == "__main__":
    main(sys.argv[1])
