"""`@idempotent` never answers one request with another's answer, and lets the view read its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.http import HttpRequest, HttpResponse, RawPostDataException
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.utils.decorators import method_decorator
from django.views import View
from pytest_django import Settings

from django_bgtasks import idempotent
from django_bgtasks.models import IdempotencyRecord

from ..threads import in_loop
from .idempotent_site import DECORATED, effects

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("tests.interfaces.idempotent_site"),
]
KEY = {"Idempotency-Key": '"8e03978e"'}
REPLAYED = "Idempotency-Replayed"


@pytest.fixture
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request is a transaction."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)


@pytest.fixture
def quiet(client: Client) -> Client:
    """A browser that shows 500 and does not raise."""
    client.raise_request_exception = False
    return client


def post(client: Client, path: str, data: Any = None, **more: Any) -> Any:
    headers = {**KEY, **more.pop("headers", {})}
    return client.post(path, {"item": "1"} if data is None else data, headers=headers, **more)


def is_replay(response: Any) -> bool:
    return REPLAYED in response.headers


# --- who, and where -----------------------------------------------------------------------------

PLACES = [
    *("/apples/", "/pears/", "/plums/", "/figs/", "/dates/", "/method/", "/method-too/"),
    *("/order/", "/other/", *(f"/{name}/" for name in DECORATED if "async" not in name)),
]


def test_views_do_not_share_their_keys_however_they_are_decorated(client: Client) -> None:
    made = [post(client, place).json() for place in PLACES]
    assert effects() == len(PLACES)
    for place, first in zip(PLACES, made, strict=True):
        again = post(client, place)
        assert is_replay(again), place
        assert again.json() == first
    assert effects() == len(PLACES)


def test_classes_at_one_address_do_not_share_their_keys(rf: RequestFactory) -> None:
    """Without a resolver, and with one method that both inherit."""

    class Base(View):
        @method_decorator(idempotent)
        def post(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(type(self).__name__)

    @method_decorator(idempotent, name="dispatch")
    class One(Base):
        pass

    class Two(Base):
        pass

    for view in (One, Two):
        for _ in range(2):
            response: Any = view.as_view()(rf.post("/", headers=KEY))
            assert response.content.decode() == view.__name__


def test_another_address_of_a_view_is_never_answered_with_the_firsts(client: Client) -> None:
    assert post(client, "/order/1/").status_code == 201
    assert post(client, "/order/2/").status_code == 422
    assert post(client, "/order/1/?a=1").status_code == 422
    assert is_replay(post(client, "/order/1/"))
    assert effects() == 1


def test_another_method_is_never_answered_with_the_firsts(client: Client) -> None:
    assert post(client, "/plums/").status_code == 201
    patched = client.patch("/plums/", {"item": "1"}, headers=KEY)
    assert patched.status_code == 422
    assert effects() == 1


def test_hosts_do_not_share_their_keys(client: Client) -> None:
    for host in ("a.example.com", "b.example.com"):
        assert not is_replay(post(client, "/order/", headers={"Host": host}))
    assert effects() == 2


CREDENTIALS = [
    *("Authorization", "X-API-Key", "Api-Key", "X-Auth-Token", "X-Access-Token", "X-Api-Token"),
    *("X-Session-Token", "X-Client-Id", "X-Forwarded-User"),
    *("X-SSL-Client-S-Dn", "Ssl-Client-Subject-Dn", "X-SSL-Client-Serial", "X-Client-Fingerprint"),
    *("X-MS-CLIENT-PRINCIPAL", "X-MS-CLIENT-PRINCIPAL-ID", "X-Client-Verify"),
    *("Tailscale-User-Login", "Tailscale-User-Name", "X-User-Id", "X-User-Email", "X-User"),
    *("X-Amzn-Oidc-Identity", "X-Amzn-Mtls-Clientcert-Subject", "X-Forwarded-Tls-Client-Cert"),
]


@pytest.mark.parametrize("header", CREDENTIALS)
def test_users_of_tokens_do_not_share_their_keys(client: Client, header: str) -> None:
    for token in ("Token ada", "Token ben", ""):
        headers = {header: token} if token else {}
        assert not is_replay(post(client, "/order/", headers=headers)), token
        assert is_replay(post(client, "/order/", headers=headers)), token
    assert effects() == 3


@pytest.mark.parametrize("name", ["SSL_CLIENT_S_DN", "SSL_CLIENT_M_SERIAL", "SSL_CLIENT_CERT"])
def test_clients_with_certificates_that_the_server_checks_do_not_share_their_keys(
    client: Client, name: str
) -> None:
    for value in ("CN=ada", "CN=ben"):
        assert not is_replay(post(client, "/order/", **{name: value}))
        # How many days the certificate is valid yet says nothing about who has it.
        assert is_replay(post(client, "/order/", **{name: value, "SSL_CLIENT_V_REMAIN": "9"}))


@pytest.mark.parametrize("header", ["User-Agent", "X-Request-Id", "X-Client-Ip", "X-Client-Cdn"])
def test_what_says_nothing_about_the_caller_may_change(client: Client, header: str) -> None:
    assert not is_replay(post(client, "/order/", headers={header: "1"}))
    assert is_replay(post(client, "/order/", headers={header: "2"}))


def test_users_of_a_token_in_a_cookie_do_not_share_their_keys() -> None:
    for token in ("ada", "ben"):
        client = Client()
        client.cookies["access_token"] = token
        assert not is_replay(post(client, "/order/"))
        # A cookie that says nothing about the caller may change, and so may the CSRF token.
        client.cookies["_ga"] = client.cookies["csrftoken"] = "1"
        assert is_replay(post(client, "/order/"))


def test_the_users_of_one_session_and_several_tokens_do_not_share_their_keys() -> None:
    client = Client()
    client.force_login(User.objects.create_user("ada"))
    assert not is_replay(post(client, "/order/", headers={"Authorization": "Token a"}))
    assert not is_replay(post(client, "/order/", headers={"Authorization": "Token b"}))
    assert is_replay(post(client, "/order/", headers={"Authorization": "Token a"}))


def test_a_user_who_logs_in_between_does_not_get_the_visitors_answer(client: Client) -> None:
    User.objects.create_user("ada")
    post(client, "/order/")
    client.force_login(User.objects.get())
    assert not is_replay(post(client, "/order/"))
    # The session has a new key, and the user is the same.
    client.force_login(User.objects.get())
    assert is_replay(post(client, "/order/"))


def test_the_cookie_of_a_login_is_not_given_to_who_asks_again() -> None:
    User.objects.create_user("ada")
    assert "sessionid" in post(Client(), "/sign-in/").cookies
    again = post(Client(), "/sign-in/")
    assert is_replay(again)
    assert not again.cookies
    assert "Set-Cookie" not in again.headers


def test_the_identity_may_be_a_header_or_a_function(client: Client) -> None:
    for shop in ("a", "b"):
        # What its token is at the moment does not matter then.
        for token in ("old", "new"):
            headers = {"X-Shop": shop, "Authorization": token}
            assert is_replay(post(client, "/shop/", headers=headers)) is (token == "new")
    assert effects() == 2
    # Who does not say it is known by the credentials.
    assert not is_replay(post(client, "/shop/", headers={"Authorization": "old"}))
    assert not is_replay(post(client, "/shop/", headers={"Authorization": "new"}))
    for _ in range(2):
        post(client, "/whom/?who=1")
    assert effects() == 5


def test_what_cannot_be_decorated_is_refused_with_what_to_write() -> None:
    with pytest.raises(TypeError, match="method_decorator"):
        idempotent(View)

    async def identity(request: HttpRequest) -> str:
        return ""

    with pytest.raises(TypeError, match="identity"):
        idempotent(lambda request: HttpResponse(), identity=identity)


# --- the body -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["post", "patch", "generic"])
def test_a_form_with_another_body_is_never_answered_with_the_firsts(
    rf: RequestFactory, method: str
) -> None:
    class Site(View):
        def post(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(request.body)

        patch = post

    view = idempotent(Site.as_view())
    kind = "application/x-www-form-urlencoded"

    def send(body: bytes) -> Any:
        send = rf.post if method == "generic" else getattr(rf, method)
        return view(send("/", body, content_type=kind, headers=KEY))

    assert send(b"a=1").content == b"a=1"
    assert send(b"a=2").status_code == 422
    assert send(b"a=1&b=2").status_code == 422
    assert is_replay(send(b"a=1"))


def test_the_same_bytes_of_another_type_are_another_request(client: Client) -> None:
    for kind, status in (("application/json", 201), ("text/plain", 422)):
        assert post(client, "/order/", b"1", content_type=kind).status_code == status


def form(content: bytes, token: str = "", **fields: Any) -> dict[str, Any]:
    given = {"csrfmiddlewaretoken": token} if token else {}
    return {**given, **fields, "file": SimpleUploadedFile("a.csv", content)}


def test_a_view_can_choose_its_upload_handlers_and_read_its_form(client: Client) -> None:
    first = post(client, "/upload/", form(b"1,2", name="x"))
    assert first.json() == {"made": "order 1", "sizes": {"file": 3}, "fields": {"name": "x"}}
    assert is_replay(post(client, "/upload/", form(b"1,2", name="x")))
    assert post(client, "/upload/", form(b"1,3", name="x")).status_code == 422
    assert post(client, "/upload/", form(b"1,2", name="y")).status_code == 422


@pytest.mark.parametrize("path", ["/raw/", "/raw/?whole"])
def test_a_view_can_read_the_bytes_of_its_body(client: Client, path: str) -> None:
    for kind in ("application/octet-stream", "multipart/form-data; boundary=x"):
        Group.objects.all().delete()
        IdempotencyRecord.objects.all().delete()
        assert post(client, path, b"0123456789" * 3, content_type=kind).content == b"30"
        assert is_replay(post(client, path, b"0123456789" * 3, content_type=kind))
        assert post(client, path, b"0123456788" * 3, content_type=kind).status_code == 422


@pytest.mark.parametrize("boundary", ["b1", "b2"])
def test_what_looks_like_a_boundary_within_a_field_counts(client: Client, boundary: str) -> None:
    def body(boundary: str, text: str) -> bytes:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
        return f"{head}{text}\r\n--{boundary}--\r\n".encode()

    def send(boundary: str, text: str) -> Any:
        kind = f"multipart/form-data; boundary={boundary}"
        return post(client, "/raw/", body(boundary, text), content_type=kind)

    assert send("b1", "x--b1").status_code == 200
    assert is_replay(send("b2", "x--b1"))
    assert send(boundary, "x--b2").status_code == 422
    assert send(boundary, "x").status_code == 422


def test_a_large_upload_is_no_matter_of_memory(client: Client, settings: Settings) -> None:
    """Django takes files that are larger than what it takes in memory."""
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000
    content = b"0123456789" * 1000
    assert post(client, "/upload/", form(content)).json()["sizes"] == {"file": 10_000}
    assert is_replay(post(client, "/upload/", form(content)))
    assert post(client, "/upload/", form(content[:-1] + b"x")).status_code == 422
    refused = post(client, "/raw/?whole", content, content_type="application/json")
    assert refused.status_code == 400
    kind = "application/octet-stream"
    assert post(client, "/raw/", content, content_type=kind).content == b"10000"
    assert is_replay(post(client, "/raw/", content, content_type=kind))


def test_a_large_body_can_be_read_under_asgi(settings: Settings) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000
    request = AsyncRequestFactory().post("/", form(b"0123456789" * 1000), headers=KEY)
    view = idempotent(lambda request: HttpResponse(str(len(request.FILES["file"]))))
    assert view(request).content == b"10000"
    request.close()


@pytest.mark.parametrize("path", ["/order/", "/protected/"])
def test_a_form_whose_csrf_token_was_checked_is_compared_all_the_same(path: str) -> None:
    """Django's middleware reads the form for it, before the view or within."""
    client = Client(enforce_csrf_checks=True)
    token = client.cookies["csrftoken"] = "a" * 32
    assert token
    assert post(client, path, form(b"1,2", "b" * 32)).status_code == 403
    assert not is_replay(first := post(client, path, form(b"1,2", "a" * 32)))
    assert first.status_code in (200, 201)
    assert is_replay(post(client, path, form(b"1,2", "a" * 32)))
    assert post(client, path, form(b"1,3", "a" * 32)).status_code == 422
    assert effects() == 1


def test_a_body_that_somebody_has_read_before_is_never_taken_for_another(
    rf: RequestFactory,
) -> None:
    view = idempotent(lambda request: HttpResponse("done"))
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        request = rf.post("/", b"a=1", content_type=kind, headers=KEY)
        request.read()
        assert not request.POST
        with pytest.raises(RawPostDataException, match="@idempotent"):
            view(request)


# --- the answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.usefixtures("atomic_requests")
def test_what_a_view_rolls_back_is_not_stored_as_done(client: Client, status: int) -> None:
    for _ in range(2):
        response = post(client, f"/rolls-back/?status={status}")
        assert (response.status_code, is_replay(response)) == (status, False)
        assert effects() == 0
        assert not IdempotencyRecord.objects.exists()


def test_a_view_may_roll_back_the_transaction_of_the_decorator(client: Client) -> None:
    for _ in range(2):
        assert post(client, "/rolls-back/").status_code == 400
        assert effects() == 0
        assert not IdempotencyRecord.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("atomic_requests")
def test_a_view_without_the_transaction_of_each_request_may_roll_back_that_of_the_decorator(
    quiet: Client,
) -> None:
    for _ in range(2):
        assert post(quiet, "/rolls-back-its-own/").status_code == 400
        assert effects() == 0
        assert not IdempotencyRecord.objects.exists()


@pytest.mark.parametrize("each_request", [True, False])
def test_an_error_of_the_database_that_the_view_answers_is_no_500(
    quiet: Client, each_request: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", each_request)
    # Without a transaction of its own the view would break that of this test.
    paths = ("/duplicate/", "/duplicate-by-itself/") if each_request else ("/duplicate/",)
    for path in paths * 2:
        assert post(quiet, path).status_code == 400
    assert not IdempotencyRecord.objects.exclude(state="done").exists()


@pytest.mark.usefixtures("atomic_requests")
def test_what_is_rolled_back_after_the_view_is_not_stored_as_done(quiet: Client) -> None:
    assert post(quiet, "/raises-later/?fail").status_code == 500
    assert effects() == 0
    assert not IdempotencyRecord.objects.exists()
    assert post(quiet, "/raises-later/").status_code == 200
    assert effects() == 1


@pytest.mark.usefixtures("atomic_requests")
def test_a_malformed_form_is_refused_as_without_the_decorator(quiet: Client) -> None:
    kind = "multipart/form-data; boundary=x"
    for _ in range(2):
        assert post(quiet, "/upload/", b"no form", content_type=kind).status_code == 200
        assert post(quiet, "/upload/", b"--x\r\nno", content_type="multipart/form-data")
    assert post(quiet, "/order/").status_code == 201


def test_a_template_is_rendered_before_its_answer_is_stored(client: Client) -> None:
    first, again = post(client, "/page/"), post(client, "/page/")
    assert first.content == again.content == b"order 1 of 1"
    assert is_replay(again)


def test_a_template_that_fails_leaves_the_key_free(quiet: Client) -> None:
    for _ in range(2):
        assert post(quiet, "/broken-page/").status_code == 500
    assert effects() == 0
    assert not IdempotencyRecord.objects.exists()


@pytest.mark.parametrize("path", ["/export/", "/export/?file"])
def test_a_replay_without_a_body_does_not_promise_one(client: Client, path: str) -> None:
    assert post(client, path).getvalue() in (b"ab", b"abc")
    again = post(client, path)
    assert is_replay(again)
    assert again.content == b""
    assert again.headers.get("Content-Length", "0") == "0"
    assert "ETag" not in again.headers
    assert effects() == 1


def test_a_view_that_does_not_answer_is_told_so(client: Client) -> None:
    with pytest.raises(TypeError, match="HttpResponse"):
        post(client, "/no-answer/")
    assert effects() == 0
    assert not IdempotencyRecord.objects.exists()


# --- coroutines ---------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", [name for name in DECORATED if "async" in name])
def test_coroutines_can_be_decorated_as_functions_and_as_classes(name: str) -> None:
    path = f"/{name}/"

    async def twice() -> list[Any]:
        client = AsyncClient()
        return [await client.post(path, {"item": "1"}, headers=KEY) for _ in range(2)]

    first, again = in_loop(twice())
    assert (first.status_code, again.status_code) == (201, 201)
    assert (is_replay(first), is_replay(again)) == (False, True)
    assert effects() == 1
    # Under WSGI too.
    assert is_replay(post(Client(), path)) is True


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_whose_client_goes_away_comes_to_its_end() -> None:
    """The client asks again, for its answer: it must not happen twice."""
    begun = asyncio.Event()

    @idempotent
    async def view(request: HttpRequest) -> HttpResponse:
        await Group.objects.acreate(name=f"effect {await Group.objects.acount()}")
        begun.set()
        await asyncio.sleep(0.1)
        return HttpResponse("done")

    def request() -> Any:
        return AsyncRequestFactory().post("/", {"item": "1"}, headers=KEY)

    async def leave_and_ask_again() -> Any:
        first = asyncio.create_task(view(request()))
        await begun.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await view(request())

    again = in_loop(leave_and_ask_again())
    assert again.content == b"done"
    assert is_replay(again)
    assert effects() == 1


@pytest.fixture(autouse=True)
def _none_is_left(client: Client) -> Iterator[None]:
    yield
    assert not IdempotencyRecord.objects.filter(state="in_progress").exists()
