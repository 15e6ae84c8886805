"""`@idempotent`: one key, one effect, one answer."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.utils import timezone

from django_bgtasks import idempotent
from django_bgtasks.idempotency import records as log
from django_bgtasks.idempotency import replay
from django_bgtasks.models import IdempotencyRecord

from ..threads import in_loop, in_threads

pytestmark = pytest.mark.django_db


def effects() -> int:
    return Group.objects.count()


def effect() -> Group:
    return Group.objects.create(name=f"order {Group.objects.count() + 1}")


@idempotent
def order(request: HttpRequest) -> HttpResponse:
    """An order is a row; its answer has a header and a cookie of its own."""
    made = effect()
    if status := int(request.POST.get("status", 0)):
        return HttpResponse("no", status=status)
    response = JsonResponse({"order": made.name}, status=201, headers={"Location": f"/{made.pk}/"})
    response.set_cookie("secret", "cookie")
    return response


def post(
    key: str | None = '"8e03978e"',
    data: Any = None,
    user: Any = None,
    view: Any = order,
    **more: Any,
) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    request = RequestFactory().post("/orders/", data or {"item": "1"}, headers=headers, **more)
    request.user = user or AnonymousUser()
    request.session = SessionStore()
    return view(request)


def test_the_second_request_gets_the_first_answer_with_status_and_headers() -> None:
    first, second = post(), post()
    assert effects() == 1
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second["Location"] == first["Location"]
    assert second["Content-Type"] == "application/json"
    assert second["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    assert "secret" not in second.cookies


def test_a_bare_key_is_the_same_as_a_quoted_one_and_no_key_is_no_promise() -> None:
    post('"abc"')
    post("abc")
    assert effects() == 1
    post(None)
    post(None)
    assert effects() == 3


@pytest.mark.parametrize("key", ["", '""', "a b", '"a', "x" * 256, "é".encode().decode("latin1")])
def test_a_malformed_key_is_400(key: str) -> None:
    assert post(key).status_code == 400
    assert effects() == 0


def test_a_missing_key_is_400_where_one_is_required() -> None:
    view = idempotent(order.__wrapped__, required=True)
    assert post(None, view=view).status_code == 400
    assert post(view=view).status_code == 201
    request = RequestFactory().get("/orders/")
    assert view(request).status_code == 201


def test_another_body_is_422() -> None:
    post(data={"item": "1"})
    refused = post(data={"item": "2"})
    assert refused.status_code == 422
    assert post(data='{"item": 1}', content_type="application/json").status_code == 422
    assert effects() == 1


def test_a_form_is_the_same_with_another_boundary_and_csrf_token() -> None:
    def fields(token: str, content: bytes) -> Any:
        return {"csrfmiddlewaretoken": token, "file": SimpleUploadedFile("a.csv", content)}

    assert post(data=fields("a", b"1,2")).status_code == 201
    assert post(data=fields("b", b"1,2"))["Idempotency-Replayed"] == "true"
    assert post(data=fields("b", b"1,3")).status_code == 422


def test_a_file_can_still_be_read_by_the_view() -> None:
    @idempotent
    def upload(request: HttpRequest) -> HttpResponse:
        (file,) = request.FILES.getlist("file")
        return HttpResponse(file.read())

    file = SimpleUploadedFile("a.csv", b"1,2")
    assert post(data={"file": file}, view=upload).content == b"1,2"


def test_keys_of_users_of_sessions_and_of_views_do_not_meet() -> None:
    @idempotent
    def other(request: HttpRequest) -> HttpResponse:
        return order.__wrapped__(request)  # type: ignore[no-any-return]

    ada, ben = User.objects.create_user("ada"), User.objects.create_user("ben")
    for user, view in ((ada, order), (ben, order), (None, order), (ada, other)):
        assert post(user=user, view=view).status_code == 201
    assert effects() == 4


@pytest.mark.parametrize(
    ("status", "is_stored"), [(500, False), (503, False), (429, False), (422, True)]
)
def test_an_answer_that_may_pass_is_not_stored(status: int, is_stored: bool) -> None:
    assert post(data={"status": str(status)}).status_code == status
    assert IdempotencyRecord.objects.exists() is is_stored
    # What a server error had begun is rolled back.
    assert effects() == (0 if status >= 500 else 1)


def test_a_view_that_raises_leaves_the_key_free() -> None:
    @idempotent
    def broken(request: HttpRequest) -> HttpResponse:
        effect()
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            post(view=broken)
    assert effects() == 0
    assert not IdempotencyRecord.objects.exists()


def test_while_the_first_is_in_progress_the_second_is_409() -> None:
    @idempotent
    def slow(request: HttpRequest) -> HttpResponse:
        second = post(view=slow)
        assert second.status_code == 409
        assert int(second["Retry-After"]) > 0
        return HttpResponse("first")

    assert post(view=slow).content == b"first"
    assert post(view=slow).content == b"first"


def test_a_request_whose_server_died_is_taken_over_when_its_lease_is_over() -> None:
    @idempotent
    def dies(request: HttpRequest) -> HttpResponse:
        return HttpResponse("done")

    post(view=dies)
    # What is left of a process that was killed: a record, and no effect.
    IdempotencyRecord.objects.update(state="in_progress", response=None)
    assert post(view=dies).status_code == 409
    IdempotencyRecord.objects.update(created_at=timezone.now() - 2 * log.LEASE)
    assert post(view=dies).status_code == 200
    assert post(view=dies)["Idempotency-Replayed"] == "true"


def test_who_was_taken_over_changes_nothing() -> None:
    @idempotent
    def slow(request: HttpRequest) -> HttpResponse:
        effect()
        if effects() == 1 and not slow_runs:
            slow_runs.append(1)
            # Its lease is over while it still works: somebody else begins anew.
            long_ago = timezone.now() - 2 * log.LEASE
            IdempotencyRecord.objects.update(created_at=long_ago, token="0" * 32)
        return HttpResponse("done")

    slow_runs: list[int] = []
    late = post(view=slow)
    assert late.status_code == 409
    assert effects() == 0
    assert post(view=slow).content == b"done"
    assert post(view=slow)["Idempotency-Replayed"] == "true"
    assert effects() == 1


def test_a_body_that_is_too_large_or_streamed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_BODY", 3)

    @idempotent
    def large(request: HttpRequest) -> HttpResponse:
        effect()
        return HttpResponse("four", status=201, headers={"Location": "/1/"})

    @idempotent
    def streamed(request: HttpRequest) -> Any:
        return StreamingHttpResponse([b"a", b"b"])

    assert post(view=large).content == b"four"
    again = post(view=large)
    assert (again.status_code, again.content, again["Location"]) == (201, b"", "/1/")
    assert effects() == 1
    assert b"".join(post(view=streamed)) == b"ab"
    assert post(view=streamed).content == b""


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_twenty_requests_at_once_with_one_key_are_one_effect() -> None:
    answers = in_threads(*[post] * 20)
    assert effects() == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = {answer.content for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    assert post()["Idempotency-Replayed"] == "true"


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_is_idempotent_too() -> None:
    @idempotent
    async def order_later(request: HttpRequest) -> HttpResponse:
        await Group.objects.acreate(name=f"{await Group.objects.acount()}")
        return HttpResponse("made", status=201)

    async def twice() -> list[Any]:
        return [await post(view=order_later), await post(view=order_later)]

    first, second = in_loop(twice())
    assert (first.status_code, second.status_code) == (201, 201)
    assert second["Idempotency-Replayed"] == "true"
    assert effects() == 1
