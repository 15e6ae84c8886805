"""What a task knows of the call that runs: `self.request`."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .mixed import celery_module, is_mixed

if TYPE_CHECKING:
    from ...jobs.context import JobContext

# The tasks that run here, the innermost last, each with its request.
_stack: ContextVar[tuple[tuple[Any, TaskRequest], ...]] = ContextVar(
    "bgtasks_celery_stack", default=()
)
may_wait: ContextVar[bool] = ContextVar("bgtasks_celery_may_wait", default=False)
# Of a call, what Celery has in its message and a job in no column of its own: this argument.
EXTRAS = "_celery_request"


class TaskRequest:
    """Celery's Context: attributes about the call that runs. What is not known is None."""

    args: Any = None
    kwargs: Any = None
    callbacks: Any = None
    called_directly = True
    chain: Any = None
    chord: Any = None
    correlation_id: str | None = None
    delivery_info: Any = None
    errbacks: Any = None
    eta: Any = None
    expires: Any = None
    group: str | None = None
    group_index: int | None = None
    headers: Any = None
    hostname: str | None = None
    id: str | None = None
    ignore_result = False
    is_eager = False
    origin: str | None = None
    parent_id: str | None = None
    properties: Any = None
    reply_to: str | None = None
    retries = 0
    root_id: str | None = None
    shadow: str | None = None
    soft_time_limit: float | None = None
    task: str | None = None
    time_limit: float | None = None
    timelimit: Any = None
    utc = True

    def __init__(self, **values: Any) -> None:
        self.children: list[Any] = []
        # The last state that update_state() was given, and what belongs to it.
        self.custom: tuple[str, Any] | None = None
        # Of a worker's call: its context here. Whether its function has been entered.
        self.context: JobContext | None = None
        self.has_begun = False
        # What the last retry() said itself of how often.
        self.most_retries: int | None = None
        self.update(values)

    def __repr__(self) -> str:
        return f"<Context: {vars(self)!r}>"

    def update(self, values: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set some of them."""
        vars(self).update(values or {}, **more)

    def get(self, name: str, default: Any = None) -> Any:
        """One of them."""
        return getattr(self, name, default)


def request_of_job(
    context: JobContext, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], extras: Any
) -> TaskRequest:
    """The request of an attempt that a worker makes. extras: what the call said besides."""
    job = context.job
    job_id = str(job.pk)
    return TaskRequest(
        id=job_id,
        task=task.name,
        args=list(args),
        kwargs=dict(kwargs),
        retries=job.attempt - 1 + extras.get("retries", 0),
        called_directly=False,
        context=context,
        headers=extras.get("headers"),
        shadow=job.label or None,
        eta=job.run_after and job.run_after.isoformat(),
        expires=job.expires_at and job.expires_at.isoformat(),
        delivery_info={
            "exchange": "",
            "routing_key": job.queue,
            "priority": job.priority,
            "redelivered": job.claims > job.attempt,
        },
        group=job.batch and str(job.batch),
        parent_id=job.gate and str(job.gate),
        root_id=job_id,
        correlation_id=job_id,
        hostname=socket.gethostname(),
        timelimit=[job.timeout, None],
        time_limit=job.timeout,
        soft_time_limit=extras.get("soft_time_limit", task.soft_time_limit),
        properties={},
    )


@contextmanager
def pushed(task: Any, request: TaskRequest) -> Iterator[TaskRequest]:
    """Within it the task is the one that runs, with this request."""
    token = _stack.set((*_stack.get(), (task, request)))
    try:
        yield request
    finally:
        _stack.reset(token)


def push_request(task: Any, request: TaskRequest) -> None:
    """Let the task be the one that runs, until pop_request()."""
    _stack.set((*_stack.get(), (task, request)))


def pop_request() -> None:
    """End what push_request() began."""
    _stack.set(_stack.get()[:-1])


def request_of(task: Any) -> TaskRequest:
    """The request of the innermost call of this task that runs here; an empty one outside of it."""
    found = (request for running, request in reversed(_stack.get()) if running is task)
    return next(found, None) or TaskRequest()


def innermost() -> tuple[Any, TaskRequest] | None:
    """The task that runs here, with its request; None outside of one."""
    stack = _stack.get()
    return stack[-1] if stack else None


def refuse_to_wait() -> None:
    """Raise RuntimeError in a task that a worker runs, unless allow_join_result says that it may
    wait: when all workers wait, nobody runs what they wait for.
    """
    found = innermost()
    if found is not None and found[1].context is not None and not may_wait.get():
        raise RuntimeError(
            "Never call result.get() within a task: when all workers wait, nobody runs what they "
            "wait for. Use a chain or a chord, or allow_join_result()."
        )


class CurrentTask:
    """`current_task`: the task that runs here; false where none does."""

    def __getattr__(self, name: str) -> Any:
        found = innermost()
        if found is None and is_mixed() and celery_module().current_task:
            # A worker of Celery runs one of its tasks.
            return getattr(celery_module().current_task, name)
        if found is None:
            if name == "request":
                return TaskRequest()
            raise AttributeError(f"No task runs here, so there is no current_task.{name}.")
        return getattr(found[0], name)

    def __bool__(self) -> bool:
        return innermost() is not None or (is_mixed() and bool(celery_module().current_task))

    def __eq__(self, other: object) -> bool:
        found = innermost()
        return other is (None if found is None else found[0])

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __repr__(self) -> str:
        return repr(self._get_current_object())

    def _get_current_object(self) -> Any:
        found = innermost()
        return None if found is None else found[0]


current_task = CurrentTask()
