from django_bgtasks import task
from django_bgtasks.contrib.huey import db_task
from django_bgtasks.contrib.rq import job

from .models import Product

done = []


@task(types="django")
def restock(product_id, amount=1):
    done.append(("restock", product_id, amount))


@job("high")
def count(product):
    done.append(("count", product))
    return product


def plain(*args, **kwargs):
    done.append(("plain", args, kwargs))


@db_task(retries=2, retry_delay=5)
def water(liters, kind="rain"):
    done.append(("water", liters, kind))
    return liters


@db_task(name="dry")
def dry_out(*args):
    done.append(("dry", *args))


class Shelf:
    def sweep(self):
        pass
