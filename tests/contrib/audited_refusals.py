"""A project that uses what the moved imports refuse or do not have."""

from __future__ import annotations

REFUSED = {
    "shop/tasks.py": """\
import celery.bootsteps  #: no-equal
import celery.utils.log
from celery import Celery, Task, chunks, exceptions, shared_task  #: no-equal
from celery.app.control import Inspect  #: no-equal
from celery.contrib import testing
from celery.contrib.abortable import AbortableTask  #: no-equal
from celery.contrib.testing.worker import start_worker
from celery.signals import task_failure, worker_ready  #: no-equal
from celery.schedules import crontab, solar
from celery.utils import functional, uuid  #: no-equal
from celery.utils.functional import first  #: no-equal
from django_celery_beat.models import SolarSchedule
from huey import crontab as huey_crontab

from .celery import app as other

app = Celery()  #: app


class Base(Task):  #: base-class
    class Request(object):  #: option-refused
        pass


class Logged(Task):  #: base-class
    Request = object  #: option-refused


@shared_task(  #: task-function
    pydantic=True,  #: option-refused
    routing_key="x",  #: option-refused
    exchange=None,
    acks_on_failure_or_timeout=False,  #: option-refused
    acks_on_failure=True,
    max_retry=3,  #: option-refused
    of_our_own=3,
)
def send(pk):
    pass


@shared_task  #: task-function
async def wait(pk):  #: option-refused
    pass


@shared_task(pydantic=False, queue="x")  #: task-function option-queue
def plain(pk):
    pass


app.conf.beat_schedule = {
    "both": {"schedule": crontab(day_of_week=1, day_of_month="1-7")},  #: schedule-refused
    "places": {"task": "x", "schedule": crontab(0, 0, "mon", "2")},  #: schedule-refused
    "any": {"schedule": crontab(0, 0, DAY, 2)},  #: schedule-setting schedule-refused?
    "sun": {"task": "x", "schedule": solar("sunset", 1, 2)},  #: schedule-refused
    "week": {"task": "x", "schedule": crontab(0, 0, 1, "*")},  #: schedule-setting
    "month": {"task": "x", "schedule": crontab(0, 0, "*", 1)},  #: schedule-setting
}
app.conf.beat_schedule["dusk"] = {"schedule": solar("dusk", 1, 2)}  #: schedule-refused
app.add_periodic_task(crontab(0, 0, 1, 1), send)  #: schedule-refused
app.add_periodic_task(crontab(0, 0, 1), send)  #: schedule-code
huey_crontab("0", "0", day="1", day_of_week="1")  #: schedule-refused
huey_crontab("0", "0", day="1")
SolarSchedule.objects.create(event="dusk")  #: schedule-refused


def calls(pk, task_id):
    send.apply_async((pk,), routing_key="x")  #: call option-refused
    send.apply_async((pk,), queue="x", routing_key="x")  #: call option-queue option-queue
    send.apply_async((pk,), exchange="x")  #: call option-refused
    send.apply_async((pk,), stamped_headers=["a"])  #: call option-refused
    send.apply_async((pk,), stamped_headers=[])  #: call option-refused
    send.apply_async((pk,), task_id="order-1")  #: call option-refused
    send.apply_async((pk,), task_id=f"order-{pk}")  #: call option-refused
    send.apply_async((pk,), task_id=uuid())  #: call option-other
    send.apply_async((pk,), task_id=task_id)  #: call option-other
    send.apply_async((pk,), task_id="0192f0c1-7a51-7d2a-9a9b-7e4d0f5c9b11")  #: call option-other
    send.apply_async((pk,), cuontdown=3)  #: call option-refused
    send.apply_async((pk,), sequence="x")  #: call
    send.delay(pk, chain=1)  #: call
    send.s(pk).delay(chain=1)  #: call call-step option-link
    send.s(pk).freeze()  #: call-step no-equal
    send.s(pk).stamp(a=1)  #: call-step no-equal
    (send.s(pk) | send.s()).freeze()  #: call-canvas call-step call-step no-equal
    with app.connection() as connection:  #: no-equal
        pass
    with app.pool.acquire() as connection:  #: no-equal
        pass
    app.tasks
    other.connection()
""",
}
