"""Views in all the ways in which sites decorate them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import method_decorator
from django.views import View

Answer = Callable[[HttpRequest], HttpResponseBase]
Coroutine = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


def decorated(decorator: Any, answer: Answer, coroutine: Coroutine) -> dict[str, Any]:
    """Views that answer a POST, by what is decorated: a function, a class, or one of its methods.

    Those that end with "-async" are coroutines.
    """
    plain, asynchronous = _of_class(decorator, answer), _of_class(decorator, coroutine)
    return {
        "function": decorator(answer),
        "function-async": decorator(coroutine),
        **plain,
        **{f"{name}-async": view for name, view in asynchronous.items()},
    }


def _of_class(decorator: Any, answer: Any) -> dict[str, Any]:
    def method(view: View, request: HttpRequest) -> Any:
        return answer(request)

    async def coroutine(view: View, request: HttpRequest) -> Any:
        return await answer(request)

    post: Any = coroutine if iscoroutinefunction(answer) else method
    plain: Any = type("Plain", (View,), {"post": post})
    own_method: Any = type("OnMethod", (View,), {"post": decorator(post)})
    return {
        "as-view": decorator(plain.as_view()),
        "on-dispatch": method_decorator(decorator, name="dispatch")(_subclass(plain)).as_view(),
        "on-post": method_decorator(decorator, name="post")(_subclass(plain)).as_view(),
        "on-method": own_method.as_view(),
    }


def _subclass(view: Any) -> Any:
    return type("Decorated", (view,), {})
