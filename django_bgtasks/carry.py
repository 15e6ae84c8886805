"""What comes with the package for OPTIONS["carry"]: `language`, `time_zone` and `user`.

OPTIONS = {"carry": ["django_bgtasks.carry.language", "django_bgtasks.carry.user"]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils import timezone, translation
from django.utils.decorators import sync_and_async_middleware

from .jobs.carried import Carried


def _use_language(code: str | None) -> AbstractContextManager[Any]:
    return translation.override(code or settings.LANGUAGE_CODE)


def _zone() -> str | int:
    """The name of the active time zone, or the minutes that it is ahead of UTC."""
    zone = timezone.get_current_timezone()
    # `zone` is what pytz calls it.
    if name := getattr(zone, "key", None) or getattr(zone, "zone", None):
        return str(name)
    offset = zone.utcoffset(None)
    if offset is None:
        raise ValueError(f"The active time zone {zone!r} has neither a name nor a fixed offset.")
    return int(offset.total_seconds() // 60)


def _use_zone(zone: str | int | None) -> AbstractContextManager[Any]:
    if zone is None:
        return timezone.override(timezone.get_default_timezone())
    return timezone.override(timezone.get_fixed_timezone(zone) if isinstance(zone, int) else zone)


class _RequestUser:
    """Whoever `request.user` is when somebody asks: a view may log somebody in or out."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def user(self) -> Any:
        return getattr(self._request, "user", None)

    def key(self) -> str | None:
        return _key_of(self.user())


class _KnownUser:
    """A user by the key, and read from the database when somebody asks; once."""

    def __init__(self, key: str | None) -> None:
        self._key, self._found = key, list[Any]()

    def user(self) -> Any:
        if self._key is None:
            return None
        if not self._found:
            model = get_user_model()
            value = model._meta.pk.to_python(self._key)
            self._found.append(model._default_manager.filter(pk=value).first())
        return self._found[0]

    def key(self) -> str | None:
        return self._key


class _GivenUser(_KnownUser):
    def __init__(self, user: Any) -> None:
        super().__init__(_key_of(user))
        self._found.append(user)


_current: ContextVar[_RequestUser | _KnownUser | None] = ContextVar("bgtasks_user", default=None)


def current_user() -> Any:
    """The user for whom this code runs: of the request, or of the call that enqueued the job.

    In a job it is read from the database at the first call. None if there is no user, or if the
    user is deleted.
    """
    current = _current.get()
    user = None if current is None else current.user()
    # Nobody is logged in.
    return user if _key_of(user) is not None else None


async def acurrent_user() -> Any:
    """current_user(), for a coroutine."""
    return await sync_to_async(current_user)()


@contextmanager
def use_user(user: Any) -> Iterator[None]:
    """Within it current_user() is this user, or nobody for None; jobs are enqueued for them."""
    with _used(_GivenUser(user)):
        yield


@sync_and_async_middleware
def user_middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Middleware of Django for MIDDLEWARE, after AuthenticationMiddleware: current_user() is
    request.user. It asks for no user by itself.
    """
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> Any:
            with _used(_RequestUser(request)):
                return await get_response(request)

        return asynchronous

    def synchronous(request: HttpRequest) -> Any:
        with _used(_RequestUser(request)):
            return get_response(request)

    return synchronous


@contextmanager
def _used(holder: _RequestUser | _KnownUser) -> Iterator[None]:
    token = _current.set(holder)
    try:
        yield
    finally:
        _current.reset(token)


def _key_of(user: Any) -> str | None:
    if user is None or user.pk is None:
        return None
    return str(user._meta.pk.value_to_string(user))


def _user_key() -> str | None:
    current = _current.get()
    return None if current is None else current.key()


language = Carried("language", capture=translation.get_language, restore=_use_language)
time_zone = Carried("time_zone", capture=_zone, restore=_use_zone)
user = Carried("user", capture=_user_key, restore=lambda key: _used(_KnownUser(key)))
