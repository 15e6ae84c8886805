"""Maintenance tasks: what this worker shows in RQ, and what its Redis user may do."""

from __future__ import annotations

import logging

from ...ledger import workers
from ...transport import registry
from ...transport.connection import RedisError, connection, reason, uses_redis
from ...transport.messages import Namespace, namespace_of
from ...transport.permissions import SCRIPTS, cure, essential, missing, user_of
from ...transport.queues import forget_empty
from ..config import WorkerConfig, ending_of
from .orders import Orders

logger = logging.getLogger("django_bgtasks.worker")


class RQRegistry:
    """The registration of the job processes of one worker in RQ. Without Redis there is none."""

    def __init__(self, config: WorkerConfig, orders: Orders) -> None:
        self._config, self._orders = config, orders
        self._lacking: list[str] = []

    def renew(self) -> None:
        """Renew the registration of job processes that run a long job."""
        names = [self._rq_name(pid) for pid in self._orders.pids]
        if names and uses_redis(self._config.backend):
            registry.keep_alive(names, connection(self._config.backend))

    def remove(self, pid: int) -> None:
        """Take a dead job process out of RQ."""
        if not uses_redis(self._config.backend):
            return
        try:
            registry.remove(self._rq_name(pid), connection(self._config.backend))
        except RedisError as error:
            logger.debug("A dead job process is still registered in RQ: %s", reason(error))

    def remove_lost(self) -> None:
        """RQ itself would show the job processes of a worker that was killed for minutes yet."""
        if not uses_redis(self._config.backend):
            return
        if lost := workers.lost(self._config.using):
            endings = tuple(ending_of(worker) for worker in lost)
            registry.remove_ending(endings, self._namespace, connection(self._config.backend))

    def forget_queues(self) -> None:
        """Forget RQ queues that are empty, where there are very many."""
        if uses_redis(self._config.backend):
            forget_empty(self._namespace, connection(self._config.backend))

    def check_permissions(self) -> None:
        """Log once what Redis does not allow and we can do without; job processes log the rest."""
        if not uses_redis(self._config.backend):
            return
        redis = connection(self._config.backend)
        rules = missing(self._namespace, redis)
        lacking = [rule for rule in SCRIPTS if rule in rules]
        if lacking and lacking != self._lacking and not essential(rules):
            text = "Redis runs no scripts for %s; each message costs more trips. Allow them: %s"
            logger.warning(text, user_of(redis), cure(lacking, redis))
        self._lacking = lacking

    @property
    def _namespace(self) -> Namespace:
        return namespace_of(self._config.backend, self._config.using)

    def _rq_name(self, pid: int) -> str:
        return self._namespace.worker(self._config.process_name(pid))
