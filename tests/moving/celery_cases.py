"""Chains, groups and chords with their results, for Celery's names here and there."""

from __future__ import annotations

import json
from typing import Any

Case = tuple[Any, Any]


def canvas_cases(celery: Any, tasks: Any) -> dict[str, Case]:
    """By its name what makes a canvas, and its result.

    celery: what has chain, group, chord and signature. tasks: the module celery_tasks.
    """
    chain, group, chord = celery.chain, celery.group, celery.chord
    add, total, note = tasks.add, tasks.total, tasks.note
    two = group(add.s(1), add.s(2))

    def from_json(flow: Any) -> Any:
        return celery.signature(json.loads(json.dumps(flow)))

    return {
        "chain": (lambda: chain(add.s(1, 1), add.s(2), add.s(3)), 7),
        "or": (lambda: add.s(1, 1) | add.s(2) | add.si(5, 5), 10),
        "of one": (lambda: chain(add.s(1, 1)), 2),
        "of a list": (lambda: chain([add.s(1, 1), add.s(4)]), 6),
        "group": (lambda: group(add.s(n, n) for n in range(3)), [0, 2, 4]),
        "group of a list": (lambda: group([add.s(1, 1), add.s(2, 2)]), [2, 4]),
        "chord": (lambda: chord([add.s(n, n) for n in range(3)], total.s()), 6),
        "group | task": (lambda: group(add.s(n, 1) for n in range(3)) | total.s(), 6),
        "task | group": (lambda: add.s(1, 1) | group(add.s(1), add.s(2)), [3, 4]),
        "task | group | task": (
            lambda: chain(add.s(1, 1), two, total.s()),
            7,
        ),
        "chord | task": (lambda: chord([add.s(1, 1), add.s(2, 2)], total.s()) | add.s(10), 16),
        "group of chains": (
            lambda: group(chain(add.s(1, 1), add.s(1)), chain(add.s(2, 2), add.s(2))) | total.s(),
            9,
        ),
        "chord of one": (lambda: chord([add.s(1, 1)], note.s()), [[2]]),
        "group of one | task": (lambda: group([add.s(1, 1)]) | note.s(), [[2]]),
        "chain of a group of one": (lambda: chain(group([add.s(1, 1)]), add.s(1)), 3),
        "task | group of one | task": (lambda: add.s(1, 1) | group([add.s(1)]) | add.s(1), 4),
        "an empty group in a chain": (lambda: chain(add.s(1, 1), group([]), add.s(1)), 3),
        "group of groups": (lambda: group(group(add.s(1, 1), add.s(2, 2)), add.s(1, 0)), [2, 4, 1]),
        "immutable in a group": (
            lambda: chain(add.s(1, 1), group(add.si(5, 5), add.s(1))),
            [10, 3],
        ),
        "set immutable": (lambda: chain(add.s(1, 1), add.s(2, 2).set(immutable=True)), 4),
        "chord with a group as body": (
            lambda: chord([add.s(1, 1), add.s(2, 2)], group(total.s(), note.s())),
            [6, [[2, 4]]],
        ),
        "chord | chord": (
            lambda: chord([add.s(1, 1)], total.s()) | chord([add.s(1), add.s(2)], total.s()),
            7,
        ),
        "empty header": (lambda: chord([], total.s()), 0),
        "chain | chain": (lambda: chain(add.s(1, 1), add.s(1)) | chain(add.s(2), add.s(3)), 8),
        "group | group": (
            lambda: group(add.s(1, 1), add.s(2, 2)) | group(total.s(), total.s()),
            [6, 6],
        ),
        "chunks": (lambda: add.chunks([(1, 1), (2, 2), (3, 3)], 2), [[2, 4], [6]]),
        "starmap": (lambda: add.starmap([(1, 1), (2, 2)]), [2, 4]),
        "map": (lambda: total.map([[1, 2], [3]]), [3, 3]),
        "from json": (
            lambda: from_json(chain(add.s(1, 1), two, total.s())),
            7,
        ),
        "partial": (lambda: add.s(1).clone((4,)), 5),
        "with kwargs": (lambda: add.s(1).clone(kwargs={"y": 4}), 5),
        "with options": (
            lambda: chain(add.s(1, 1).set(queue="emails"), add.s(1).set(countdown=30, priority=3)),
            3,
        ),
    }
