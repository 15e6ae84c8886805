import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site1.settings")

app = Celery("site1")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

app.conf.beat_schedule = {
    "expire-carts": {
        "task": "shop.tasks.expire_carts",
        "schedule": crontab(minute="*/15"),
        "kwargs": {"days": 30},
    },
    "nightly-report": {
        "task": "shop.tasks.sales_report",
        "schedule": crontab(hour=2, minute=30, day_of_week="mon-fri"),
        "options": {"queue": "reports", "expires": 3600},
    },
    "heartbeat": {"task": "shop.tasks.ping", "schedule": 2.0},
}


@app.on_after_finalize.connect
def setup_periodic_tasks(sender, **kwargs):
    from shop.tasks import ping

    sender.add_periodic_task(600.0, ping.s("periodic"), name="ping every 10 minutes")


@app.task(bind=True, ignore_result=True)
def debug_task(self):
    print(f"Request: {self.request!r}")
