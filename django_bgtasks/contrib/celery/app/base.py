"""`Celery(…)`: the app, as the module of a project has it. Here it holds nothing but settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.utils.module_loading import autodiscover_modules, import_string

from ....jobs.discovery import AFTER_DISCOVERY
from ..conf import Configuration, configured, use_namespace
from ..errors import SEE, refuse_call
from ..registry import APPS, TASKS, task_named
from ..request import current_task
from ..result import AsyncResult, GroupResult, ResultSet
from ..signature import CelerySignature, make_signature
from .definition import complete_early, register_moved, shared_task
from .task import CeleryTask


class AppSignal:
    """`app.on_after_configure` and its like: each receiver is called once, with the app."""

    def __init__(self, app: CeleryApp) -> None:
        self._app = app
        self._receivers: list[Callable[..., Any]] = []

    def connect(self, receiver: Any = None, **kwargs: Any) -> Any:
        """Call this receiver when all tasks are imported, in workers say; also as a decorator."""
        if receiver is None:
            return self.connect
        self._receivers.append(receiver)
        return receiver

    def tell(self) -> None:
        """Call those that have not been called."""
        while self._receivers:
            self._receivers.pop(0)(sender=self._app, signal=self)


class AppControl:
    """`app.control`: what it has an equal for."""

    def revoke(self, task_id: Any, terminate: bool = False, **kwargs: Any) -> None:
        """Revoke one or several; see AsyncResult.revoke()."""
        for each in task_id if isinstance(task_id, list | tuple | set) else [task_id]:
            AsyncResult(each).revoke(terminate=terminate)

    terminate = partial(revoke, terminate=True)

    def __getattr__(self, name: str) -> Any:
        raise refuse_call(
            f"app.control.{name}",
            "workers are not asked by messages. See `manage.py bgstatus`, the dashboard, and "
            "workers(), queue_depths() and is_served() of django_bgtasks.",
        )


class CeleryApp:
    """The app. Its arguments are about brokers and result stores, and change nothing here."""

    def __init__(self, main: str | None = None, **options: Any) -> None:
        self.main, self.conf = main, Configuration()
        self.Task: Any = _class_at(options.pop("task_cls", None)) or CeleryTask
        self.control, self.tasks = AppControl(), TASKS
        self.on_configure, self.on_after_configure = AppSignal(self), AppSignal(self)
        self.on_after_finalize = AppSignal(self)
        self.user_options: dict[str, Any] = {"preload": set(), "worker": set()}
        # The modules with tasks that were named, until they are imported.
        self._sources: list[tuple[Any, str | None]] = [(options.get("include") or (), None)]
        if broker := options.get("broker"):
            self.conf.broker_url = broker
        APPS.append(self)
        AFTER_DISCOVERY.append(self.tell_receivers)

    def __repr__(self) -> str:
        return f"<Celery {self.main}>"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"The app has no {name} here: it holds settings and tasks, for there are no brokers, "
            f"result stores or events. {SEE}"
        )

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Take settings of Celery from an object; those of Django are read in any case.

        namespace: how their names begin, "CELERY" by default where they are those of Django.
        """
        if obj is settings or str(obj).startswith("django.conf"):
            if namespace:
                use_namespace(namespace)
            return
        found = import_module(obj) if isinstance(obj, str) else obj
        prefix = f"{namespace}_" if namespace else ""
        for name in dir(found):
            if name.startswith(prefix) and not name.startswith("_"):
                self.conf[name.removeprefix(prefix).lower()] = getattr(found, name)

    def autodiscover_tasks(
        self, packages: Any = None, related_name: str | None = "tasks", force: bool = False
    ) -> None:
        """Let workers import these modules; those that are named `tasks` they import in any case.

        packages: of which; by default all apps. related_name: the name of the modules.
        """
        self._sources.append((packages, related_name))

    def task(self, *args: Any, **options: Any) -> Any:
        """As shared_task()."""
        return shared_task(*args, **options)

    def register_task(self, task: Any, **options: Any) -> Any:
        """Register an instance of a class of tasks, or the class. Returns the instance.

        Keep it in its module under the name of the class: there workers find it.
        """
        instance = task() if isinstance(task, type) else task
        kind: Any = type(instance)
        kind.name = instance.name or f"{kind.__module__}.{kind.__name__}"
        function = _function_of(kind)
        instance.path = f"{function.__module__}.{function.__qualname__}"
        return register_moved(instance, function, True, {})

    def send_task(
        self, name: str, args: Any = None, kwargs: Any = None, **options: Any
    ) -> AsyncResult:
        """Enqueue a call of the task with this name. Raises NotRegistered."""
        result: AsyncResult = task_named(name).apply_async(args, kwargs, **options)
        return result

    def signature(self, *args: Any, **kwargs: Any) -> Any:
        """A call for later."""
        return make_signature(*args, **kwargs)

    def AsyncResult(self, task_id: Any, **kwargs: Any) -> AsyncResult:  # noqa: N802
        """The result of a call."""
        return AsyncResult(task_id)

    GroupResult, ResultSet = GroupResult, ResultSet

    def add_periodic_task(
        self,
        schedule: Any,
        sig: CelerySignature,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """Let a call be a schedule of the code. Returns its name."""
        call = sig.clone(args, kwargs)
        key = name or repr(call)
        entry = {
            "task": call.task,
            "schedule": schedule,
            "args": call.args,
            "kwargs": call.kwargs,
            "options": {**call.options, **options},
        }
        self.conf.beat_schedule = {**(self.conf.beat_schedule or {}), key: entry}
        return key

    def tell_receivers(self) -> None:
        """Call the receivers that wait for the configuration: all tasks are imported."""
        while self._sources:
            import_sources(*self._sources.pop(0))
        import_sources([*(configured("imports") or ()), *(configured("include") or ())], None)
        complete_early()
        for each in (self.on_configure, self.on_after_configure, self.on_after_finalize):
            each.tell()

    @property
    def current_task(self) -> Any:
        """The task that runs here."""
        return current_task

    def set_default(self) -> None:
        """Nothing: there is one for all."""

    set_current = set_default

    def finalize(self, auto: bool = False) -> None:
        """Nothing."""

    def start(self, argv: Any = None) -> None:
        """Refused."""
        raise refuse_call(
            "Celery", "there is no celery program: `manage.py bgworker` runs workers and beat."
        )

    worker_main = Worker = Beat = start


def import_sources(packages: Any, name: str | None) -> None:
    """Import the modules of this name of these packages, of all apps for None; without a name the
    packages themselves.
    """
    if callable(packages):
        packages = packages()
    if packages is None:
        autodiscover_modules(name or "tasks")
        return
    for package in packages:
        module = f"{package}.{name}" if name else package
        if name is None or _exists(module):
            import_module(module)


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # INSTALLED_APPS may name the class of an app, which is no package.
        return False


def _class_at(where: Any) -> Any:
    return import_string(where.replace(":", ".")) if isinstance(where, str) else where


def _function_of(kind: type) -> Any:
    """A function that stands for the class where paths are read."""

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)

    run.__module__, run.__name__ = kind.__module__, kind.__name__
    run.__qualname__, run.__doc__ = kind.__qualname__, kind.__doc__
    return run


class CurrentApp:
    """`current_app`: the app of the site, or one that holds nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(APPS[-1] if APPS else CeleryApp(), name)

    def __repr__(self) -> str:
        return repr(APPS[-1]) if APPS else "<no app>"


current_app = CurrentApp()
Celery = CeleryApp
