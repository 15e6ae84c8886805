"""What the soak enqueues: a mixture of modes, of short and of longer jobs."""

from __future__ import annotations

import random

from django.db import transaction

from . import tasks

QUEUES = ("default", "emails", "reports")


def enqueue_one(rng: random.Random) -> str:
    """Enqueue a job of some kind in a transaction of its own; its id."""
    kind = rng.randrange(100)
    queue = rng.choice(QUEUES)
    with transaction.atomic():
        if kind < 40:
            task, args = tasks.plain, ()
        elif kind < 70:
            task, args = tasks.atomic, ()
        elif kind < 80:
            task, args = tasks.careful, ()
        elif kind < 90:
            task, args = tasks.paying, ()
        else:
            return str(tasks.nap.using(queue_name=queue).enqueue(rng.uniform(0.1, 2.0)).id)
        return str(task.using(queue_name=queue).enqueue(*args).id)
