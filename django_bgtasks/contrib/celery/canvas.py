"""Chains, groups and chords, as Celery has them: run as workflows of ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .at_once import run_at_once
from .eager import is_eager
from .errors import refuse_call
from .mixed import as_original, is_mixed, refuse_both
from .result import GroupResult
from .signature import (
    KINDS,
    OF_THE_END,
    CelerySignature,
    Options,
    as_plain,
    followed_by,
    is_many,
    make_signature,
    signatures_in,
)
from .utils import make_task_id

# What the keyword arguments of a chain, group or chord have besides those of its first elements.
PARTS = ("tasks", "header", "body", "kwargs", "task", "it", "n")


class ManySignatures(CelerySignature):
    """What chains, groups and chords have in common."""

    @property
    def tasks(self) -> list[Any]:
        """Its elements."""
        return [make_signature(each) for each in self.kwargs["tasks"]]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueue it."""
        return self.apply_async(args, kwargs)

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(map(repr, self.tasks))})"

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        """Enqueue all of it, in the current transaction. Returns its result."""
        whole: Any = self.merged(args, kwargs, options)
        if is_mixed():
            names = whole.names()
            refuse_both(names)
            if not all(names.values()):
                return as_original(as_plain(whole)).apply_async()
        if is_eager():
            return whole.run_here()
        result = whole.enqueue()
        run_at_once()
        return result

    def names(self) -> dict[str, bool]:
        """See CelerySignature.names()."""
        parts = [*self.tasks, *signatures_in(self.kwargs.get("body"))]
        return {name: moved for part in parts for name, moved in part.names().items()}

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run all of it here and now."""
        whole: Any = self.merged(args, kwargs, options)
        return whole.run_here()

    def run_here(self) -> Any:
        """Run it in this process; its arguments are merged already."""
        raise NotImplementedError

    def with_call(self, element: CelerySignature, is_first: bool = True) -> CelerySignature:
        """An element with the arguments and options that the whole was with_call."""
        args, kwargs = (self.args, self.kwargs_of_call) if is_first else ((), {})
        options = {n: v for n, v in self.options.items() if n not in OF_THE_END} if is_first else {}
        return element.merged(args, kwargs, options)

    @property
    def kwargs_of_call(self) -> Options:
        """The keyword arguments for its first elements, without what it is made of."""
        return {name: value for name, value in self.kwargs.items() if name not in PARTS}


class CelerySequence(ManySignatures):
    """`chain(a.s(), b.s(), …)`: each with the result of the one before it."""

    kind = "chain"

    def __init__(self, *tasks: Any, **options: Any) -> None:
        found = signatures_in(tasks[0] if len(tasks) == 1 and is_many(tasks[0]) else tasks)
        flat = [unrolled(part) for one in found for part in flat_parts(one)]
        # A group of none is left out.
        flat = [part for part in flat if not is_empty_group(part)] or flat
        super().__init__("celery.chain", (), {"tasks": flat}, options)

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, CelerySignature):
            return NotImplemented
        joined = CelerySequence(*self.tasks, other)
        joined.options, joined.args = dict(self.options), self.args
        return joined

    def flow(self, is_gated: bool) -> Any:
        """See CelerySignature.flow()."""
        from ...workflows.flow import chain as chain_of

        if not self.tasks:
            raise refuse_call("chain", "a chain of no tasks has nothing to run.")
        elements = list(self._elements())
        parts = [element.flow(is_gated or place > 0) for place, element in enumerate(elements)]
        return chain_of(*parts)

    def _elements(self) -> Iterator[CelerySignature]:
        """Its elements with what the chain was given; what follows it follows the last one, and
        what follows a failure follows each.
        """
        tasks = self.tasks
        for place, task in enumerate(tasks):
            element = self.with_call(task, place == 0)
            if place == len(tasks) - 1:
                for callback in signatures_in(self.options.get("link")):
                    element.link(callback)
            for errback in signatures_in(self.options.get("link_error")):
                element.link_error(errback)
            yield element

    def run_here(self) -> Any:
        """See ManySignatures.run_here(). Raises what any but the last of them raises."""
        result: Any = None
        for element in self._elements():
            args: list[Any] = []
            if result is not None:
                args.append(result.get())
                if not result.successful():
                    break
            before, result = result, element.apply(args)
            result.parent = before
        return result


class CeleryGroup(ManySignatures):
    """`group(a.s(1), a.s(2), …)`: all at the same time."""

    kind = "group"

    def __init__(self, *tasks: Any, **options: Any) -> None:
        found = signatures_in(tasks[0] if len(tasks) == 1 and is_many(tasks[0]) else tasks)
        # Groups within it are a part of it.
        flat = [
            part
            for one in found
            for part in (one.tasks if isinstance(one, CeleryGroup) and not one.options else [one])
        ]
        super().__init__("celery.group", (), {"tasks": flat}, options)

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, CelerySignature):
            return NotImplemented
        return CeleryChord(self, body=other)

    def link(self, callback: CelerySignature) -> CelerySignature:
        """Let it follow the first element, as there: after all of them comes a chord."""
        tasks = self.tasks
        if tasks:
            tasks[0].link(callback)
            self.kwargs["tasks"] = tasks
        return callback

    def link_error(self, errback: CelerySignature) -> CelerySignature:
        """Let it follow each element that fails."""
        tasks = self.tasks
        for task in tasks:
            task.link_error(errback)
        self.kwargs["tasks"] = tasks
        return errback

    def flow(self, is_gated: bool) -> Any:
        """See CelerySignature.flow()."""
        from ...workflows.flow import group as group_of

        if self.options.get("link") or self.options.get("link_error"):
            raise refuse_call("group", "what follows a whole group is the body of a chord.")
        return group_of([self.with_call(task).flow(is_gated) for task in self.tasks])

    def run_here(self) -> Any:
        """See ManySignatures.run_here()."""
        results = [self.with_call(task).apply() for task in self.tasks]
        return GroupResult(make_task_id(), results)

    def group(self) -> CeleryGroup:
        """What chunks() of a task gives is a group."""
        return self

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> CeleryGroup:
        """Let each element begin some seconds after the one before it."""
        tasks = self.tasks
        seconds = itertools.count(start, step)
        for task in tasks:
            countdown = next(seconds)
            task.set(countdown=countdown if stop is None else min(countdown, stop))
        self.kwargs["tasks"] = tasks
        return self


class CeleryChord(ManySignatures):
    """`chord(header)(body)`: the body follows when all of the header have succeeded."""

    kind = "chord"

    def __init__(self, header: Any, body: Any = None, task: str = "", **options: Any) -> None:
        args, kwargs = options.pop("args", ()), options.pop("kwargs", {})
        options.pop("app", None)
        whole = header if isinstance(header, CeleryGroup) else CeleryGroup(header)
        body = None if body is None else make_signature(body)
        parts = {**kwargs, "header": whole, "body": body}
        super().__init__("celery.chord", args, parts, options)

    @property
    def header(self) -> CeleryGroup:
        """The group that goes first."""
        header: CeleryGroup = make_signature(self.kwargs["header"])
        return header

    @property
    def body(self) -> Any:
        """What follows it."""
        body = self.kwargs["body"]
        return None if body is None else make_signature(body)

    @body.setter
    def body(self, value: Any) -> None:
        self.kwargs["body"] = value

    @property
    def tasks(self) -> list[Any]:
        """The elements of its header."""
        return self.header.tasks

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Enqueue it with this body."""
        return self.apply_async((), {} if body is None else {"body": body}, **options)

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, CelerySignature):
            return NotImplemented
        copy: CeleryChord = self._copied()
        copy.body = self.body | other
        return copy

    def link(self, callback: CelerySignature) -> CelerySignature:
        """Let it follow the body."""
        body = self.body
        body.link(callback)
        self.body = body
        return callback

    def link_error(self, errback: CelerySignature) -> CelerySignature:
        """Let it follow when the header or the body has failed."""
        return self._append("link_error", errback)

    def _whole(self) -> tuple[CelerySignature, CelerySignature, Options]:
        """The header, the body, and what follows if either fails."""
        if self.body is None:
            raise refuse_call("chord", "a chord has a body: chord(header)(body).")
        # What a chord is given is about its body.
        own = {name: self.options[name] for name in self.options if name not in OF_THE_END}
        body = self.body.merged(options=own)
        for callback in signatures_in(self.options.get("link")):
            body.link(callback)
        errbacks = [
            *signatures_in(body.options.pop("link_error", None)),
            *signatures_in(self.options.get("link_error")),
        ]
        header = CeleryGroup(*self.header.tasks).merged(self.args, self.kwargs_of_call)
        return header, body, {"link_error": errbacks} if errbacks else {}

    def flow(self, is_gated: bool) -> Any:
        """See CelerySignature.flow()."""
        from ...workflows.flow import chain as chain_of

        header, body, links = self._whole()
        whole = chain_of(header.flow(is_gated), body.flow(True))
        return followed_by(whole, links)

    def run_here(self) -> Any:
        """See ManySignatures.run_here(). Raises what any of the header raises."""
        header, body, links = self._whole()
        results = header.apply()
        for errback in links.get("link_error", ()):
            body.link_error(errback)
        values = results.get()
        cancelled = next((each for each in results if not each.successful()), None)
        if cancelled is not None:
            return cancelled
        result = body.apply((values,))
        result.parent = results
        return result


def flat_parts(whole: Any) -> list[Any]:
    """The elements of a chain that says nothing of its own, or the signature itself."""
    is_bare = isinstance(whole, CelerySequence) and not (whole.options or whole.args)
    return whole.tasks if is_bare else [whole]


def unrolled(part: Any) -> Any:
    """The one task of a group of one within a chain: what follows gets its result, and no list."""
    is_one = isinstance(part, CeleryGroup) and len(part.tasks) == 1 and not part.options
    return part.tasks[0] if is_one else part


def is_empty_group(part: Any) -> bool:
    """Whether it is a group of no tasks."""
    return isinstance(part, CeleryGroup) and not part.tasks


def chunks_of(call: CelerySignature, values: Any, size: int) -> CeleryGroup:
    """A group of jobs, each of which calls a task with so many of these tuples of arguments."""
    rest, parts = iter(values), []
    while part := list(itertools.islice(rest, size)):
        parts.append(make_signature("celery.starmap", (as_plain(call), part)))
    return CeleryGroup(parts)


KINDS.update(chain=CelerySequence, group=CeleryGroup, chord=CeleryChord)

Signature = CelerySignature
signature = subtask = maybe_signature = make_signature
chain, group, chord = CelerySequence, CeleryGroup, CeleryChord
