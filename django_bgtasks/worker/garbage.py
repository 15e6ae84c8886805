"""Python's garbage collection in a worker: not while the site is loaded, and never among what the
processes share.
"""

from __future__ import annotations

import gc

NEVER = 2**31 - 1
_of_the_site: list[tuple[int, int, int]] = []


def put_off_collections() -> None:
    """While a site is loaded nearly nothing becomes garbage: do not look for it all the time.

    Whether the collector is enabled remains as the site has it.
    """
    _of_the_site.append(gc.get_threshold())
    gc.set_threshold(NEVER)


def keep_what_is_loaded() -> None:
    """Look for garbage among what comes from now on: who looks at the rest copies it into each
    process.
    """
    gc.freeze()
    # A site that has set thresholds of its own meanwhile means them.
    if _of_the_site and gc.get_threshold()[0] == NEVER:
        gc.set_threshold(*_of_the_site[0])
