from datetime import timedelta
from unittest import mock

import django_rq
from django.core import mail
from django.test import TestCase
from django.utils import timezone
from django_rq import get_queue, get_worker
from rq import Callback, Retry
from rq.exceptions import NoSuchJobError
from rq.job import Job

from . import tasks
from .models import Event, Subscriber


def work(*queues):
    get_worker(*(queues or ("default",))).work(burst=True)


class Case(TestCase):
    def setUp(self):
        for name in ("default", "high"):
            queue = get_queue(name)
            queue.empty()
            for job_id in queue.failed_job_registry.get_job_ids():
                queue.failed_job_registry.remove(job_id, delete_job=True)
            for job_id in queue.scheduled_job_registry.get_job_ids():
                queue.scheduled_job_registry.remove(job_id, delete_job=True)


class SignupTests(Case):
    @mock.patch("newsletter.tasks.send_welcome.delay")
    def test_signup_enqueues_a_welcome(self, delay):
        delay.return_value.id = "42"
        response = self.client.post("/signup/", {"email": "ada@example.com"})
        subscriber = Subscriber.objects.get()
        delay.assert_called_once_with(subscriber.pk, language="de")
        self.assertEqual(response.json(), {"job": "42"})

    def test_the_worker_sends_it(self):
        response = self.client.post("/signup/", {"email": "ada@example.com"})
        job_id = response.json()["job"]
        self.assertEqual(self.client.get(f"/jobs/{job_id}/").json()["status"], "queued")
        self.assertEqual(get_queue("high").count, 1)
        self.assertEqual(len(get_queue("high")), 1)
        self.assertEqual(get_queue("high").job_ids, [job_id])
        work("high")
        self.assertEqual([m.subject for m in mail.outbox], ["Welcome (de)"])
        self.assertTrue(Subscriber.objects.get().welcomed)
        status = self.client.get(f"/jobs/{job_id}/").json()
        self.assertEqual(status["status"], "finished")
        self.assertEqual(status["result"], "ada@example.com")
        self.assertEqual(status["meta"], {"sent_to": "ada@example.com"})

    def test_an_unknown_job(self):
        self.assertEqual(self.client.get("/jobs/none/").status_code, 404)
        with self.assertRaises(NoSuchJobError):
            Job.fetch("none", connection=get_queue("high").connection)

    def test_a_call_is_a_call(self):
        subscriber = Subscriber.objects.create(email="ada@example.com")
        self.assertEqual(tasks.send_welcome(subscriber.pk), "ada@example.com")
        self.assertEqual(tasks.count_words("a b c"), 3)
        self.assertEqual(tasks.send_welcome.__name__, "send_welcome")
        self.assertEqual(tasks.send_welcome.__doc__, "Greet a subscriber.")


class QueueTests(Case):
    def test_a_plain_function_gets_its_arguments_as_they_were(self):
        job = tasks.start_import(["a", "b"])
        self.assertEqual(job.origin, "default")
        self.assertEqual(job.func_name, "newsletter.tasks.import_rows")
        self.assertEqual(list(job.args), [["a", "b"]])
        self.assertFalse(job.is_finished)
        work()
        job.refresh()
        self.assertTrue(job.is_finished)
        self.assertEqual(job.return_value(), 2)
        self.assertEqual(Event.objects.count(), 2)

    def test_by_its_dotted_path_and_with_explicit_arguments(self):
        queue = get_queue("default")
        jobs = [
            queue.enqueue("newsletter.tasks.import_rows", ["a"]),
            queue.enqueue(tasks.import_rows, args=(["b"],), kwargs={"at": timezone.now()}),
            queue.enqueue_call(tasks.import_rows, args=(["c"],), timeout="1m", result_ttl=0),
            django_rq.enqueue(tasks.count_words, "one two"),
        ]
        self.assertEqual(queue.count, 4)
        work()
        self.assertEqual(queue.count, 0)
        self.assertEqual(jobs[-1].result, 2)
        self.assertEqual(Event.objects.count(), 3)

    def test_a_failure_is_registered(self):
        queue = get_queue("default")
        job = queue.enqueue(tasks.explode, description="It explodes", failure_ttl=3600)
        work()
        self.assertEqual(job.get_status(), "failed")
        self.assertTrue(job.is_failed)
        self.assertIsNone(job.result)
        self.assertIn("ValueError: boom", job.exc_info)
        self.assertIn(job.id, queue.failed_job_registry.get_job_ids())
        self.assertEqual(queue.failed_job_registry.count, 1)
        self.assertEqual(job.description, "It explodes")

    def test_a_failed_job_is_requeued(self):
        queue = get_queue("default")
        job = queue.enqueue(tasks.explode)
        work()
        job.requeue()
        self.assertEqual(job.get_status(), "queued")

    def test_retries(self):
        job = tasks.flaky.delay()
        work()
        self.assertEqual(job.get_status(), "finished")
        self.assertEqual(Event.objects.count(), 3)
        again = get_queue().enqueue(tasks.explode, retry=Retry(max=3, interval=[10, 30]))
        work()
        self.assertEqual(again.get_status(), "scheduled")
        again.cancel()
        self.assertTrue(again.is_canceled)

    def test_callbacks(self):
        queue = get_queue("default")
        good = queue.enqueue(
            tasks.import_rows, [], on_success=tasks.report_success, on_failure=tasks.report_failure
        )
        bad = queue.enqueue(
            tasks.explode,
            on_success=Callback(tasks.report_success),
            on_failure=Callback(tasks.report_failure, timeout=10),
        )
        work()
        self.assertEqual(
            [event.text for event in Event.objects.order_by("pk")],
            [f"success {good.id} 0", f"failure {bad.id} ValueError: boom"],
        )

    def test_later(self):
        queue = get_queue("default")
        job = tasks.remind_later(7, days=3)
        at = queue.enqueue_at(timezone.now() + timedelta(hours=1), tasks.remind, 8)
        self.assertEqual(job.get_status(), "scheduled")
        self.assertTrue(at.is_scheduled)
        self.assertEqual(queue.scheduled_job_registry.count, 2)
        self.assertEqual(queue.count, 0)
        work()
        self.assertFalse(Event.objects.exists())

    def test_an_id_of_ones_own(self):
        queue = get_queue("default")
        job = queue.enqueue(tasks.remind, 7, job_id="remind-7")
        self.assertEqual(job.id, "remind-7")
        self.assertEqual(queue.fetch_job("remind-7").get_status(), "queued")
        self.assertEqual(Job.fetch("remind-7", connection=queue.connection), job)
        work()
        self.assertEqual(queue.fetch_job("remind-7").get_status(), "finished")

    def test_one_after_another(self):
        queue = get_queue("default")
        first = queue.enqueue(tasks.import_rows, ["first"])
        second = queue.enqueue(tasks.import_rows, ["second"], depends_on=first)
        work()
        self.assertEqual(first.get_status(), "finished")
        self.assertEqual(second.get_status(), "finished")
        self.assertEqual([e.text for e in Event.objects.order_by("pk")], ["first", "second"])

    def test_in_front(self):
        queue = get_queue("default")
        queue.enqueue(tasks.import_rows, ["behind"])
        queue.enqueue(tasks.import_rows, ["in front"], at_front=True)
        work()
        self.assertEqual([e.text for e in Event.objects.order_by("pk")], ["in front", "behind"])

    def test_meta(self):
        job = get_queue("default").enqueue(tasks.import_rows, [], meta={"who": "ada"})
        self.assertEqual(job.meta, {"who": "ada"})
        self.assertEqual(get_queue("default").fetch_job(job.id).get_meta(), {"who": "ada"})

    def test_a_job_is_deleted(self):
        queue = get_queue("default")
        job = queue.enqueue(tasks.remind, 7)
        job.delete()
        self.assertIsNone(queue.fetch_job(job.id))

    def test_a_queue_that_runs_at_once(self):
        job = get_queue("reports").enqueue(tasks.import_rows, ["now"])
        self.assertTrue(job.is_finished)
        self.assertEqual(job.result, 1)
        self.assertEqual(Event.objects.get().text, "now")
        failed = get_queue("default", is_async=False).enqueue(tasks.explode)
        self.assertTrue(failed.is_failed)

    def test_a_queue_that_is_not_there(self):
        with self.assertRaises(KeyError):
            get_queue("unknown")
