"""This backend in the place of Django's two, which other projects' tests put into TASKS."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

from django_bgtasks.backend import RQBackend
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs


class Waiting(RQBackend):
    """In the place of the dummy backend: jobs wait, and a test can look at them."""

    @property
    def results(self) -> list[Any]:
        """All results, as the dummy backend has them."""
        # Also in a coroutine: with the dummy backend it is a list.
        with mock.patch.dict(os.environ, DJANGO_ALLOW_ASYNC_UNSAFE="1"):
            return [self.get_result(str(pk)) for pk in _ids()]

    def clear(self) -> None:
        """Forget them."""
        Job.objects.all().delete()


class Immediate(RQBackend):
    """In the place of the immediate backend: a job runs before enqueue() returns."""

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Enqueue it, run it as a worker does, and return its result as it is then."""
        result = super().enqueue(task, args, kwargs)
        run_jobs()
        result.refresh()
        return result


def _ids() -> Any:
    return Job.objects.order_by("pk").values_list("pk", flat=True)
