import logging
from decimal import Decimal

from django.db import transaction
from huey import crontab
from huey.contrib.djhuey import (
    db_periodic_task,
    db_task,
    lock_task,
    on_commit_task,
    periodic_task,
    post_execute,
    pre_execute,
    signal,
    task,
)
from huey.exceptions import CancelExecution, RetryTask
from huey.signals import SIGNAL_COMPLETE, SIGNAL_ERROR

from .models import Event, Plant

logger = logging.getLogger(__name__)
seen = []


@db_task()
def water_plant(plant_id, liters=1):
    """Water a plant."""
    plant = Plant.objects.get(pk=plant_id)
    plant.watered += liters
    plant.save()
    return plant.watered


@task(retries=2)
def flaky():
    Event.objects.create(text="try")
    if Event.objects.filter(text="try").count() < 3:
        raise ConnectionError("not yet")
    return "done"


@task()
def explode():
    raise ValueError("boom")


@task(retries=3, retry_delay=10, priority=50, expires=3600)
def price(amount):
    return Decimal(amount) * 2


@task(context=True, retries=1)
def tell(greeting, task=None):
    return [greeting, task.id, task.retries, task.name]


@task()
def nothing():
    pass


@task()
def add(a, b):
    return a + b


@task()
def pair(a):
    return a, a + 1


@task()
def give_up():
    raise CancelExecution("not today", retry=False)


@db_task()
def again():
    Event.objects.create(text="again")
    if Event.objects.filter(text="again").count() < 2:
        raise RetryTask()
    return "second"


@on_commit_task()
def after_commit(text):
    Event.objects.create(text=text)


@db_periodic_task(crontab(minute="0", hour="3"))
@lock_task("prune-events")
def prune_events():
    return Event.objects.all().delete()[0]


@periodic_task(crontab(minute="*/15", hour="8-17", day_of_week="1-5"), retries=2)
def check_soil():
    return "soil"


@signal(SIGNAL_ERROR)
def note_error(signal, task, exc=None):
    seen.append((signal, task.name, type(exc).__name__))


@signal(SIGNAL_COMPLETE)
def note_complete(signal, task):
    seen.append((signal, task.name))


@pre_execute()
def refuse_nothing(task):
    if task.name == "nothing" and task.kwargs.get("never"):
        raise CancelExecution


@post_execute()
def note_end(task, value, exception):
    if task.name == "add":
        seen.append(("end", value))


def rename(plant, name):
    with transaction.atomic():
        plant.name = name
        plant.save()
        after_commit(f"renamed to {name}")
