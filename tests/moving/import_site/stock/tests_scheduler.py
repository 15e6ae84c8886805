from datetime import timedelta

from django.utils import timezone
from rq_scheduler import Scheduler

from django_bgtasks.models import Job, Schedule

from .cases import Case, bgimport, read


class RqSchedulerTests(Case):
    def test_schedules_and_single_jobs(self):
        scheduler = Scheduler("default", connection=self.redis)
        scheduler.cron("15 4 * * *", "stock.tasks.plain", args=[1], queue_name="high", id="cron-1")
        scheduler.schedule(timezone.now(), "stock.tasks.restock", args=[5], interval=90, id="ten")
        scheduler.schedule(
            timezone.now(), "stock.tasks.plain", interval=60, repeat=3, id="repeated"
        )
        scheduler.enqueue_in(timedelta(minutes=5), "stock.tasks.plain", "once")
        found = read("rq-scheduler")
        self.assertEqual([left["name"] for left in found["left"]], ["repeated"])
        self.assertIn("3 made", bgimport("rq-scheduler", "--apply"))
        self.assertIn("0 made, 3 there", bgimport("rq-scheduler", "--apply"))
        cron = Schedule.objects.get(name="stock.tasks.plain:cron-1")
        self.assertEqual((cron.cron, cron.zone), ("15 4 * * *", "Europe/Berlin"))
        self.assertEqual(cron.options["queue_name"], "high")
        self.assertEqual(Schedule.objects.get(name="stock.tasks.restock:ten").every, 90)
        self.assertEqual(Job.objects.get().state, "scheduled")
