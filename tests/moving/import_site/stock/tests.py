from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import rq
from django.conf import settings
from django.core.management import CommandError
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
)
from django_q.models import Schedule as QSchedule
from django_q.tasks import async_task, schedule
from huey import PriorityRedisHuey, RedisHuey, SqliteHuey

from django_bgtasks.contrib.rq import get_queue
from django_bgtasks.models import Job, Schedule
from django_bgtasks.testing import run_jobs

from . import tasks
from .cases import Case, bgimport, read
from .models import Product


class CeleryBeatTests(Case):
    def setUp(self):
        super().setUp()
        PeriodicTask.objects.all().delete()
        minutes = IntervalSchedule.objects.create(every=10, period="minutes")
        cron = CrontabSchedule.objects.create(
            minute="30", hour="6", day_of_week="mon-friday", timezone=ZoneInfo("Asia/Tokyo")
        )
        both = CrontabSchedule.objects.create(minute="0", day_of_month="1", day_of_week="1")
        clocked = ClockedSchedule.objects.create(clocked_time=timezone.now() + timedelta(days=1))
        make = PeriodicTask.objects.create
        make(name="every ten", task="stock.tasks.restock", interval=minutes, args="[7]")
        make(
            name="at six",
            task="stock.tasks.restock",
            crontab=cron,
            kwargs='{"product_id": 8}',
            args="[]",
            queue="night",
            enabled=False,
        )
        make(name="once", task="stock.tasks.restock", clocked=clocked, one_off=True, args="[9]")
        make(name="gone", task="stock.tasks.gone", interval=minutes)
        make(name="wrong", task="stock.tasks.restock", interval=minutes, args="[1, 2, 3]")
        make(name="both", task="stock.tasks.restock", crontab=both, args="[1]")
        make(name="headed", task="stock.tasks.restock", interval=minutes, headers='{"a": 1}')

    def test_nothing_is_made_before_it_is_applied(self):
        text = bgimport("django-celery-beat")
        self.assertIn("schedule every ten: stock.tasks.restock", text)
        self.assertIn("Nothing was made", text)
        self.assertFalse(Schedule.objects.exists())
        self.assertFalse(Job.objects.exists())
        self.assertEqual(
            {left["name"] for left in read("django-celery-beat")["left"]},
            {"gone", "wrong", "both", "headed"},
        )

    def test_they_are_made_once(self):
        text = bgimport("django-celery-beat", "--apply")
        self.assertIn("3 made, 0 there before", text)
        self.assertIn("stop celery beat", text)
        self.assertIn("0 made, 3 there before", bgimport("django-celery-beat", "--apply"))
        rows = {row.name: row for row in Schedule.objects.all()}
        self.assertEqual(set(rows), {"every ten", "at six"})
        self.assertEqual((rows["every ten"].every, rows["every ten"].args), (600, [7]))
        at_six = rows["at six"]
        self.assertEqual((at_six.cron, at_six.zone), ("30 6 * * 1,2,3,4,5", "Asia/Tokyo"))
        self.assertEqual(at_six.options["queue_name"], "night")
        self.assertIsNotNone(at_six.paused_at)
        self.assertIsNone(rows["every ten"].paused_at)
        job = Job.objects.get()
        self.assertEqual((job.state, job.args), ("scheduled", [9]))


class RqTests(Case):
    def test_waiting_jobs_keep_their_ids_and_arguments(self):
        queue = rq.Queue("default", connection=self.redis)
        high = rq.Queue("high", connection=self.redis)
        product = Product.objects.create(name="rake")
        first = high.enqueue("stock.tasks.count", product, job_timeout=77)
        moment = timezone.now()
        second = queue.enqueue(
            "stock.tasks.plain",
            1,
            at=moment,
            price=Decimal("1.5"),
            retry=rq.Retry(max=2, interval=[1, 2]),
            depends_on=first,
        )
        later = queue.enqueue_in(timedelta(hours=1), "stock.tasks.plain", 2)
        front = queue.enqueue("stock.tasks.plain", "front", at_front=True, meta={"who": "ada"})
        queue.enqueue(tasks.Shelf().sweep)
        queue.enqueue("stock.tasks.gone")
        queue.enqueue("stock.tasks.plain", tasks.Shelf())
        found = read("django-rq")
        self.assertEqual(len(found["found"]), 4, found["left"])
        self.assertEqual(len(found["left"]), 3)
        self.assertIn("4 made, 0 there", bgimport("django-rq", "--apply"))
        self.assertIn("0 made, 4 there", bgimport("django-rq", "--apply"))
        self.assertEqual(Job.objects.count(), 4)
        self.assertEqual(get_queue("high").fetch_job(first.id).timeout, 77)
        self.assertTrue(get_queue("default").fetch_job(later.id).is_scheduled)
        self.assertEqual(get_queue("default").fetch_job(front.id).meta, {"who": "ada"})
        run_jobs(["high", "default"])
        self.assertEqual(
            tasks.done,
            [
                ("count", product),
                ("plain", ("front",), {}),
                ("plain", (1,), {"at": moment, "price": Decimal("1.5")}),
            ],
        )
        self.assertEqual(get_queue("high").fetch_job(first.id).result, product)
        self.assertTrue(get_queue("default").fetch_job(second.id).is_finished)

    def test_what_is_done_here_is_not_made_again(self):
        rq.Queue("default", connection=self.redis).enqueue("stock.tasks.plain", 1)
        bgimport("django-rq", "--apply")
        run_jobs()
        self.assertIn("0 made, 1 there", bgimport("django-rq", "--apply"))


class DjangoQTests(Case):
    def test_schedules_and_waiting_tasks(self):
        moment = datetime(2026, 12, 7, 6, 30, tzinfo=ZoneInfo("Europe/Berlin"))
        schedule(
            "stock.tasks.restock",
            7,
            amount=2,
            schedule_type=QSchedule.DAILY,
            next_run=moment,
            name="daily",
        )
        schedule(
            "stock.tasks.plain",
            1,
            "x",
            {"a": [1]},
            schedule_type=QSchedule.MINUTES,
            minutes=5,
            name="minutes",
        )
        schedule(
            "stock.tasks.plain", schedule_type=QSchedule.WEEKLY, next_run=moment, name="weekly"
        )
        schedule("stock.tasks.plain", schedule_type=QSchedule.QUARTERLY, next_run=moment, name="q")
        schedule("stock.tasks.plain", schedule_type=QSchedule.CRON, cron="0 3 * * 1", name="cron")
        schedule(
            "stock.tasks.plain",
            "one",
            schedule_type=QSchedule.ONCE,
            next_run=timezone.now() + timedelta(days=1),
            name="one",
        )
        schedule("stock.tasks.plain", schedule_type=QSchedule.BIWEEKLY, name="biweekly")
        schedule(
            "stock.tasks.plain",
            hook="stock.tasks.done",
            schedule_type=QSchedule.HOURLY,
            name="hooked",
        )
        schedule("stock.tasks.plain", schedule_type=QSchedule.HOURLY, repeats=3, name="thrice")
        async_task("stock.tasks.plain", 1, b=Decimal("2.5"), timeout=44)
        async_task(tasks.plain, timezone.now())
        async_task("stock.tasks.plain", hook="stock.tasks.plain")
        found = read("django-q")
        self.assertEqual(
            {left["name"] for left in found["left"][:3]}, {"biweekly", "hooked", "thrice"}
        )
        self.assertEqual(len(found["left"]), 4, found["left"])
        self.assertIn("8 made", bgimport("django-q", "--apply"))
        self.assertIn("0 made, 8 there", bgimport("django-q", "--apply"))
        crons = dict(Schedule.objects.exclude(cron="").values_list("name", "cron"))
        self.assertEqual(
            crons,
            {
                "daily": "30 6 * * *",
                "weekly": "30 6 * * 1",
                "q": "30 6 7 3,6,9,12 *",
                "cron": "0 3 * * 1",
            },
        )
        self.assertEqual(Schedule.objects.get(name="daily").kwargs, {"amount": 2})
        run_jobs()
        self.assertIn(("plain", (1,), {"b": Decimal("2.5")}), tasks.done)
        self.assertTrue(Job.objects.filter(timeout=44).exists())


def water(liters, kind="rain"):
    pass


def dry(*args):
    pass


water.__module__ = dry.__module__ = "stock.tasks"


class HueyTests(Case):
    def fill(self, huey):
        watering, drying = huey.task(retries=2, retry_delay=5)(water), huey.task()(dry)
        watering(1)
        watering.schedule((2,), {"kind": "tap"}, delay=3600)
        watering(3, expires=60)
        huey.enqueue(watering.s(4).then(drying, "behind"))
        huey.enqueue(watering.s(5).error(drying))

    def check(self, *options):
        found = read("huey", *options)
        self.assertEqual((len(found["found"]), len(found["left"])), (4, 1), found)
        self.assertIn("4 made", bgimport("huey", "--apply", *options))
        self.assertIn("0 made, 4 there", bgimport("huey", "--apply", *options))
        self.assertEqual(Job.objects.filter(state="scheduled").count(), 1)
        self.assertEqual(Job.objects.filter(expires_at__isnull=False).count(), 1)
        run_jobs()
        self.assertEqual(
            tasks.done,
            [
                ("water", 1, "rain"),
                ("water", 3, "rain"),
                ("water", 4, "rain"),
                ("dry", "behind", 4),
            ],
        )

    def test_a_list(self):
        self.fill(RedisHuey("stock-site", url=settings.REDIS_URL))
        self.check()

    def test_priorities(self):
        huey = PriorityRedisHuey("stock-site", url=settings.REDIS_URL)
        self.fill(huey)
        huey.task(priority=5, name="water2")(water)
        self.check()

    def test_a_file(self):
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            filename = f"{directory}/huey.db"
            self.fill(SqliteHuey("stock-site", filename=filename))
            with self.settings(HUEY={"name": "stock-site", "filename": filename}):
                self.check()


class WrongTests(Case):
    def test_another_redis(self):
        with self.assertRaises(CommandError):
            bgimport("django-rq", "--redis-url", "redis://127.0.0.1:1/0")

    def test_an_empty_one(self):
        self.assertIn("nothing is there", bgimport("django-rq"))
