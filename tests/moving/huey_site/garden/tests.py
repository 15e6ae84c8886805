from datetime import datetime, timedelta
from decimal import Decimal
from unittest import mock

from django.test import TestCase
from huey import crontab
from huey.contrib.djhuey import HUEY, result
from huey.exceptions import ResultTimeout, TaskException

from . import tasks
from .models import Event, Plant


class Case(TestCase):
    def setUp(self):
        tasks.seen.clear()


class CallTests(Case):
    def test_a_view_waters(self):
        plant = Plant.objects.create(name="fern")
        response = self.client.post(f"/water/{plant.pk}/")
        plant.refresh_from_db()
        self.assertEqual(plant.watered, 2)
        self.assertEqual(result(response.json()["task"]), 2)

    @mock.patch("garden.views.water_plant")
    def test_a_view_enqueues(self, water_plant):
        water_plant.return_value.id = "42"
        self.client.post("/water/7/")
        water_plant.assert_called_once_with(7, liters=2)

    def test_call_local_is_a_call(self):
        plant = Plant.objects.create(name="fern")
        self.assertEqual(tasks.water_plant.call_local(plant.pk), 1)
        self.assertEqual(tasks.add.call_local(1, 2), 3)

    def test_results(self):
        got = tasks.add(1, 2)
        self.assertEqual(got(), 3)
        self.assertEqual(got.get(blocking=True, timeout=1), 3)
        self.assertIsNone(tasks.nothing().get())

    def test_values_arrive_as_they_left(self):
        self.assertEqual(tasks.price(Decimal("1.50")).get(), Decimal("3.00"))
        self.assertEqual(tasks.pair(1).get(), (1, 2))

    def test_a_failure(self):
        failed = tasks.explode()
        with self.assertRaises(TaskException) as caught:
            failed.get()
        self.assertIn("boom", str(caught.exception))
        self.assertIn("ValueError", caught.exception.metadata["traceback"])

    def test_retries(self):
        self.assertEqual(tasks.flaky().get(), "done")
        self.assertEqual(Event.objects.count(), 3)

    def test_retry_task(self):
        self.assertEqual(tasks.again().get(), "second")

    def test_the_task_itself(self):
        greeting, task_id, retries, name = tasks.tell("hello").get()
        self.assertEqual((greeting, retries, name), ("hello", 1, "tell"))
        self.assertTrue(task_id)

    def test_signals_and_hooks(self):
        tasks.add(1, 2)
        tasks.explode()
        self.assertEqual(
            tasks.seen, [("end", 3), ("complete", "add"), ("error", "explode", "ValueError")]
        )

    def test_cancelled_by_itself(self):
        tasks.give_up()
        self.assertEqual(tasks.seen, [])


class LaterTests(Case):
    def test_later(self):
        later = tasks.add.schedule((1, 2), delay=60)
        self.assertIsNone(later.get())
        eta = datetime.now() + timedelta(hours=1)
        tasks.add.schedule(args=(1, 2), eta=eta)
        self.assertEqual(HUEY.scheduled_count(), 2 + 0)
        with self.assertRaises(ResultTimeout):
            later.get(blocking=True, timeout=0.1)

    def tearDown(self):
        if hasattr(HUEY, "flush"):
            HUEY.flush()

    def test_a_job_is_revoked(self):
        later = tasks.add.schedule((1, 2), delay=60)
        self.assertFalse(later.is_revoked())
        later.revoke()
        self.assertTrue(later.is_revoked())

    def test_the_call_of_a_later_pipeline(self):
        call = tasks.add.s(1, 2)
        self.assertEqual(call.args, (1, 2))
        self.assertEqual(HUEY.enqueue(call).get(), 3)


class PipelineTests(Case):
    def test_a_pipeline(self):
        results = HUEY.enqueue(tasks.add.s(1, 2).then(tasks.add, 10).then(tasks.price))
        self.assertEqual(results.get(), [3, 13, 26])

    def test_a_tuple_is_arguments(self):
        results = HUEY.enqueue(tasks.pair.s(5).then(tasks.add))
        self.assertEqual(results.get(), [(5, 6), 11])

    def test_many(self):
        self.assertEqual(tasks.add.map([(1, 2), (3, 4)]).get(), [3, 7])


class CommitTests(Case):
    def test_after_the_commit(self):
        plant = Plant.objects.create(name="fern")
        with self.captureOnCommitCallbacks(execute=True):
            tasks.rename(plant, "palm")
            self.assertFalse(Event.objects.exists())
        self.assertEqual(Event.objects.get().text, "renamed to palm")


class PeriodicTests(Case):
    def test_the_tasks_can_be_called(self):
        Event.objects.create(text="old")
        tasks.prune_events()
        self.assertFalse(Event.objects.exists())
        self.assertEqual(tasks.check_soil.call_local(), "soil")

    def test_crontab(self):
        due = crontab(minute="*/15", hour="8-17", day_of_week="1-5")
        self.assertTrue(due(datetime(2026, 11, 30, 8, 45)))
        self.assertFalse(due(datetime(2026, 11, 29, 8, 45)))
        self.assertFalse(due(datetime(2026, 11, 30, 7, 45)))
