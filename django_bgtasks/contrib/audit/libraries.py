"""The names of the task libraries, and of what stands around them, by their dotted paths."""

from __future__ import annotations

CELERY, RQ, HUEY = "celery", "rq", "huey"
DRAMATIQ, Q2, TASKS = "dramatiq", "django-q2", "django-tasks"
# The library of what has moved already.
MOVED = "django_bgtasks"

# Top-level names that are libraries even where a file of the project has the same name,
# such as the `celery.py` that Celery's own guide asks for.
KNOWN = frozenset({
    "apscheduler", "celery", "celery_once", "celery_singleton", "datetime", "decimal", "django",
    "django_bgtasks", "django_celery_beat", "django_celery_results", "django_dramatiq",
    "django_huey", "django_q",
    "django_redis", "django_rq", "django_tasks", "dramatiq", "dramatiq_crontab", "filelock",
    "functools", "huey", "kombu", "mock", "periodiq", "pottery", "pytest", "redis", "rq",
    "rq_scheduler", "typing", "unittest", "uuid",
})  # fmt: skip

_HUEYS = (
    "BlackHoleHuey", "FileHuey", "KyotoTycoonHuey", "MemoryHuey", "PriorityRedisExpireHuey",
    "PriorityRedisHuey", "RedisExpireHuey", "RedisHuey", "SqlHuey", "SqliteHuey",
)  # fmt: skip
_DJHUEY = (
    "disconnect_signal", "enqueue", "is_locked", "lock_task", "on_shutdown", "on_startup",
    "periodic_task", "post_execute", "pre_execute", "restore", "restore_all", "restore_by_id",
    "result", "revoke", "revoke_all", "revoke_by_id", "signal", "task",
)  # fmt: skip
_RQ_FUNCTIONS = ("Queue", "Retry", "Worker", "get_current_job", "SimpleWorker", "Callback")

# One thing has several paths, and what some calls return is known: path, the path used here.
SAME = {
    "celery.app.Celery": "celery.Celery",
    "celery.app.app_or_default()": "celery.Celery()",
    "celery.app.base.Celery": "celery.Celery",
    "celery.app.default_app": "celery.Celery()",
    "celery.app.shared_task": "celery.shared_task",
    "celery.app.task.Task": "celery.Task",
    "celery.app.task.task": "celery.Celery().task",
    "celery.current_app": "celery.Celery()",
    "celery.current_app()": "celery.Celery()",
    "celery.decorators.task": "celery.Celery().task",
    "celery.decorators.periodic_task": "celery.periodic_task",
    "celery.task.task": "celery.Celery().task",
    "celery.task.periodic_task": "celery.periodic_task",
    "celery.task.Task": "celery.Task",
    "celery.task.base.Task": "celery.Task",
    "celery.Celery().Task": "celery.Task",
    "celery.Celery().AsyncResult": "celery.result.AsyncResult",
    "celery.Celery().GroupResult": "celery.result.GroupResult",
    "celery.Task().AsyncResult": "celery.result.AsyncResult",
    "celery.Celery().signature": "celery.signature",
    "celery.Celery().shared_task": "celery.shared_task",
    "celery.Celery().gen_task_name": "celery.gen_task_name",
    "celery.Task().app": "celery.Celery()",
    "celery.canvas.chain": "celery.chain",
    "celery.canvas.chord": "celery.chord",
    "celery.canvas.chunks": "celery.chunks",
    "celery.canvas.group": "celery.group",
    "celery.canvas.signature": "celery.signature",
    "celery.canvas.subtask": "celery.signature",
    "celery.subtask": "celery.signature",
    "celery.canvas.xmap": "celery.xmap",
    "celery.canvas.Signature": "celery.Signature",
    "celery.canvas._chain": "celery.chain",
    "celery.AsyncResult": "celery.result.AsyncResult",
    "celery.schedules.crontab": "celery.crontab",
    "celery.execute.send_task": "celery.Celery().send_task",
    "celery.contrib.django.task.DjangoTask": "celery.Task",
    "tenant_schemas_celery.app.CeleryApp": "celery.Celery",
    "tenant_schemas_celery.task.TenantTask": "celery.Task",
    "celery_once.tasks.QueueOnce": "celery_once.QueueOnce",
    "celery_singleton.singleton.Singleton": "celery_singleton.Singleton",
    "rq.decorators.job": "rq.job",
    "django_rq.decorators.job": "rq.job",
    "django_rq.job": "rq.job",
    "django_rq.queues.get_queue": "django_rq.get_queue",
    "django_rq.queues.enqueue": "django_rq.enqueue",
    "django_rq.queues.get_scheduler": "django_rq.get_scheduler",
    "django_rq.get_queue()": "rq.Queue()",
    "django_rq.queues.get_queue_by_index()": "rq.Queue()",
    "django_rq.queues.DjangoRQ": "rq.Queue",
    "django_rq.get_scheduler()": "rq_scheduler.Scheduler()",
    "django_rq.get_worker()": "rq.Worker()",
    "django_rq.workers.get_worker()": "rq.Worker()",
    "django_rq.get_connection()": "redis.Redis()",
    "django_rq.queues.get_connection()": "redis.Redis()",
    "django_rq.enqueue()": "rq.Queue().enqueue()",
    "rq.queue.Queue": "rq.Queue",
    "rq.queue.Retry": "rq.Retry",
    "rq.job.Job": "rq.Job",
    "rq.job.Retry": "rq.Retry",
    "rq.job.Callback": "rq.Callback",
    "rq.job.get_current_job": "rq.get_current_job",
    "rq.worker.Worker": "rq.Worker",
    "rq.worker.SimpleWorker": "rq.SimpleWorker",
    "rq.get_current_job()": "rq.Job()",
    "rq.Job.fetch()": "rq.Job()",
    "rq.Job.create()": "rq.Job()",
    "rq_scheduler.scheduler.Scheduler": "rq_scheduler.Scheduler",
    "django_rq_scheduler.Scheduler": "rq_scheduler.Scheduler",
    "dramatiq.actor.actor": "dramatiq.actor",
    "dramatiq.composition.group": "dramatiq.group",
    "dramatiq.composition.pipeline": "dramatiq.pipeline",
    "dramatiq.middleware.Middleware": "dramatiq.Middleware",
    "dramatiq.middleware.middleware.Middleware": "dramatiq.Middleware",
    "dramatiq.message.Message": "dramatiq.Message",
    "dramatiq.rate_limits.concurrent.ConcurrentRateLimiter":
        "dramatiq.rate_limits.ConcurrentRateLimiter",
    "django_q.tasks.AsyncTask": "django_q.AsyncTask",
    "django_q.models.Schedule": "django_q.Schedule",
    "django_tasks.task": "django.tasks.task",
    "django_tasks.base.task": "django.tasks.task",
    "django.core.cache.caches[]": "django.core.cache.cache",
    "django.core.cache.get_cache()": "django.core.cache.cache",
    "redis.StrictRedis": "redis.Redis",
    "redis.client.Redis": "redis.Redis",
    "redis.client.StrictRedis": "redis.Redis",
    "redis.from_url()": "redis.Redis()",
    "redis.Redis.from_url()": "redis.Redis()",
    "redis.cluster.RedisCluster": "redis.Redis",
    "redis.asyncio.Redis": "redis.Redis",
    "redis.asyncio.from_url()": "redis.Redis()",
    "redis.asyncio.Redis.from_url()": "redis.Redis()",
    "django_redis.get_redis_connection()": "redis.Redis()",
    "django_redis.client.get_redis_connection()": "redis.Redis()",
    "django.core.cache.cache.client.get_client()": "redis.Redis()",
    "mock.patch": "unittest.mock.patch",
    "unittest.mock.mock.patch": "unittest.mock.patch",
    "datetime.datetime.now()": "datetime.datetime()",
    "datetime.datetime.utcnow()": "datetime.datetime()",
    "datetime.datetime.today()": "datetime.datetime()",
    "datetime.datetime.strptime()": "datetime.datetime()",
    "datetime.datetime.fromtimestamp()": "datetime.datetime()",
    "datetime.datetime.fromisoformat()": "datetime.datetime()",
    "datetime.datetime.combine()": "datetime.datetime()",
    "datetime.datetime().replace()": "datetime.datetime()",
    "datetime.datetime().astimezone()": "datetime.datetime()",
    "datetime.datetime().date()": "datetime.date()",
    "datetime.datetime().time()": "datetime.time()",
    "datetime.date.today()": "datetime.date()",
    "datetime.date.fromisoformat()": "datetime.date()",
    "datetime.date().replace()": "datetime.date()",
    "django.utils.timezone.now()": "datetime.datetime()",
    "django.utils.timezone.localtime()": "datetime.datetime()",
    "django.utils.timezone.make_aware()": "datetime.datetime()",
    "django.utils.timezone.localdate()": "datetime.date()",
    "django.utils.timezone.datetime": "datetime.datetime",
    "django.utils.timezone.timedelta": "datetime.timedelta",
    "django.utils.dateparse.parse_datetime()": "datetime.datetime()",
    "django.utils.dateparse.parse_date()": "datetime.date()",
    "decimal.Decimal().quantize()": "decimal.Decimal()",
    "uuid.uuid1()": "uuid.UUID()",
    "uuid.uuid4()": "uuid.UUID()",
    "uuid.uuid5()": "uuid.UUID()",
    "uuid.uuid7()": "uuid.UUID()",
    "django.utils.translation.gettext_lazy": "django.utils.translation.lazy",
    "django.utils.translation.ngettext_lazy": "django.utils.translation.lazy",
    "django.utils.translation.pgettext_lazy": "django.utils.translation.lazy",
    "django.utils.functional.lazystr": "django.utils.translation.lazy",
    "django.http.HttpRequest": "django.http.request.HttpRequest",
    "django.core.handlers.wsgi.WSGIRequest": "django.http.request.HttpRequest",
    "rest_framework.request.Request": "django.http.request.HttpRequest",
    "builtins.str().encode()": "builtins.bytes()",
    **{f"huey.{name}": "huey.Huey" for name in _HUEYS},
    **{f"huey.api.{name}": f"huey.{name}" for name in ("Huey", *_HUEYS)},
    **{f"huey.contrib.djhuey.{name}": f"huey.Huey().{name}" for name in _DJHUEY},
    **{f"django_huey.{name}": f"huey.Huey().{name}" for name in _DJHUEY},
    **{f"django_rq.{name}": f"rq.{name}" for name in _RQ_FUNCTIONS if name != "Worker"},
    "django.conf.settings.HUEY": "huey.Huey()",
    "huey.contrib.djhuey.HUEY": "huey.Huey()",
    "django_huey.get_queue()": "huey.Huey()",
    "huey.contrib.djhuey.db_task": "huey.db_task",
    "huey.contrib.djhuey.db_periodic_task": "huey.db_periodic_task",
    "huey.contrib.djhuey.on_commit_task": "huey.on_commit_task",
    "django_huey.db_task": "huey.db_task",
    "django_huey.db_periodic_task": "huey.db_periodic_task",
    "django_huey.on_commit_task": "huey.on_commit_task",
}  # fmt: skip

# What makes a task of a function: path, library.
DECORATORS = {
    "celery.shared_task": CELERY,
    "celery.task": CELERY,
    "celery.Celery().task": CELERY,
    "celery.periodic_task": CELERY,
    "rq.job": RQ,
    "huey.Huey().task": HUEY,
    "huey.Huey().periodic_task": HUEY,
    "huey.Huey().context_task": HUEY,
    "huey.db_task": HUEY,
    "huey.db_periodic_task": HUEY,
    "huey.on_commit_task": HUEY,
    "dramatiq.actor": DRAMATIQ,
    "django.tasks.task": TASKS,
    "django_bgtasks.task": MOVED,
    "django_bgtasks.contrib.celery.Celery().task": MOVED,
    "django_bgtasks.contrib.celery.shared_task": MOVED,
    "django_bgtasks.contrib.rq.job": MOVED,
    "django_bgtasks.contrib.huey.db_periodic_task": MOVED,
    "django_bgtasks.contrib.huey.db_task": MOVED,
    "django_bgtasks.contrib.huey.on_commit_task": MOVED,
    "django_bgtasks.contrib.huey.periodic_task": MOVED,
    "django_bgtasks.contrib.huey.task": MOVED,
}
PERIODIC = frozenset({
    "celery.periodic_task", "huey.Huey().periodic_task", "huey.db_periodic_task",
})  # fmt: skip
# Decorators that give a bound task its first argument `self`.
BINDS = frozenset({"celery.shared_task", "celery.Celery().task", "celery.task"})
TASK_CLASS = "celery.Task"

# Methods of a task that enqueue a job, or make a call for later; by library.
TASK_CALLS = {
    CELERY: frozenset({
        "apply_async", "apply_async_on_commit", "delay", "delay_on_commit",
    }),
    RQ: frozenset({"delay", "enqueue"}),
    HUEY: frozenset({"schedule", "enqueue"}),
    DRAMATIQ: frozenset({"send", "send_with_options"}),
    TASKS: frozenset({"aenqueue", "enqueue"}),
    Q2: frozenset[str](),
}  # fmt: skip
TASK_SIGNATURES = {
    CELERY: frozenset({"chunks", "map", "s", "si", "signature", "starmap", "subtask"}),
    HUEY: frozenset({"map", "s"}),
    DRAMATIQ: frozenset({"message", "message_with_options"}),
}
SIGNATURE_CALLS = frozenset({"__call__", "apply_async", "delay", "enqueue", "run", "send"})
ON_COMMIT_CALLS = frozenset({"apply_async_on_commit", "delay_on_commit"})

# Functions of the libraries that enqueue a job of a function: path, the place of the function.
FUNCTION_CALLS = {
    "django_rq.enqueue": 0,
    "rq.Queue().enqueue": 0,
    "rq.Queue().enqueue_call": 0,
    "rq.Queue().enqueue_in": 1,
    "rq.Queue().enqueue_at": 1,
    "rq.Queue().create_job": 0,
    "rq.Queue().prepare_data": 0,
    "rq.Queue.prepare_data": 0,
    "rq_scheduler.Scheduler().enqueue_at": 1,
    "rq_scheduler.Scheduler().enqueue_in": 1,
    "rq_scheduler.Scheduler().schedule": 1,
    "rq_scheduler.Scheduler().cron": 1,
    "django_q.tasks.async_task": 0,
    "django_q.tasks.async_iter": 0,
    "django_q.tasks.schedule": 0,
    "django_q.AsyncTask": 0,
    "django_q.tasks.Iter": 0,
}
# What is a call for later, a result, or a task of which only the kind is known: path, library.
SIGNATURES = {
    "celery.chain()": CELERY, "celery.chord()": CELERY, "celery.chunks()": CELERY,
    "celery.group()": CELERY, "celery.signature()": CELERY, "celery.Signature()": CELERY,
    "dramatiq.group()": DRAMATIQ, "dramatiq.pipeline()": DRAMATIQ, "dramatiq.Message()": DRAMATIQ,
    "django_q.tasks.Chain()": Q2, "django_q.tasks.Iter()": Q2, "django_q.AsyncTask()": Q2,
}  # fmt: skip
RESULTS = {
    "celery.result.AsyncResult()": CELERY, "celery.result.GroupResult()": CELERY,
    "celery.result.GroupResult.restore()": CELERY, "celery.Celery().send_task()": CELERY,
    "rq.Job()": RQ, "rq.Queue().enqueue()": RQ, "rq.Queue().enqueue_in()": RQ,
    "rq.Queue().enqueue_at()": RQ, "rq.Queue().enqueue_call()": RQ, "rq.Queue().fetch_job()": RQ,
    "rq_scheduler.Scheduler().schedule()": RQ, "rq_scheduler.Scheduler().cron()": RQ,
    "rq_scheduler.Scheduler().enqueue_at()": RQ, "rq_scheduler.Scheduler().enqueue_in()": RQ,
    "huey.Huey().enqueue()": HUEY,
}  # fmt: skip
ANY_TASK = {
    "celery.Task()": CELERY, "celery.Celery().tasks[]": CELERY, "celery.current_task": CELERY,
}  # fmt: skip
# Those that name a task by its path.
NAME_CALLS = frozenset({"celery.Celery().send_task"})
CANVASES = {
    "celery.chain": CELERY, "celery.group": CELERY, "celery.chord": CELERY,
    "celery.chunks": CELERY, "celery.xmap": CELERY, "celery.signature": CELERY,
    "dramatiq.group": DRAMATIQ, "dramatiq.pipeline": DRAMATIQ,
    "django_q.tasks.async_chain": Q2, "django_q.tasks.Chain": Q2,
    "huey.Huey().enqueue": HUEY,
}  # fmt: skip


def library_of(path: str) -> str:
    """The task library whose name this path is, empty for any other."""
    top = path.partition(".")[0].removesuffix("()")
    return {
        "celery": CELERY, "django_rq": RQ, "rq": RQ, "rq_scheduler": RQ, "huey": HUEY,
        "dramatiq": DRAMATIQ, "django_q": Q2, "django_bgtasks": MOVED,
    }.get(top, "")  # fmt: skip
