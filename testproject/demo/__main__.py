"""Set the stage, play the story through the site's real views, and show what the jobs made."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress

from .stage import Stage, StageError


def main() -> int:
    """Run the demo; the exit code is 0 if every job did what it should."""
    parser = argparse.ArgumentParser(prog="python -m testproject.demo", description=__doc__)
    parser.add_argument("--serve", action="store_true", help="keep the site and its worker up")
    parser.add_argument("--port", type=int, default=0, help="the site's port (default: a free one)")
    parser.add_argument("--rows", type=int, default=12_000, help="contacts in the CSV file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A shell starts its background commands with this signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Stage(port=options.port) as stage:
            return show(stage, options)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130
    except StageError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1


def show(stage: Stage, options: argparse.Namespace) -> int:
    """Play on a stage that is set; with --serve stay until Ctrl-C."""
    # Their models need the settings that the stage has made.
    from .story import play
    from .table import print_jobs

    wrong = play(stage, options.rows)
    print_jobs()
    for line in wrong:
        print(f"Not as it should be: {line}", file=sys.stderr)
    if options.serve and not wrong:
        with suppress(KeyboardInterrupt):
            stage.serve()
        print("\nStopping.", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
