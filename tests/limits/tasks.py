"""Tasks with limits and sequences."""

from __future__ import annotations

import time

from django_bgtasks import Limit, Rate, Retry, RetryLater, cancel_job, task
from django_bgtasks.models import Job

# In the process that runs them, the numbers of leave_the_line().
BEGAN: list[int] = []


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


@task(rate=Rate("mail:{host}", 3, per=60))
def send_mail(host: str) -> str:
    return host


@task(limit=Limit("crawl:{host}", at_once=2), rate=Rate("crawl:{host}", 3, per=60))
def crawl(host: str) -> str:
    return host


@task(limit=Limit("alone:{host}"), rate=Rate("alone:{host}", 1, per=60))
def crawl_alone(host: str) -> str:
    return host


@task(sequence="payment:{payer}", rate=Rate("bank", 1, per=60))
def apply_payment(payer: str) -> str:
    return payer


@task(rate=Rate("flaky", 3, per=60), retry=Retry(max_attempts=5, delays=[0]))
def flaky() -> None:
    raise ValueError("broke")


@task(rate=Rate("quick", 2, per=0.3))
def quick() -> float:
    return time.time()


@task(limit=Limit("crowd", at_once=1))
def enter() -> None:
    """Nothing."""


@task
def open_the_door() -> None:
    enter.enqueue()


@task(limit=Limit("line:{name}"))
def leave_the_line(name: str, number: int) -> None:
    """The second one cancels the third, and lets the fifth go before the fourth."""
    BEGAN.append(number)
    if number == 2:
        cancel_job(_of_line(name, 3).pk)
        Job.objects.filter(pk=_of_line(name, 5).pk).update(turn=-1)


def _of_line(name: str, number: int) -> Job:
    [job] = [job for job in Job.objects.filter(lane=f"line:{name}") if job.args[1] == number]
    return job
