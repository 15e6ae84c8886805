"""What modules take from `celery.utils.time`."""

from __future__ import annotations

import random


def get_exponential_backoff_interval(
    factor: int, retries: int, maximum: int, full_jitter: bool = False
) -> int:
    """Seconds until the retry that follows so many: factor times 1, 2, 4, …, at most `maximum`.

    full_jitter: at random between 0 and that.
    """
    countdown = max(0, min(maximum, factor * 2 ** min(retries, 60)))
    return random.randrange(countdown + 1) if full_jitter else countdown  # noqa: S311
