"""Redis and RQ. This file imports nothing, for any RQ worker may look up its function."""

from __future__ import annotations


def run_by_bgworker(job_id: str) -> None:
    """What a message names as its function; only `manage.py bgworker` can run a job."""
    raise RuntimeError(
        f"Job {job_id} belongs to django_bgtasks. Run it with `python manage.py bgworker`, "
        f"not with another RQ worker."
    )
