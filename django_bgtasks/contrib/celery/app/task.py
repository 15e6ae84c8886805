"""The class of tasks that are written as Celery's: for each function there is a subclass of it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from types import GenericAlias
from typing import Any

from django.db import transaction

from ....core.payload import refuse_wrong_call
from .. import signals
from ..at_once import run_at_once
from ..canvas import chunks_of
from ..eager import as_sent, is_eager, run_eagerly
from ..errors import MaxRetriesExceededError, OperationalError, refuse_call
from ..mixed import as_original, is_moved
from ..options import check_call_options
from ..registry import APPS, TASKS, load_task
from ..request import TaskRequest, pop_request, push_request, pushed, request_of
from ..result import AsyncResult
from ..retries import retry_task
from ..signature import as_plain, make_signature, signatures_in


class TaskType(type):
    """The type of classes of tasks: where workers find the class of a task that is registered by
    its class, they find the task.
    """

    @property
    def background_task(cls) -> Any:
        """That of the instance that is registered; None of other classes."""
        task: Any = dict.get(TASKS, str(vars(cls).get("name")))
        return task.background_task if type(task) is cls else None


class CeleryTask(metaclass=TaskType):
    """A task of Celery's kind. Subclasses may define the hooks, run() and attributes of their own.

    path: where workers find it.
    """

    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = OperationalError

    abstract = True
    name: Any = None
    typing = True
    max_retries: int | None = 3
    default_retry_delay: float = 180
    autoretry_for: Sequence[type[BaseException]] = ()
    dont_autoretry_for: Sequence[type[BaseException]] = ()
    retry_kwargs: Mapping[str, Any] | None = None
    retry_backoff: float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    rate_limit: Any = None
    # A rate of ours beside it.
    own_rate: Any = None
    ignore_result: bool | None = None
    store_errors_even_if_ignored: bool | None = None
    store_eager_result: bool | None = None
    trail = True
    send_events = True
    serializer: str | None = None
    compression: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    track_started: bool | None = None
    acks_late: bool | None = None
    acks_on_failure_or_timeout: bool | None = None
    reject_on_worker_lost: bool | None = None
    retry_on_worker_lost: bool | None = None
    throws: Sequence[type[BaseException]] = ()
    expires: Any = None
    priority: int | None = None
    queue: Any = None
    resultrepr_maxsize = 1024
    backend: Any = None
    path = ""
    # Makes the background task when somebody asks: the settings may not be there before.
    _complete: Any = None
    _background: Any = None
    # Where ROUTES let Celery run some tasks still: Celery's own.
    original: Any = None

    __class_getitem__: Any = classmethod(GenericAlias)

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"

    def __reduce__(self) -> Any:
        return load_task, (self.name, type(self).__module__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function here and now, as a function."""
        request = self.request
        if not (request.called_directly or request.has_begun):
            request.has_begun = True
            return self.run(*args, **kwargs)
        with pushed(self, TaskRequest(args=args, kwargs=kwargs)):
            return self.run(*args, **kwargs)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What the task does."""
        raise NotImplementedError("Tasks must define the run method.")

    @property
    def background_task(self) -> Any:
        """The task of django_bgtasks whose jobs its calls become."""
        if self._background is None and self._complete is not None:
            self._background = self._complete()
        if self._background is None and self.name in dict.keys(TASKS):
            # Another instance of its class is registered.
            return TASKS[self.name]._background
        return self._background

    @property
    def is_complete(self) -> bool:
        """Whether its background task is there."""
        return self._background is not None

    @property
    def module_path(self) -> str:
        """Where workers find it, as a task of django_bgtasks has it: for assert_enqueued(), say."""
        return self.path

    def using(self, **changes: Any) -> Any:
        """Its background task with other options of django_bgtasks, to enqueue it or make a step
        of it.
        """
        return self.background_task.using(**changes)

    @property
    def is_local(self) -> bool:
        """Whether its function is within another one, where no worker finds it."""
        return "<locals>" in self.path

    @property
    def app(self) -> Any:
        """The app; there is one for all."""
        return APPS[-1] if APPS else None

    @property
    def request(self) -> TaskRequest:
        """About the call that runs."""
        return request_of(self)

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """For tests: let this be the request from now on."""
        push_request(self, TaskRequest(**{**dict(*args), **kwargs}))

    def pop_request(self) -> None:
        """For tests: end what push_request() began."""
        pop_request()

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """apply_async() with these arguments and no options."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> Any:
        """Enqueue a call in the current transaction. Returns its AsyncResult.

        countdown: seconds; eta: a time. expires: seconds or a time. queue, priority, headers,
        time_limit, soft_time_limit: for this call. link, link_error: signatures of what follows.
        What means something else here is refused with a sentence.
        """
        from ..sending import send_call

        if self.original is not None and not is_moved(self.name):
            links = {"link": link, "link_error": link_error}
            links = {key: [*map(_original, signatures_in(links[key]))] for key in links}
            named = {"task_id": task_id, "producer": producer, "shadow": shadow, **links}
            return self.original.apply_async(args, kwargs, **named, **options)
        args, kwargs = tuple(args or ()), dict(kwargs or {})
        options = {name: value for name, value in options.items() if value is not None}
        check_call_options(self.name, options)
        named = {"task_id": task_id, "shadow": shadow or self.shadow_name(args, kwargs, options)}
        options |= {name: value for name, value in named.items() if value is not None}
        if not (self.is_local and is_eager()):
            refuse_wrong_call(self.background_task, args, kwargs)
        if is_eager():
            args, kwargs = as_sent(self, args, kwargs)
            headers = options.pop("headers", None)
            return self.apply(args, kwargs, link, link_error, task_id=task_id, headers=headers)
        message = _message(self, args, kwargs, options)
        signals.before_task_publish.tell(self.name, **message)
        # Receivers add headers of their own there.
        if headers := {k: v for k, v in message["headers"].items() if k not in ("task", "id")}:
            options["headers"] = headers
        if link or link_error:
            call = self.signature(args, kwargs, options=options)
            call.options |= {"link": link, "link_error": link_error}
            result = call.enqueue()
        else:
            result = AsyncResult(send_call(self, args, kwargs, options), task_name=self.name)
        signals.after_task_publish.tell(self.name, **message)
        run_at_once()
        return result

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        logfile: Any = None,
        loglevel: Any = None,
        headers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run it here and now, with its retries. Returns its EagerResult.

        throw: raise what the task raises; by default CELERY_TASK_EAGER_PROPAGATES says so.
        """
        return run_eagerly(
            self,
            tuple(args or ()),
            dict(kwargs or {}),
            throw,
            task_id=task_id,
            retries=retries or 0,
            headers=headers,
            callbacks=signatures_in(link),
            errbacks=signatures_in(link_error),
        )

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """delay(): the job is a part of the transaction. What runs at once waits for its commit."""
        self._on_commit(partial(self.delay, *args, **kwargs))

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """apply_async(), as delay_on_commit()."""
        self._on_commit(partial(self.apply_async, *args, **kwargs))

    def _on_commit(self, act: Any) -> None:
        # What a test has put into the place of delay() knows nothing of transactions.
        if is_eager() or {"delay", "apply_async"} & set(vars(self)):
            transaction.on_commit(act)
        else:
            act()

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Run this call again later. Raises Retry, so that nothing behind it is done; with
        throw=False it is returned, and the retry is a job of its own.

        countdown: seconds, by default default_retry_delay; eta: a time. max_retries: for this
        time. exc: what is raised after the last one, in place of MaxRetriesExceededError.
        """
        call: dict[str, Any] = {"args": args, "kwargs": kwargs, "throw": throw, "eta": eta}
        call |= {"countdown": countdown, "max_retries": max_retries, **options}
        retry = retry_task(self, call, exc)
        if throw:
            raise retry
        return retry

    def columns_of(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """What changes of a job's row by these options of retry()."""
        from ..sending import columns_of

        check_call_options(self.name, options)
        changes = columns_of(self, {k: v for k, v in options.items() if k != "headers"})
        names = {"queue_name": "queue", "priority": "priority", "timeout": "timeout"}
        return {names[name]: value for name, value in changes.items() if name in names}

    def signature(self, args: Any = None, *rest: Any, **more: Any) -> Any:
        """A call for later, with the arguments and options of apply_async()."""
        return make_signature(self, args, *rest, **more)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """A call for later, which gets the result of what comes before it first."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Any:
        """A call for later that gets no result of what comes before it."""
        return self.signature(args, kwargs, immutable=True)

    def chunks(self, it: Any, n: int) -> Any:
        """A group of jobs, each of which calls the task with so many of these arguments."""
        return chunks_of(self.s(), it, n)

    def map(self, it: Any) -> Any:
        """One job that calls the task with each of these."""
        return make_signature("celery.map", (as_plain(self.s()), list(it)))

    def starmap(self, it: Any) -> Any:
        """One job that calls the task with each of these tuples of arguments."""
        return make_signature("celery.starmap", (as_plain(self.s()), list(it)))

    def AsyncResult(self, task_id: Any, **kwargs: Any) -> AsyncResult:  # noqa: N802 - Celery's name
        """The result of the call with this id."""
        return AsyncResult(task_id, task_name=self.name)

    def update_state(
        self, task_id: Any = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Show a state of its own, with what belongs to it, while this call runs.

        Of `meta` the figures "current" (or "done") and "total" are its progress too.
        """
        if task_id is not None and str(task_id) != self.request.id:
            text = "update_state() is for the call that runs: the state of others is theirs."
            raise refuse_call(self.name, text)
        from ..running import set_state

        set_state(self, self.request, state, meta)

    def replace(self, sig: Any) -> Any:
        """Refused."""
        text = "a job is not replaced. Enqueue the other one, or add it to the group of this one"
        raise refuse_call(self.name, f"{text}: current_job().batch.add(…).")

    add_to_chord = replace

    def send_event(self, *args: Any, **kwargs: Any) -> None:
        """Refused."""
        raise refuse_call(self.name, "there are no events: use the signals, or context.progress().")

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called before the function."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called after the function, within the attempt."""

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called where a retry was asked for, within the attempt."""

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called when the job has failed for good, the death of its process included."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called after a success, and when the job has failed for good."""

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Called when the task is there."""

    def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str | None:
        """What the admin shows for this call; None for no label."""

    def takes_more_than_one(self) -> bool:
        """Whether it takes more than one argument, as an errback of the new kind does."""
        parameters = inspect.signature(self.run).parameters.values()
        positional = [
            p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        return len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _original(link: Any) -> Any:
    return as_original(as_plain(link))


def _message(task: CeleryTask, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
    """What receivers of before_task_publish and after_task_publish get."""
    headers = {**(options.get("headers") or {}), "task": task.name, "id": options.get("task_id")}
    return {
        "body": (args, kwargs, {}),
        "headers": headers,
        "exchange": "",
        "routing_key": options.get("queue") or task.queue or "",
        "properties": {},
        "declare": [],
        "retry_policy": {},
    }


Task = CeleryTask
