"""Tasks with limits and sequences."""

from __future__ import annotations

from django_bgtasks import Limit, Retry, RetryLater, task


@task(limit=Limit("api:{account}", at_once=2))
def call_api(account: str, number: int = 0) -> int:
    return number


@task(limit=Limit("device:{device}", when_busy="skip"))
def update_device(device: str) -> str:
    return device


@task(sequence="order:{order}")
def apply_event(order: str, event: int, fails: bool = False) -> int:
    if fails:
        raise ValueError("broke")
    return event


@task(sequence="feed:{feed}", on_failed="skip", retry=Retry(max_attempts=2, delays=[60]))
def read_feed(feed: str, fails: bool = False) -> str:
    if fails:
        raise ValueError("broke")
    return feed


@task(limit=Limit("api:{account}", at_once=2))
def ask_again(account: str) -> None:
    raise RetryLater(3600)
