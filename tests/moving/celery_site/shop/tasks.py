from datetime import date, timedelta

from celery import chain, chord, current_task, group, shared_task
from celery.exceptions import Ignore, MaxRetriesExceededError, Reject, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from django.core.mail import send_mail

from . import payments
from .base import LoggedTask
from .models import Cart, Order

logger = get_task_logger(__name__)


@shared_task
def ping(text="pong"):
    return text


@shared_task(ignore_result=True)
def send_confirmation(order_id):
    order = Order.objects.get(pk=order_id)
    send_mail("Your order", f"Order {order.pk}", "shop@example.com", [order.email])


@shared_task(bind=True, max_retries=3, default_retry_delay=60)
def charge(self, order_id):
    order = Order.objects.get(pk=order_id)
    try:
        payments.gateway.charge(order.email, str(order.amount))
    except payments.PaymentDeclined:
        order.status = "declined"
        order.save()
        raise
    except ConnectionError as exc:
        logger.warning("Attempt %s of %s failed", self.request.retries, self.name)
        try:
            raise self.retry(exc=exc, countdown=2**self.request.retries)
        except MaxRetriesExceededError:
            order.status = "failed"
            order.save()
            raise
    order.status = "paid"
    order.save()
    return order.status


@shared_task(bind=True, max_retries=2)
def refund(self, order_id):
    order = Order.objects.get(pk=order_id)
    try:
        payments.gateway.refund(order.email, str(order.amount))
    except ConnectionError:
        try:
            self.retry(countdown=1)
        except MaxRetriesExceededError:
            order.status = "refund failed"
            order.save(update_fields=["status"])
            return "gave up"
    return "refunded"


@shared_task(
    autoretry_for=(ConnectionError, TimeoutError),
    retry_backoff=True,
    retry_backoff_max=120,
    retry_jitter=False,
    max_retries=4,
)
def fetch_rates(source="ecb"):
    return payments.gateway.charge(source, "rates")


@shared_task(base=LoggedTask, bind=True)
def sync_stock(self, sku, fail_with=None):
    assert self.client is self.client
    if fail_with == "network":
        raise ConnectionError(sku)
    if fail_with:
        raise ValueError(fail_with)
    return f"synced {sku}"


@shared_task(bind=True)
def import_rows(self, rows):
    for number, row in enumerate(rows, 1):
        Order.objects.create(email=row)
        self.update_state(state="PROGRESS", meta={"current": number, "total": len(rows)})
    return {"current": len(rows), "total": len(rows), "status": "done"}


@shared_task(soft_time_limit=60, time_limit=90, acks_late=True)
def render_invoice(order_id):
    try:
        return payments.gateway.charge(order_id, "invoice")
    except SoftTimeLimitExceeded:
        Order.objects.filter(pk=order_id).update(status="too slow")
        return None


@shared_task
def add(x, y):
    return x + y


@shared_task
def line_total(price, count):
    return price * count


@shared_task
def sum_up(totals):
    return sum(totals)


@shared_task
def store_total(total, order_id):
    Order.objects.filter(pk=order_id).update(amount=total)
    return total


@shared_task
def mark_failed(request, exc, traceback):
    from .models import TaskLog

    TaskLog.objects.create(name=request.task, task_id=request.id, event="errback", text=repr(exc))


def price_order(order_id, lines):
    header = group(line_total.s(price, count) for price, count in lines)
    return chain(header | sum_up.s(), store_total.s(order_id)).apply_async()


def price_with_chord(order_id, lines):
    callback = chain(sum_up.s(), store_total.s(order_id))
    return chord([line_total.s(price, count) for price, count in lines])(callback)


@shared_task
def expire_carts(days=30):
    deleted, _ = Cart.objects.filter(updated__lt=date.today() - timedelta(days=days)).delete()
    return deleted


@shared_task(name="shop.tasks.sales_report")
def report():
    return Order.objects.count()


@shared_task(bind=True)
def who_am_i(self, *args, **kwargs):
    return {
        "name": self.name,
        "current": current_task.name,
        "args": list(args),
        "kwargs": kwargs,
        "eager": self.request.is_eager,
        "retries": self.request.retries,
        "has_id": bool(self.request.id),
    }


@shared_task(bind=True)
def maybe(self, how):
    if how == "ignore":
        self.update_state(state="SKIPPED", meta={"why": "nothing to do"})
        raise Ignore()
    if how == "reject":
        raise Reject("broken", requeue=False)
    return how
