from datetime import date, timedelta
from unittest import mock

from celery import chain, chord, current_app, group, signature
from celery.exceptions import MaxRetriesExceededError, Retry, SoftTimeLimitExceeded
from celery.result import AsyncResult, EagerResult
from celery.schedules import crontab
from celery.utils.log import get_task_logger
from django.core import mail
from django.test import TestCase, override_settings
from site1.celery import app

from . import payments, signals, tasks
from .models import Cart, Order, TaskLog


class EagerCase(TestCase):
    propagates = False

    def setUp(self):
        super().setUp()
        signals.SEEN.clear()
        before = app.conf.task_always_eager, app.conf.task_eager_propagates
        app.conf.task_always_eager = True
        app.conf.task_eager_propagates = self.propagates
        self.addCleanup(self.restore, *before)

    def restore(self, eager, propagates):
        app.conf.task_always_eager = eager
        app.conf.task_eager_propagates = propagates

    def order(self, **values):
        return Order.objects.create(email="ada@example.com", **values)


class OrderViewTests(TestCase):
    @mock.patch("shop.tasks.charge.apply_async")
    @mock.patch("shop.tasks.send_confirmation.delay")
    def test_an_order_sends_a_mail_after_the_commit(self, delay, apply_async):
        apply_async.return_value = mock.Mock(id="42")
        with self.captureOnCommitCallbacks(execute=True):
            response = self.client.post("/orders/", {"email": "a@example.com", "amount": "9.90"})
            delay.assert_not_called()
        order = Order.objects.get()
        delay.assert_called_once_with(order.pk)
        apply_async.assert_called_once_with(args=[order.pk], countdown=5)
        self.assertEqual(response.json(), {"order": order.pk, "task": "42"})
        self.assertEqual(order.task_id, "42")

    @mock.patch("shop.views.tasks.import_rows.delay")
    def test_an_import_answers_with_the_id(self, delay):
        delay.return_value.task_id = "abc"
        response = self.client.post("/import/", {"rows": "a@b.c,d@e.f"})
        delay.assert_called_once_with(["a@b.c", "d@e.f"])
        self.assertEqual(response.json(), {"task_id": "abc"})

    def test_an_unknown_task_is_pending(self):
        response = self.client.get("/tasks/0190a4b2-0000-7000-8000-000000000000/")
        self.assertEqual(response.json(), {"state": "PENDING", "info": None, "ready": False})

    @mock.patch("shop.views.AsyncResult")
    def test_a_task_can_be_revoked(self, result):
        self.client.post("/tasks/42/revoke/")
        result.assert_called_once_with("42")
        result.return_value.revoke.assert_called_once_with(terminate=True)


class EagerTaskTests(EagerCase):
    def test_a_mail_is_sent(self):
        result = tasks.send_confirmation.delay(self.order().pk)
        self.assertTrue(result.successful())
        self.assertIsInstance(result, EagerResult)
        self.assertEqual([m.to for m in mail.outbox], [["ada@example.com"]])

    def test_a_charge(self):
        order = self.order(amount="5.00")
        with mock.patch.object(payments.gateway, "charge") as charge:
            result = tasks.charge.delay(order.pk)
        charge.assert_called_once_with("ada@example.com", "5.00")
        self.assertEqual(result.get(), "paid")
        order.refresh_from_db()
        self.assertEqual(order.status, "paid")

    def test_a_charge_is_tried_four_times(self):
        order = self.order()
        with mock.patch.object(payments.gateway, "charge", side_effect=ConnectionError) as charge:
            result = tasks.charge.delay(order.pk)
        self.assertEqual(charge.call_count, 4)
        self.assertEqual(result.state, "FAILURE")
        self.assertIsInstance(result.result, ConnectionError)

    def test_a_charge_that_works_the_second_time(self):
        effects = [ConnectionError, None]
        with mock.patch.object(payments.gateway, "charge", side_effect=effects) as charge:
            result = tasks.charge.delay(self.order().pk)
        self.assertEqual((charge.call_count, result.state), (2, "SUCCESS"))

    def test_what_is_declined_is_not_tried_again(self):
        order = self.order()
        declined = payments.PaymentDeclined("no money")
        with mock.patch.object(payments.gateway, "charge", side_effect=declined) as charge:
            result = tasks.charge.delay(order.pk)
        self.assertEqual(charge.call_count, 1)
        order.refresh_from_db()
        self.assertEqual(order.status, "declined")
        with self.assertRaisesMessage(payments.PaymentDeclined, "no money"):
            result.get()

    def test_a_refund_gives_up(self):
        order = self.order()
        with mock.patch.object(payments.gateway, "refund", side_effect=ConnectionError) as refund:
            result = tasks.refund.delay(order.pk)
        self.assertEqual((refund.call_count, result.get()), (3, "gave up"))
        order.refresh_from_db()
        self.assertEqual(order.status, "refund failed")

    def test_rates_are_fetched_again_by_themselves(self):
        effects = [ConnectionError, TimeoutError, {"usd": 1.1}]
        with mock.patch.object(payments.gateway, "charge", side_effect=effects) as charge:
            self.assertEqual(tasks.fetch_rates.delay().get(), {"usd": 1.1})
        self.assertEqual(charge.call_count, 3)
        with mock.patch.object(payments.gateway, "charge", side_effect=ConnectionError) as charge:
            self.assertTrue(tasks.fetch_rates.delay().failed())
        self.assertEqual(charge.call_count, 5)

    def test_a_base_class_logs(self):
        result = tasks.sync_stock.delay("sku-1")
        self.assertEqual(result.get(), "synced sku-1")
        events = TaskLog.objects.filter(task_id=result.id).values_list("event", flat=True)
        self.assertEqual(list(events), ["start", "success"])

    def test_a_base_class_logs_a_failure(self):
        result = tasks.sync_stock.delay("sku-1", fail_with="value")
        self.assertTrue(result.failed())
        log = TaskLog.objects.get(event="failure")
        self.assertEqual((log.name, log.text), ("shop.tasks.sync_stock", "ValueError('value')"))

    def test_a_base_class_retries(self):
        tasks.sync_stock.delay("sku-1", fail_with="network")
        events = list(TaskLog.objects.order_by("pk").values_list("event", flat=True))
        self.assertEqual(events, ["start", "retry", "start", "retry", "start", "failure"])

    def test_an_import_tells_how_far_it_is(self):
        with mock.patch.object(tasks.import_rows, "update_state") as update_state:
            result = tasks.import_rows.delay(["a@b.c", "d@e.f"])
        self.assertEqual(result.get()["status"], "done")
        self.assertEqual(
            [call.kwargs["meta"]["current"] for call in update_state.call_args_list], [1, 2]
        )

    def test_a_slow_invoice(self):
        order = self.order()
        with mock.patch.object(payments.gateway, "charge", side_effect=SoftTimeLimitExceeded):
            self.assertIsNone(tasks.render_invoice.delay(order.pk).get())
        order.refresh_from_db()
        self.assertEqual(order.status, "too slow")

    def test_what_a_task_knows(self):
        found = tasks.who_am_i.apply_async(args=[1], kwargs={"b": 2}).get()
        self.assertEqual(found["name"], "shop.tasks.who_am_i")
        self.assertEqual(found["current"], "shop.tasks.who_am_i")
        self.assertEqual((found["args"], found["kwargs"]), ([1], {"b": 2}))
        self.assertEqual((found["eager"], found["retries"], found["has_id"]), (True, 0, True))

    def test_a_wrong_call(self):
        with self.assertRaises(TypeError):
            tasks.add.delay(1)

    def test_a_task_by_its_name(self):
        self.assertEqual(signature("shop.tasks.add", args=(1, 2)).apply_async().get(), 3)
        self.assertEqual(tasks.report.name, "shop.tasks.sales_report")
        self.assertEqual(app.tasks["shop.tasks.add"](1, 2), 3)
        self.assertIn("shop.tasks.sales_report", current_app.tasks)

    def test_ignore(self):
        result = tasks.maybe.delay("ignore")
        self.assertFalse(result.successful() and result.get() == "ignore")

    def test_the_debug_task(self):
        from site1.celery import debug_task

        self.assertTrue(debug_task.delay().successful())

    def test_signals(self):
        tasks.ping.delay()
        self.assertEqual(
            signals.SEEN,
            [
                ("prerun", "shop.tasks.ping"),
                ("success", "shop.tasks.ping", "pong"),
                ("postrun", "shop.tasks.ping", "SUCCESS"),
            ],
        )
        signals.SEEN.clear()
        tasks.sync_stock.delay("x", fail_with="value")
        self.assertIn(("failure", "shop.tasks.sync_stock", "ValueError"), signals.SEEN)


class PropagatingTests(EagerCase):
    propagates = True

    def test_a_failure_is_raised(self):
        with self.assertRaises(ValueError):
            tasks.sync_stock.delay("x", fail_with="value")

    def test_expired_carts(self):
        Cart.objects.create(updated=date.today() - timedelta(days=31))
        Cart.objects.create(updated=date.today())
        self.assertEqual(tasks.expire_carts.delay(days=30).get(), 1)


class CanvasTests(EagerCase):
    def test_a_chain(self):
        self.assertEqual(chain(tasks.add.s(1, 2), tasks.add.s(3), tasks.add.si(4, 5))().get(), 9)
        self.assertEqual((tasks.add.s(1, 2) | tasks.add.s(3)).apply_async().get(), 6)

    def test_a_group(self):
        result = group(tasks.add.s(n, n) for n in range(3)).apply_async()
        self.assertEqual(result.get(), [0, 2, 4])
        self.assertEqual(result.completed_count(), 3)
        self.assertTrue(result.successful())

    def test_a_chord(self):
        self.assertEqual(chord([tasks.add.s(1, 1), tasks.add.s(2, 2)])(tasks.sum_up.s()).get(), 6)

    def test_an_order_is_priced(self):
        order = self.order()
        self.assertEqual(tasks.price_order(order.pk, [(2, 3), (5, 1)]).get(), 11)
        order.refresh_from_db()
        self.assertEqual(order.amount, 11)
        self.assertEqual(tasks.price_with_chord(order.pk, [(1, 1), (2, 2)]).get(), 5)

    def test_a_link(self):
        order = self.order()
        tasks.add.apply_async((2, 3), link=tasks.store_total.s(order.pk))
        order.refresh_from_db()
        self.assertEqual(order.amount, 5)

    def test_an_errback(self):
        tasks.sync_stock.apply_async(
            ("x",), {"fail_with": "value"}, link_error=tasks.mark_failed.s()
        )
        log = TaskLog.objects.get(event="errback")
        self.assertEqual((log.name, log.text), ("shop.tasks.sync_stock", "ValueError('value')"))

    def test_a_partial(self):
        half = tasks.add.s(1)
        self.assertEqual(half.delay(2).get(), 3)
        self.assertEqual(half.clone((5,)).apply().get(), 6)
        self.assertEqual(half.set(countdown=3).options["countdown"], 3)
        self.assertEqual((half.args, half.task), ((1,), "shop.tasks.add"))


class DirectTests(TestCase):
    def test_a_task_is_a_function_too(self):
        self.assertEqual(tasks.add(1, 2), 3)
        self.assertEqual(tasks.add.run(1, 2), 3)
        self.assertEqual(tasks.add.apply((1, 2)).get(), 3)

    @mock.patch("shop.tasks.charge.retry", side_effect=Retry)
    def test_a_retry_is_asked_for(self, retry):
        order = Order.objects.create(email="a@example.com")
        error = ConnectionError("away")
        with mock.patch.object(payments.gateway, "charge", side_effect=error):
            with self.assertRaises(Retry):
                tasks.charge(order.pk)
        retry.assert_called_once_with(exc=error, countdown=1)

    @mock.patch("shop.tasks.charge.retry", side_effect=MaxRetriesExceededError)
    def test_after_the_last_retry(self, retry):
        order = Order.objects.create(email="a@example.com")
        with mock.patch.object(payments.gateway, "charge", side_effect=ConnectionError("x")):
            with self.assertRaises(MaxRetriesExceededError):
                tasks.charge(order.pk)
        order.refresh_from_db()
        self.assertEqual(order.status, "failed")

    def test_called_directly_a_retry_raises_the_error(self):
        order = Order.objects.create(email="a@example.com")
        with mock.patch.object(payments.gateway, "charge", side_effect=ConnectionError("x")):
            with self.assertRaisesMessage(ConnectionError, "x"):
                tasks.charge(order.pk)

    def test_a_logger(self):
        with self.assertLogs("shop.tasks", "WARNING") as logs:
            get_task_logger("shop.tasks").warning("careful")
        self.assertEqual(logs.records[0].getMessage(), "careful")

    def test_the_attributes_of_a_task(self):
        self.assertEqual(tasks.charge.max_retries, 3)
        self.assertEqual(tasks.charge.default_retry_delay, 60)
        self.assertEqual(tasks.sync_stock.max_retries, 2)
        self.assertEqual(tasks.render_invoice.soft_time_limit, 60)
        self.assertTrue(tasks.send_confirmation.ignore_result)

    def test_the_schedule(self):
        entry = app.conf.beat_schedule["nightly-report"]
        self.assertEqual(entry["schedule"], crontab(hour=2, minute=30, day_of_week="mon-fri"))
        self.assertEqual(entry["task"], "shop.tasks.sales_report")

    @mock.patch.object(AsyncResult, "state", new_callable=mock.PropertyMock)
    def test_the_state_of_a_result(self, state):
        state.return_value = "SUCCESS"
        self.assertTrue(AsyncResult("0190a4b2-0000-7000-8000-000000000000").successful())


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
class OverriddenTests(TestCase):
    def test_ping(self):
        self.assertEqual(tasks.ping.apply().get(), "pong")
