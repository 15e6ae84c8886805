"""Whose job it is, and what it concerns."""

from __future__ import annotations

from typing import Any

from django.contrib.contenttypes.models import ContentType

from ..core.errors import InvalidArguments
from ..core.payload import fault_of
from ..models import Job

LONGEST_KEY = 255


def attach(job: Job, task: Any) -> None:
    """Put the owner of a task, and what it is about, onto the unsaved row of a call.

    Raises InvalidArguments for what is no model instance, or has no key.
    """
    # A visitor who is not logged in has no row, and a key that is None.
    for what, row, has in (("owner", task.owner, "pk"), ("about", task.about, "_meta")):
        if isinstance(row, type) or not (row is None or hasattr(row, has)):
            raise _wrong(task, f"{what} takes a model instance, not {row!r}")
    if task.owner is not None:
        job.owner_id = task.owner.pk
    if task.about is not None:
        job.about_type_id = ContentType.objects.get_for_model(task.about).pk
        job.about_key = _key_of(task)


def _key_of(task: Any) -> str:
    about = task.about
    if about.pk is None:
        raise _wrong(task, f"about is a {about._meta.label} without a key; save it first")
    key = str(about.pk)
    if fault := fault_of(key, LONGEST_KEY):
        raise _wrong(task, f"the key of about, a {about._meta.label}, {fault.rstrip('.')}")
    return key


def _wrong(task: Any, why: str) -> InvalidArguments:
    return InvalidArguments(f"{task.module_path}: {why}.")
