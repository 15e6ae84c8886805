"""Tests that had a worker of Celery's within them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import TestCase, TransactionTestCase

from django_bgtasks.contrib.celery import AsyncResult, chain, chord, current_app
from django_bgtasks.contrib.celery.contrib.pytest import (
    celery_app,
    celery_config,
    celery_worker,
)
from django_bgtasks.contrib.celery.contrib.testing.worker import start_worker
from django_bgtasks.models import Job
from django_bgtasks.testing import without_redis
from tests.moving import celery_tasks as tasks

FIXTURES = (celery_app, celery_config, celery_worker)


class WithWorker(TransactionTestCase):
    """As many tests begin a worker."""

    @classmethod
    def setUpClass(cls) -> None:
        """Begin it."""
        super().setUpClass()
        cls.worker = start_worker(current_app, perform_ping_check=False)
        cls.worker.__enter__()
        cls.addClassCleanup(cls.worker.__exit__, None, None, None)

    worker: Any

    def test_a_result_is_there_and_found_by_its_id(self) -> None:
        result = tasks.add.delay(1, 2)
        assert result.get(timeout=10) == 3
        assert AsyncResult(result.id).state == "SUCCESS"
        assert chord([tasks.add.s(1, 1), tasks.add.s(2, 2)])(tasks.total.s()).get() == 6


class WithinTransaction(TestCase):
    """In a transaction that is never committed."""

    def test_a_result_is_there(self) -> None:
        with without_redis(), start_worker(current_app):
            assert chain(tasks.add.s(1, 2), tasks.add.s(3))().get(timeout=10) == 6
            assert tasks.fail.delay().state == "FAILURE"
        assert tasks.add.delay(1, 2).state == "PENDING"


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    with without_redis():
        yield


@pytest.mark.django_db
def test_the_fixture_of_a_worker(celery_app: Any, celery_worker: Any) -> None:
    assert celery_app.conf.task_always_eager is None
    assert tasks.add.delay(4, 4).get(timeout=10) == 8
    assert Job.objects.count() == 1
