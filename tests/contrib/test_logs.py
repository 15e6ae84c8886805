"""Logs for machines: the LOGGING of the documents, in a real worker."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from django_bgtasks.contrib.logs import JobFilter, JsonFormatter
from django_bgtasks.models import Job
from tests.docs.markdown import ROOT, section
from tests.workers import WorkerFactory

from .tasks import NASTY, log, log_async, log_failure


def documented() -> dict[str, Any]:
    """The LOGGING that a reader pastes."""
    namespace: dict[str, Any] = {}
    section(ROOT / "docs" / "monitoring.md", "Logs as JSON")[0].run(namespace)
    logging_of_a_site: dict[str, Any] = namespace["LOGGING"]
    return logging_of_a_site


def test_every_line_is_json_and_names_the_job_in_which_it_was_logged(
    bgworker: WorkerFactory,
) -> None:
    jobs: list[Any] = [
        log.using(queue_name="emails").enqueue(1),
        log_async.enqueue(2),
        log_failure.enqueue(),
    ]
    env = {"BGTASKS_TEST_LOGGING": json.dumps(documented())}
    worker = bgworker("--burst", "--threads", 2, env=env)
    assert worker.wait() == 0
    output = worker.output.removesuffix("\n")
    assert output.isascii()
    assert output.replace("\n", "").isprintable()
    lines = [json.loads(line) for line in output.split("\n") if line.startswith("{")]
    by_job = {line["job_id"]: line for line in lines if line["logger"] == "shop.orders"}
    first, second, third = (by_job.pop(job.id) for job in jobs)
    assert not by_job
    assert first["message"] == f"paid {NASTY}"
    assert (first["number"], first["order"]) == (1, f"order {NASTY}")
    assert (first["task"], first["queue"]) == ("tests.contrib.tasks.log", "emails")
    assert (second["number"], second["attempt"]) == (2, 1)
    assert third["exception"].endswith(f"ValueError: {NASTY}")
    worker_of = {str(job.pk): str(job.worker) for job in Job.objects.all()}
    assert all(line["worker"] == worker_of[line["job_id"]] for line in (first, second, third))
    # What the worker itself says is no job's.
    own = [line for line in lines if line["logger"] == "django_bgtasks"]
    assert not [line for line in own if "job_id" in line]


def test_a_record_that_cannot_be_shown_is_still_one_line() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    record = logging.makeLogRecord(
        {"msg": "x", "broken": Broken(), "level": "forged", "nan": 1e999}
    )
    assert JobFilter().filter(record)
    line = json.loads(JsonFormatter().format(record))
    assert line["broken"] == "<its __str__ raised RuntimeError>"
    assert (line["nan"], line["level"]) == ("inf", "Level None")
    assert "job_id" not in line


def test_a_text_that_a_filter_has_put_in_the_place_of_a_traceback_stands() -> None:
    try:
        raise ValueError("secret")
    except ValueError:
        record = logging.makeLogRecord({"exc_info": sys.exc_info(), "exc_text": "struck out"})
    assert json.loads(JsonFormatter().format(record))["exception"] == "struck out"
