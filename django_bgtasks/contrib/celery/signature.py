"""Signatures: calls of tasks for later, as dicts that are laid out like Celery's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from itertools import zip_longest
from typing import Any

from ...core.flows import Step
from ...core.payload import refuse_wrong_call
from ...core.tags import RESULT
from ...jobs.task import find_task
from .errors import refuse_call
from .mixed import is_moved
from .registry import task_named
from .result import batch_result
from .shapes import as_sent_by

# Where the jobs are that stand between a workflow and what follows it, by their paths.
LINK = "django_bgtasks.contrib.celery.callbacks.apply_link"
ERRBACK = "django_bgtasks.contrib.celery.callbacks.call_errback"
Options = dict[str, Any]
EMPTY: Options = {"args": (), "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
OF_THE_END = ("link", "link_error")
# By their names in a dict, the classes of chains, groups and chords.
KINDS: dict[str, Any] = {}


class CelerySignature(dict[str, Any]):
    """A call of a task for later: its name, arguments and options."""

    kind: str | None = None

    def __init__(
        self,
        task: Any = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,  # noqa: A002
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Any = None,
        **more: Any,
    ) -> None:
        self._task: Any = None
        if isinstance(task, dict):
            super().__init__({**EMPTY, **task})
            return
        if task is not None and not isinstance(task, str):
            self._task = task
        super().__init__(
            task=getattr(task, "name", task),
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **more},
            subtask_type=subtask_type or self.kind,
            immutable=immutable,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], app: Any = None) -> CelerySignature:
        """A signature, chain, group or chord of a dict that was one."""
        kind = KINDS.get(values.get("subtask_type") or "", CelerySignature)
        found: CelerySignature = kind.__new__(kind)
        CelerySignature.__init__(found, {**EMPTY, **values})
        return found

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self["task"])

    name = task

    @property
    def type(self) -> Any:
        """The task itself."""
        if self._task is None:
            self._task = task_named(self["task"])
        return self._task

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments."""
        return tuple(self["args"])

    @args.setter
    def args(self, values: Sequence[Any]) -> None:
        self["args"] = tuple(values)

    @property
    def kwargs(self) -> Options:
        """The keyword arguments."""
        kwargs: Options = self["kwargs"]
        return kwargs

    @kwargs.setter
    def kwargs(self, values: Mapping[str, Any]) -> None:
        self["kwargs"] = dict(values)

    @property
    def options(self) -> Options:
        """The options of apply_async()."""
        options: Options = self["options"]
        return options

    @options.setter
    def options(self, values: Mapping[str, Any]) -> None:
        self["options"] = dict(values)

    @property
    def immutable(self) -> bool:
        """Whether the result of what comes before is not given to it."""
        return bool(self.get("immutable"))

    @immutable.setter
    def immutable(self, value: bool) -> None:
        self["immutable"] = value

    @property
    def id(self) -> Any:
        """The id that it was given."""
        return self.options.get("task_id")

    def __repr__(self) -> str:
        values = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwargs.items())]
        return f"{self.task}({', '.join(values)})"

    def _copied(self) -> Any:
        """A copy whose arguments are the same objects, for they may be of any kind."""
        parts = {"kwargs": dict(self.kwargs), "options": deepcopy(self.options)}
        copy = type(self).from_dict({**self, **parts})
        copy._task = self._task
        return copy

    def __reduce__(self) -> Any:
        return CelerySignature.from_dict, (dict(self),)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task here and now."""
        whole = self.merged(args, kwargs)
        return whole.type(*whole.args, **whole.kwargs)

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, CelerySignature):
            return NotImplemented
        return KINDS["chain"](self, other)

    def __invert__(self) -> Any:
        return self.apply_async().get()

    def merged(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> CelerySignature:
        """A copy with these arguments before its own, unless it is immutable, and these options."""
        copy: CelerySignature = self._copied()
        if not self.immutable:
            copy.args = (*(args or ()), *self.args)
            copy.kwargs = {**self.kwargs, **(kwargs or {})}
        copy.options |= {
            name: value for name, value in (options or {}).items() if value is not None
        }
        return copy

    def clone(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> CelerySignature:
        """A copy; see merged()."""
        return self.merged(args, kwargs, options)

    partial = clone

    def replace(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> CelerySignature:
        """A copy with other arguments or options."""
        copy: CelerySignature = self._copied()
        for name, value in (("args", args), ("kwargs", kwargs), ("options", options)):
            if value is not None:
                setattr(copy, name, value)
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> CelerySignature:
        """Set options of apply_async(). Returns the signature itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Let it get no result of what comes before, or let it."""
        self.immutable = immutable

    def link(self, callback: CelerySignature) -> CelerySignature:
        """Let this follow when it succeeds, with its result. Returns the callback."""
        return self._append("link", callback)

    def link_error(self, errback: CelerySignature) -> CelerySignature:
        """Let this follow when it fails. Returns the errback."""
        return self._append("link_error", errback)

    def on_error(self, errback: CelerySignature) -> CelerySignature:
        """link_error(). Returns the signature itself."""
        self.link_error(errback)
        return self

    def _append(self, option: str, value: CelerySignature) -> CelerySignature:
        links = signatures_in(self.options.get(option))
        self.options[option] = links if value in links else [*links, value]
        return value

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """apply_async(), with further arguments before its own."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        """Enqueue it; see Task.apply_async()."""
        whole = self.merged(args, kwargs, options)
        return whole.type.apply_async(whole.args, whole.kwargs, **whole.options)

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run it here and now."""
        whole = self.merged(args, kwargs, options)
        return whole.type.apply(whole.args, whole.kwargs, **whole.options)

    def tell_error(self, request: Any, error: BaseException, traceback: str) -> None:
        """Call it as an errback: here with all of these, or as a job with the id if it takes one.

        request: that of the task that has failed.
        """
        if self.type.takes_more_than_one():
            self(request, error, traceback)
        else:
            self.apply_async((request.id,))

    def names(self) -> dict[str, bool]:
        """The tasks that it calls, each with whether it is one of ours by ROUTES."""
        return {self.task: is_moved(self.task)}

    def freeze(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: an id is there when it is enqueued."""
        text = "freeze() is not here: take the id of what apply_async() returns."
        raise refuse_call(self.task, text)

    def stamp(self, *args: Any, **kwargs: Any) -> Any:
        """Refused."""
        raise refuse_call(self.task, "there are no stamps: use .set(headers={…}).")

    def flow(self, is_gated: bool) -> Any:
        """It as a part of a workflow of ours. is_gated: something comes before it."""
        options = {name: self.options[name] for name in self.options if name not in OF_THE_END}
        if options.pop("task_id", None):
            text = "a step of a workflow has an id of its own: leave out task_id."
            raise refuse_call(self.task, text)
        from .sending import prepared

        task, kwargs = prepared(self.type, self.kwargs, options, is_gated)
        args = as_sent_by(self.type, list(self.args))
        if is_gated and not self.immutable:
            args = [RESULT, *args]
        refuse_wrong_call(task, args, kwargs)
        return followed_by(Step(task, args, kwargs), self.options)

    def enqueue(self) -> Any:
        """Enqueue it as a workflow, with what follows it. Returns its result."""
        from ...workflows.flow import Workflow, chain

        part = self.flow(False)
        handle = (part if isinstance(part, Workflow) else chain(part)).enqueue()
        return batch_result(handle.batch)


def make_signature(
    varies: Any,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> Any:
    """`signature(name or task, args, kwargs, options)`, or the signature that a dict was."""
    if isinstance(varies, CelerySignature):
        return varies
    if isinstance(varies, dict):
        return CelerySignature.from_dict(varies)
    more.pop("app", None)
    return CelerySignature(varies, args, kwargs, options, **more)


def signatures_in(value: Any) -> list[Any]:
    """The signatures of an option or of arguments: one, several, or none."""
    if value is None:
        return []
    return [make_signature(each) for each in (value if is_many(value) else [value])]


def is_many(value: Any) -> bool:
    """Whether it stands for several signatures, and is not one itself."""
    return isinstance(value, Iterable) and not isinstance(value, dict | str)


def followed_by(part: Any, options: Mapping[str, Any]) -> Any:
    """A part of a workflow, with the links and errbacks of these options behind it."""
    from ...workflows.flow import chain

    links = [_link_step(each) for each in signatures_in(options.get("link"))]
    errbacks = [
        find_task(ERRBACK).step(as_plain(each)) for each in signatures_in(options.get("link_error"))
    ]
    for link, errback in zip_longest(links, errbacks):
        part = chain(part).using(on_success=link, on_failure=errback)
    return part


def _link_step(link: Any) -> Step:
    """A step that is the link, or that enqueues it if it is more than one step."""
    step = link.flow(True)
    if isinstance(step, Step):
        return step
    arguments = () if link.immutable else (RESULT,)
    return Step(find_task(LINK), (as_plain(link), *arguments), {})


def as_plain(value: Any) -> Any:
    """A signature as a dict of what a row can have."""
    if isinstance(value, dict):
        return {key: as_plain(each) for key, each in value.items()}
    return [as_plain(each) for each in value] if isinstance(value, list | tuple) else value
