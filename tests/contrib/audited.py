"""Small projects that are written for an audit, and what it must find in which line.

A comment `#: code code?` at the end of a line has the codes of the findings in this line; with a
question mark the audit is not certain. A line without one has none.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from django_bgtasks.contrib.audit import AuditReport, audit_project

from .audited_refusals import REFUSED

EXPECTED = re.compile(r"#: ([\w? -]+)$")
Places = Counter[tuple[str, int, str]]


def write_project(directory: Path, files: dict[str, str]) -> None:
    """Write the files, with an `__init__.py` in each directory but the first."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for package in path.parents:
            if package == directory:
                break
            (package / "__init__.py").touch()


def audit(directory: Path, files: dict[str, str]) -> AuditReport:
    """The report on a project with these files."""
    write_project(directory, files)
    return audit_project([directory])


def found_by(report: AuditReport, directory: Path) -> Places:
    """(file, line, code) of each finding, the code with a question mark if it is not certain."""
    return Counter(
        (
            Path(finding.path).relative_to(directory).as_posix(),
            finding.line,
            finding.name + ("" if finding.is_certain else "?"),
        )
        for finding in report.findings
    )


def expected_in(files: dict[str, str]) -> Places:
    """What the comments of the files say."""
    return Counter(
        (name, number, code)
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if (comment := EXPECTED.search(line))
        for code in comment[1].split()
    )


CELERY_TASKS = {
    "mysite/celery.py": """\
import os

from celery import Celery

app = Celery("mysite")  #: app
app.config_from_object("django.conf:settings", namespace="CELERY")  #: app
app.autodiscover_tasks()  #: app
app.conf.task_default_queue = "web"  #: setting-routes
app.conf.update(  #
    task_always_eager=True,  #: test-eager
    beat_schedule={
        "nightly": {"task": "shop.tasks.plain", "schedule": 60},  #: schedule-setting
    },
)


@app.on_after_configure.connect  #: signal
def set_up(sender, **kwargs):
    sender.add_periodic_task(10.0, plain.s())  #: schedule-code call-step


@app.task  #: task-function
def plain():
    pass
""",
    "mysite/settings.py": """\
from celery.schedules import crontab

CELERY_BROKER_URL = "redis://"  #: setting
CELERY_TASK_ROUTES = {"shop.*": {"queue": "shop"}}  #: setting-routes
CELERY_TASK_ALWAYS_EAGER = True  #: test-eager
CELERY_BEAT_SCHEDULE = {
    "one": {"task": "shop.tasks.send", "schedule": crontab(hour=3)},  #: schedule-setting
    "two": {"task": "shop.tasks.send", "schedule": 30.0},  #: schedule-setting
}
CELERY_BEAT_SCHEDULE["three"] = {"task": "shop.tasks.send", "schedule": 5}  #: schedule-setting
CELLAR_DOOR = 1
CELERY_LOGGER_NAME = "a name of our own"
""",
    "shop/tasks.py": """\
import celery
from celery import Task, current_task, shared_task
from celery.result import AsyncResult

from mysite.celery import app


class Logged(Task):  #: base-class
    abstract = True

    def on_failure(self, exc, task_id, args, kwargs, einfo):  #: hook
        pass

    def before_start(self, task_id, args, kwargs):  #: hook
        pass


class Patient(Task):  #: base-class
    autoretry_for = (OSError,)  #: option-retry
    retry_backoff = True  #: option-retry


class Export(app.Task):  #: task-class
    max_retries = 2  #: option-retry
    ignore_result = True

    def run(self, pk):
        self.update_state(state="PROGRESS", meta={})  #: bound-state


export = app.register_task(Export())


@shared_task  #: task-function
def send(pk):
    pass


@shared_task(  #: task-function
    bind=True,
    base=Logged,  #: option-base
    name="send-many",  #: option-name
    autoretry_for=(OSError,),  #: option-retry
    retry_backoff=True,  #: option-retry
    rate_limit="10/m",  #: option-rate
    soft_time_limit=20,  #: option-time
    queue="mail",  #: option-queue
    ignore_result=True,
    acks_late=True,
    serializer="pickle",  #: option-other
)
def send_many(self, pks):
    try:
        print(self.request.id)  #: bound-request
    except OSError as error:
        raise self.retry(exc=error)  #: bound-retry
    self.replace(send.s(1))  #: bound-other call-step


@celery.shared_task(max_retries=None)  #: task-function
async def later():  #: option-refused
    current_task.update_state(state="HALF")  #: bound-state


def undecorated():
    pass


decorated = shared_task(undecorated)  #: task-function
also_decorated = app.task(bind=False)(undecorated)  #: task-function


def progress(task):
    task.update_state(state="HALF")  #: bound-state?


def look(task_id):
    result = AsyncResult(task_id)  #: result-lookup
    if result.ready():  #: result-read
        return result.get(timeout=3)  #: result-wait
    result.revoke()  #: result-revoke
    app.control.revoke(task_id)  #: result-revoke
    app.control.inspect().active()  #: control
    return send.AsyncResult(task_id).state  #: result-lookup result-read
""",
    "shop/signals.py": """\
from celery import signals
from celery.signals import task_failure, worker_process_init
from django.dispatch import receiver
from django.db.models.signals import post_save


@task_failure.connect  #: signal
def failed(**kwargs):
    pass


@worker_process_init.connect(weak=False)  #: signal
def started(**kwargs):
    pass


@receiver([signals.task_prerun, post_save])  #: signal
def before(**kwargs):
    pass


signals.beat_init.connect(before)  #: signal
post_save.connect(before)
""",
}
CELERY_CALLS = {
    "mysite/celery.py": """\
from celery import Celery

app = Celery()  #: app
""",
    "shop/models.py": """\
from django.contrib.auth.models import AbstractUser
from django.db import models


class Order(models.Model):
    number = models.UUIDField(primary_key=True)
    sent_at = models.DateTimeField()
    total = models.DecimalField()
    note = models.TextField()

    def send(self):
        from .tasks import send

        send.delay(self)  #: call argument-model
        send.delay(self.pk, self.note)  #: call


class Customer(AbstractUser):
    pass
""",
    "shop/tasks.py": """\
from celery import shared_task


@shared_task  #: task-function
def send(*args, **kwargs):
    pass


@shared_task(bind=True)  #: task-function
def again(self, pk):
    again.apply_async((pk,), countdown=5)  #: call option-time
    self.apply_async(args=[pk])  #: call
""",
    "shop/api.py": """\
from .tasks import *
from .tasks import send as dispatch
""",
    "shop/views.py": """\
import datetime
from decimal import Decimal
from functools import partial
from uuid import uuid4

from celery import chain, chord, group, signature
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

import shop.tasks
from shop import tasks
from mysite.celery import app

from . import api
from .api import again, dispatch
from .models import Customer, Order

User = get_user_model()


def call_sites(request, pk, unknown):
    dispatch.delay(pk)  #: call
    tasks.send.delay(pk)  #: call
    shop.tasks.send.apply_async([pk], queue="high", priority=3)  #: call option-queue option-queue
    api.send.apply_async(kwargs={"pk": pk}, expires=60, headers={"a": 1})  #: call option-time option-headers
    api.dispatch.delay(pk)  #: call
    again.apply([pk])  #: call-inline
    again(pk)
    (
        tasks.send
        .s(pk)  #: call-step
        .set(queue="x")
        .delay()  #: call
    )
    for task in (tasks.send, again):
        task.delay(pk)  #: call
    unknown.delay(pk)  #: call?
    app.send_task("other.tasks.send", args=[pk])  #: call-name
    app.tasks["shop.tasks.send"].delay(pk)  #: call
    run = tasks.send.delay  #: call-reference
    run(pk)  #: call
    list(map(tasks.send.delay, [1, 2]))  #: call-reference


def workflows(pk):
    chain(tasks.send.s(1), again.si(2)).apply_async()  #: call-canvas call-step call-step call
    (tasks.send.s(1) | again.s()).delay()  #: call-canvas call-step call-step call
    chord(group(tasks.send.s(n) for n in range(3)))(again.s())  #: call-canvas call-canvas call-step call-step call
    signature("shop.tasks.send", args=(1,)).delay()  #: call-canvas call
    tasks.send.apply_async((1,), link=again.si(1))  #: call option-link call-step


def arguments(request, order: Order, day: "datetime.date", req: HttpRequest):
    tasks.send.delay(order)  #: call argument-model
    tasks.send.delay(order.pk, order.note)  #: call
    tasks.send.delay(order.number, order.sent_at, order.total)  #: call argument-type argument-type argument-type
    tasks.send.delay(Order.objects.get(pk=1))  #: call argument-model
    first = Order.objects.filter(note="").order_by("pk").first()
    tasks.send.delay(first)  #: call argument-model
    made, created = Order.objects.get_or_create(note="")
    tasks.send.delay(made, created)  #: call argument-model
    tasks.send.delay(Order.objects.filter(note=""))  #: call argument-queryset
    tasks.send.delay(list(Order.objects.all()))  #: call argument-model
    tasks.send.delay(list(Order.objects.values_list("pk", flat=True)))  #: call
    tasks.send.delay([each.pk for each in Order.objects.all()])  #: call
    for each in Order.objects.all():
        tasks.send.delay(each)  #: call argument-model
    tasks.send.delay(User.objects.get(pk=1))  #: call argument-model
    tasks.send.delay(Customer(), note=request)  #: call argument-model argument-request?
    tasks.send.delay(req)  #: call argument-request
    tasks.send.delay(timezone.now(), day)  #: call argument-type argument-type
    tasks.send.delay(timezone.now() - datetime.timedelta(days=1))  #: call argument-type
    tasks.send.delay(timezone.now().isoformat(), str(uuid4()))  #: call
    tasks.send.delay(Decimal("1"), uuid4(), b"x", {1, 2})  #: call argument-type argument-type argument-type argument-type
    tasks.send.delay(lambda: 1, arguments)  #: call argument-callable argument-callable
    tasks.send.delay(_("text"), (n for n in [1]))  #: call argument-type argument-object
    tasks.send.apply_async(args=[order], kwargs={"day": day})  #: call argument-model argument-type
    tasks.send.delay({"a": [order, 1, "x", None, 2.5]})  #: call argument-model


def commits(pk):
    transaction.on_commit(lambda: tasks.send.delay(pk))  #: commit-wrapper call
    transaction.on_commit(partial(tasks.send.delay, pk))  #: commit-wrapper call
    transaction.on_commit(tasks.send.delay)  #: commit-wrapper call-reference
    connection.on_commit(lambda: chain(tasks.send.s(1)).delay())  #: commit-wrapper call-canvas call-step call
    transaction.on_commit(lambda: print(pk))
    tasks.send.delay_on_commit(pk)  #: commit-method

    def after():
        tasks.send.delay(pk)  #: call

    transaction.on_commit(after)  #: commit-wrapper

    def after_more():
        print(pk)
        tasks.send.delay(pk)  #: call

    transaction.on_commit(after_more)  #: commit-wrapper?
    transaction.on_commit(lambda: notify(pk))  #: commit-wrapper?


def notify(pk):
    if pk:
        dispatch.delay(pk)  #: call
""",
}
LOOK_ALIKES = {
    "shop/tasks.py": """\
from celery import shared_task


@shared_task  #: task-function
def send():
    pass
""",
    "shop/other.py": """\
import itertools
import re
import time
from itertools import chain

from django.core.cache import cache
from django.db.models.signals import post_save
from invoke import task

import shop.tasks


class Alarm:
    def __init__(self):
        self.clock = Clock()

    def delay(self, seconds):
        return self.clock.delay(seconds)

    def si(self):
        return self.s()

    def s(self):
        return 1


class Clock:
    def delay(self, seconds):
        pass

    def apply_async(self):
        return "not a task"


@task
def build(context):
    '''shared_task in a text: send.delay(1)'''
    # send.delay(1)
    Alarm().delay(5)
    alarm = Alarm()
    alarm.clock.apply_async()
    alarm.s()
    post_save.send(sender=None)
    time.sleep(1)
    list(chain([1], itertools.chain([2])))
    re.match("a", "a").group()
    print("shop.tasks.send.delay")
    shop.tasks.send()
    cache.get("x")
    cache.set("x", 1)


def schedule(group, chain, job):
    group(chain(job))
    return schedule
""",
}
"""Names that the libraries have too, on other things."""
RQ = {
    "mysite/settings.py": """\
RQ_QUEUES = {"default": {"ASYNC": False}}  #: setting-routes
RQ_QUEUE_NAMES = ["default"]
RQ_EXCEPTION_HANDLERS = ["shop.handlers.sentry"]  #: setting
""",
    "shop/jobs.py": """\
from typing import Protocol

import django_rq
import rq
from django_rq import job
from redis import Redis
from rq import Retry, get_current_job
from rq.decorators import job as rq_job
from rq.job import Job


@job  #: task-function
def bare(pk):
    pass


@job("high", timeout=60, result_ttl=5)  #: task-function option-queue option-time option-result
def with_options(pk):
    get_current_job().meta["x"] = 1  #: bound-request result-read


@rq_job("low", connection=Redis())  #: task-function option-queue option-other
def from_rq(pk):
    pass


def plain(pk):
    pass


class Shop:
    @job  #: task-function
    def decorated(self):  #: function-method
        pass

    def method(self):
        django_rq.enqueue(self.method)  #: call-function function-method

    @classmethod
    def build(cls):
        queue = rq.Queue(connection=Redis())  #: app
        queue.enqueue(cls.build)  #: call-function function-method


class Worker(rq.Worker):  #: worker-class
    pass


def make():
    @job  #: task-function
    def inner():  #: function-nested
        pass


def start(pk, unknown):
    bare.delay(pk)  #: call
    django_rq.enqueue(plain, pk)  #: call-function function-plain
    django_rq.enqueue(bare, pk)  #: call-function
    django_rq.enqueue("shop.jobs.plain", pk)  #: call-function function-path
    queue = django_rq.get_queue("high")
    queue.enqueue(plain, pk, job_timeout=30, retry=Retry(max=3))  #: call-function function-plain option-time option-retry
    queue.enqueue_call(func=plain, args=(pk,), kwargs={"x": b"y"})  #: call-function function-plain argument-type
    queue.enqueue(lambda: pk)  #: call-function function-lambda
    django_rq.get_queue().enqueue_in(60, plain, pk)  #: call-function function-plain

    def nested():
        pass

    job = queue.enqueue(nested, depends_on=None)  #: call-function function-nested
    job.get_status()  #: result-read
    job.cancel()  #: result-revoke
    Job.fetch("x", connection=Redis()).result  #: result-lookup result-read
    unknown.enqueue(plain)  #: call-function? function-plain?
    queue.enqueue(getattr(rq, pk))  #: call-function function-unknown?
    getattr(queue, "enqueue")(plain)  #: call-function function-plain
    queue.count  # an attribute, not a call
    queue.empty()  #: control
    queue.enqueue_job(job)  #: control


def clock():
    scheduler = django_rq.get_scheduler("default")
    scheduler.cron("0 3 * * *", func=plain)  #: call-function function-plain schedule-code
    scheduler.schedule(None, func=plain, interval=60)  #: call-function function-plain option-other schedule-code


class Delayed(Protocol):
    def delay(self, *args): ...


def enqueue_later(job: Delayed, *args):
    job.delay(*args)  #: call?


enqueue_later(bare, 1)  #: call-wrapper


def enqueue_for(tenant, func, *args):
    return django_rq.enqueue(func, tenant, *args)  #: call-function function-unknown?


def through():
    enqueue_for(1, plain, 2)  #: call-wrapper function-plain
    enqueue_for(1, plain, {2})  #: call-wrapper function-plain argument-type?
    enqueue_for(1, func=lambda: 1)  #: call-wrapper function-lambda
""",
}
HUEY = {
    "mysite/settings.py": """\
HUEY = {"immediate": True}  #: setting
""",
    "shop/tasks.py": """\
from datetime import timedelta

from huey import RedisHuey, crontab
from huey.contrib.djhuey import HUEY, db_periodic_task, db_task, lock_task, on_startup, task
from huey.contrib.djhuey import on_commit_task, signal
from huey.signals import SIGNAL_ERROR

huey = RedisHuey("shop")  #: app


@task()  #: task-function
def plain(pk):
    pass


@db_task(retries=3, retry_delay=10, priority=5)  #: task-function option-retry option-retry option-queue
def send(pk):
    with lock_task("send"):  #: lock-library
        pass


@huey.task(context=True)  #: task-function option-other
@huey.lock_task("one")  #: lock-library
def own(pk, task=None):
    pass


@on_commit_task()  #: task-function
def after(pk):
    pass


@db_periodic_task(crontab(hour="3"))  #: task-function schedule-code
def nightly():
    pass


@on_startup()  #: signal
def start():
    pass


@signal(SIGNAL_ERROR)  #: signal
def failed(signal, task, exc=None):
    pass


def use(pk):
    result = send(pk)  #: call
    result(blocking=True)  #: result-wait
    send.schedule((pk,), delay=60)  #: call option-time
    send.call_local(pk)  #: call-inline
    pipeline = send.s(pk).then(plain, 2)  #: call-step
    HUEY.enqueue(pipeline)  #: call-canvas
    HUEY.revoke_by_id("x")  #: result-revoke
""",
}
DRAMATIQ = {
    "mysite/settings.py": """\
DRAMATIQ_BROKER = {"BROKER": "dramatiq.brokers.redis.RedisBroker"}  #: setting
""",
    "shop/tasks.py": """\
import dramatiq
from dramatiq import pipeline
from dramatiq.middleware import Middleware
from dramatiq.rate_limits import ConcurrentRateLimiter


class Metrics(Middleware):  #: middleware
    def before_process_message(self, broker, message):
        pass


@dramatiq.actor  #: task-function
def plain(pk):
    pass


@dramatiq.actor(queue_name="mail", max_retries=3, time_limit=1000)  #: task-function option-queue option-retry option-time
def send(pk):
    pass


LIMITER = ConcurrentRateLimiter(None, "shop", limit=1)  #: lock-library


def use(pk, signal):
    plain.send(pk)  #: call
    plain.send_with_options(args=(pk,), on_failure=plain)  #: call option-link
    send.send_with_options(args=(pk,), delay=5000)  #: call option-time
    pipeline([plain.message(1), send.message()]).run()  #: call-canvas call-step call-step call
    dramatiq.group([plain.message(1)]).run()  #: call-canvas call-step call
    signal.send(pk)
    plain(pk)
""",
}
DJANGO_Q = {
    "mysite/settings.py": """\
Q_CLUSTER = {"name": "shop"}  #: setting
""",
    "shop/tasks.py": """\
from django_q.models import Schedule
from django_q.tasks import async_chain, async_task, result, schedule


def plain(pk):
    pass


def use(pk):
    task_id = async_task(plain, pk, hook="shop.hooks.done", timeout=60)  #: call-function function-plain option-link option-time
    async_task("shop.tasks.plain", pk, group="x")  #: call-function function-path
    result(task_id)  #: result-lookup
    schedule("shop.tasks.plain", 1, schedule_type=Schedule.DAILY)  #: call-function function-path schedule-code
    Schedule.objects.create(func="shop.tasks.plain", minutes=5)  #: schedule-table
    async_chain([(plain, (1,))])  #: call-canvas
""",
}
DJANGO_TASKS = {
    "shop/tasks.py": """\
from django.tasks import task


@task(priority=3)  #: task-django
def send(pk):
    pass
""",
    "shop/views.py": """\
from django_bgtasks import task

from .tasks import send


@task
def moved(pk):
    pass


def use(pk):
    send.enqueue(pk)  #: call-django
    send.using(priority=1).enqueue(pk)  #: call-django
    moved.enqueue(pk)
""",
}
LOCKS = {
    "shop/locks.py": """\
import contextlib

from celery import shared_task
from celery_once import QueueOnce
from django.core.cache import cache, caches
from django_redis import get_redis_connection
from filelock import FileLock
from redis import Redis

from .models import Order

client = Redis.from_url("redis://")


@contextlib.contextmanager
def one_at_a_time(key):
    yield cache.add(key, 1, 60)  #: lock-cache


def exclusive(key):
    def decorate(function):
        def call(*args):
            with client.lock(key):  #: lock-redis
                return function(*args)

        return call

    return decorate


@shared_task  #: task-function
@exclusive("a")  #: lock-wrapper
def first():
    if not cache.add("first", 1):  #: lock-cache
        return
    with one_at_a_time("x"):  #: lock-wrapper
        pass


@shared_task(base=QueueOnce, once={"graceful": True})  #: task-function option-base lock-library
def second():
    get_redis_connection("default").set("k", 1, nx=True)  #: lock-redis
    with caches["locks"].lock("x"):  #: lock-redis
        Order.objects.select_for_update().get(name="lock")  #: lock-row?
    with FileLock("x"):  #: lock-library
        client.set("k", 1)


def view(request):
    cache.add("visits", 0)  #: lock-cache?
    Order.objects.select_for_update().get(pk=1)
""",
    "shop/models.py": """\
from django.db import models


class Order(models.Model):
    name = models.TextField()
""",
}
MOCKS = {
    "shop/tasks.py": """\
from celery import shared_task


@shared_task  #: task-function
def send():
    pass


def helper():
    pass
""",
    "shop/views.py": "from .tasks import helper, send\n",
    "shop/tests/test_send.py": """\
from unittest import mock
from unittest.mock import patch

from django.conf import settings as django_settings
from django.test import override_settings

from shop.tasks import send


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)  #: test-eager
@patch("shop.tasks.send.delay")  #: test-mock
@patch("shop.views.send")  #: test-mock
@patch("shop.views.helper")
@patch("elsewhere.tasks.other.apply_async")  #: test-mock?
@patch("celery.app.task.Task.apply_async")  #: test-mock-path
@patch("django_rq.enqueue")  #: test-mock-path
@patch("kombu.Connection")  #: test-mock-path
@patch("django_bgtasks.contrib.celery.app.task.CeleryTask.delay")
def test_one(*mocks):
    with mock.patch.object(send, "delay") as delay:  #: test-mock
        delay.assert_called_once()
    send.delay.assert_called_once_with()  #: test-mock


def test_two(mocker, settings, monkeypatch):
    mocker.patch("shop.views.send.apply_async")  #: test-mock
    settings.CELERY_TASK_EAGER_PROPAGATES = True  #: test-eager
    monkeypatch.setattr(send, "delay", print)  #: test-mock
    assert django_settings.CELERY_TASK_ALWAYS_EAGER  #: test-eager
    with override_settings(DEBUG=True):
        pass
""",
}
LAMBDAS = {
    "shop/tasks.py": """\
from celery import shared_task
from django.db.transaction import on_commit


@shared_task  #: task-function
def send(pk):
    pass


def cost():
    return 1


def place(pk):
    on_commit(lambda: send.delay(pk))  #: call commit-wrapper
    on_commit(lambda: send.s(pk).set(queue="x").delay())  #: call call-step commit-wrapper
    on_commit(lambda: send.delay(pk) if pk else None)  #: call commit-wrapper
    on_commit(lambda: (print(pk), send.delay(pk)))  #: call commit-wrapper?
    on_commit(lambda: cost() and send.delay(pk))  #: call commit-wrapper?
    on_commit(lambda: send.delay(cost()))  #: call commit-wrapper?
""",
}
PERIODIC_TABLES = {
    "shop/schedules.py": """\
from django_celery_beat.models import CrontabSchedule, PeriodicTask


class ShopTask(PeriodicTask):  #: schedule-table
    pass


def plan():
    cron, _ = CrontabSchedule.objects.get_or_create(hour=3)  #: schedule-table
    PeriodicTask.objects.create(crontab=cron)  #: schedule-table
    ShopTask.objects.filter(name="x").delete()  #: schedule-table schedule-table
    PeriodicTask(name="x")  #: schedule-table
""",
}
MOVED = {
    "shop/tasks.py": """\
from django_bgtasks.contrib import celery
from django_bgtasks.contrib.celery import Celery, chain, crontab, shared_task
from django_bgtasks.contrib.celery.result import AsyncResult
from django_bgtasks.contrib.celery.signals import task_failure
from django_bgtasks.contrib.huey import db_periodic_task, db_task
from django_bgtasks.contrib.rq import enqueue, get_queue, job

app = Celery("shop")


@shared_task(bind=True, max_retries=3)
def send(self, pk):
    raise self.retry(countdown=self.request.retries)


@app.task
def plain(pk):
    pass


@job("high")
def work(pk):
    pass


@db_task(retries=3)
def clean(pk):
    pass


@db_periodic_task(crontab(hour="3"))
def nightly():
    pass


@task_failure.connect
def failed(**kwargs):
    pass


def use(pk):
    send.delay(pk).get()
    chain(send.s(pk), plain.si(pk)).apply_async()
    (send.s(1) | plain.s()).delay()
    celery.group(send.s(pk)).delay()
    AsyncResult(pk).state
    work.delay(pk)
    enqueue(use, pk)
    get_queue("high").enqueue(use, pk).get_status()
    clean(pk)()
    clean.schedule((pk,), delay=3)
""",
    "shop/tests.py": """\
from unittest.mock import patch

from .tasks import send


@patch("shop.tasks.work")
@patch("shop.tasks.send.delay")
def test_send(*mocks):
    with patch.object(send, "apply_async"):
        send.delay.assert_called_once()
""",
    "other/tasks.py": """\
import django_rq  # the other app has not moved
from celery import shared_task
from huey.contrib.djhuey import db_task


@shared_task  #: task-function
def send(pk):
    pass
""",
}
"""An app that has moved beside one that has not."""
IDIOMS = {
    "shop/celery.py": """\
from functools import partial

from celery import current_app, shared_task
from tenant_schemas_celery.app import CeleryApp

tenants = CeleryApp()  #: app
task = tenants.task
quick = partial(shared_task, ignore_result=True)


def retrying(*args, **options):
    return shared_task(*args, autoretry_for=(OSError,), **options)


class Locked(current_app.Task):  #: base-class
    abstract = True

    def apply_async(self, *args, **kwargs):  #: hook
        from django.core.cache import cache

        if cache.add(self.name, 1):  #: lock-cache
            return super().apply_async(*args, **kwargs)  #: call
""",
    "shop/delayed.py": """\
import functools

import django_rq
import redis
import redis_lock
from django_q.tasks import AsyncTask


class Delay:
    def __init__(self, function):
        self.function = function

    def delay(self, *args):
        return django_rq.enqueue(self.function, *args)  #: call-function function-unknown?


def start(job, *args):
    enqueue = django_rq.get_queue("default").enqueue
    return enqueue(job, *args)  #: call-function function-unknown?


def offload(name, *args):
    task = AsyncTask(name, *args)  #: call-function function-unknown?
    task.run()  #: call


def only_one(key):
    def decorate(function):
        @functools.wraps(function)
        def call(*args):
            with redis_lock.Lock(redis.StrictRedis(), key):  #: lock-redis
                return function(*args)

        return call

    return decorate
""",
    "shop/tasks.py": """\
from celery import task as old_task  #: no-equal
from celery.schedules import crontab
from celery.task import periodic_task  #: no-equal

from .celery import Locked, quick, retrying, task
from .delayed import Delay, offload, only_one, start


@task(queue="tenants")  #: task-function option-queue
def one():
    pass


@quick  #: task-function
def two():
    pass


@retrying(bind=True)  #: task-function
def three(self):
    self.retry()  #: bound-retry


@old_task(base=Locked)  #: task-function option-base
@only_one("four")  #: lock-wrapper
def four():
    pass


@periodic_task(run_every=crontab(minute=0))  #: task-function schedule-code
def five():
    pass


def plain():
    pass


later = Delay(plain)


def use():
    one.delay()  #: call
    two.delay()  #: call
    three.delay()  #: call
    four.delay()  #: call
    later.delay(1)  #: call-wrapper
    start(plain, 1)  #: call-wrapper function-plain
    offload("shop.tasks.plain")  #: call-wrapper function-path
""",
}
"""What public reports and projects have around the libraries."""
PROJECTS = {
    "idioms": IDIOMS,
    "moved": MOVED,
    "celery": CELERY_TASKS,
    "celery calls": CELERY_CALLS,
    "look-alikes": LOOK_ALIKES,
    "rq": RQ,
    "huey": HUEY,
    "dramatiq": DRAMATIQ,
    "django-q2": DJANGO_Q,
    "django-tasks": DJANGO_TASKS,
    "locks": LOCKS,
    "mocks": MOCKS,
    "tables of beat": PERIODIC_TABLES,
    "lambdas that commit": LAMBDAS,
    "refused by contrib.celery": REFUSED,
}
