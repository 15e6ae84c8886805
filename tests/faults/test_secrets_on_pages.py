"""The pages: stored text stays text, who may not may not, and to look changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import models
from django.test import Client
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse
from pytest_django import Settings

from django_bgtasks import testing
from django_bgtasks.admin import selection
from django_bgtasks.core.states import State
from django_bgtasks.models import Attempt, IdempotencyRecord, Job, Worker
from testproject.middleware import POLICY
from tests.named import namespace

from .case import Case
from .hostile import PLAIN, TEXTS, Page, populate, snapshot, write

pytestmark = pytest.mark.faults
JOBS = "/admin/django_bgtasks/job/"
RECORDS = "/admin/django_bgtasks/idempotencyrecord/"
HISTORY = "/admin/django_bgtasks/historyentry/"
WORKERS = "/admin/django_bgtasks/worker/"
PATHS = ("/srv/shop", "/usr/lib/python3.12/site-packages")
DASHBOARD = "/admin/django_bgtasks/dashboard/"
texts = pytest.mark.parametrize(
    "name", ["quotes", *(pytest.param(n, marks=pytest.mark.long) for n in TEXTS if n != "quotes")]
)


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    with testing.without_redis():
        yield


@pytest.fixture
def root(case: Case, settings: Settings) -> Client:
    """The browser of somebody who may do everything, under a strict policy."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "testproject.middleware.content_security_policy"]
    return browser(User.objects.create_superuser("root"))


@pytest.fixture
def rows(case: Case) -> list[models.Model]:
    """Rows of every table in every state, with harmless text."""
    # The ledger's own id is made when somebody first asks for it.
    namespace()
    return populate(User.objects.create_user("owner"))


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def staff(*codenames: str, of: tuple[str, ...] = ("django_bgtasks",)) -> Client:
    """The browser of somebody with these permissions and no others."""
    user = User.objects.create_user(f"staff-{uuid4().hex[:8]}", is_staff=True)
    allowed = Permission.objects.filter(content_type__app_label__in=of, codename__in=codenames)
    assert allowed.count() == len(codenames)
    user.user_permissions.set(allowed)
    return browser(user)


def owner_of(rows: list[models.Model]) -> Any:
    return Job.objects.get(pk=rows[0].pk).owner


def page_of(client: Client, url: str, data: Any = None, status: int = 200) -> Page:
    response = client.get(url) if data is None else client.post(url, data, follow=True)
    assert response.status_code == status, (url, response.status_code)
    return Page(response.content.decode())


def admin_pages(rows: list[models.Model], text: str) -> list[tuple[str, Any]]:
    """(address, data of a POST or None) of every page of ours, and some of Django's about ours."""
    found: list[tuple[str, Any]] = [("/admin/", None), ("/admin/django_bgtasks/", None)]
    found += [(f"{JOBS}?{name}={quote(text)}", None) for name in ("task", "queue", "state", "age")]
    found += [(f"{address}?q={quote(text)}", None) for address in (JOBS, RECORDS)]
    found += [(RECORDS, None), (WORKERS, None), (JOBS, None), (f"{JOBS}?e=1", None)]
    found += [(DASHBOARD, None), (f"{DASHBOARD}?live=1&range={quote(text)}", None)]
    found += [(HISTORY, None), (f"{HISTORY}?q={quote(text)}", None)]
    places = {Job: JOBS, IdempotencyRecord: RECORDS, Worker: WORKERS}
    for row in rows:
        place = places.get(type(row))
        if place is not None:
            found.append((f"{place}{row.pk}/change/", None))
        # That of a job is a part of its page.
        if place in (RECORDS, WORKERS):
            found.append((f"{place}{row.pk}/history/", None))
        if isinstance(row, Job) and row.state != State.RUNNING:
            found.append((f"{JOBS}{row.pk}/delete/", None))
        if isinstance(row, Job) and row.state == State.RUNNING:
            found.append((f"{JOBS}{row.pk}/cancel/", {}))
        if isinstance(row, IdempotencyRecord):
            found.append((f"{RECORDS}{row.pk}/delete/", None))
    selection = [str(row.pk) for row in rows if isinstance(row, Job)]
    select = {"action": "delete_selected", "_selected_action": selection, "index": 0}
    return [*found, (JOBS, select), (JOBS, {**select, "action": "cancel_selected"})]


@texts
def test_stored_text_is_text_on_every_page_of_the_admin(
    case: Case, root: Client, rows: list[models.Model], name: str
) -> None:
    """The elements of each page are those of the same page with harmless text."""
    text = TEXTS[name]
    case.row("Security", "markup stored in every text field, shown on every page of the admin")
    plain = [page_of(root, *page) for page in admin_pages(rows, PLAIN)]
    write(rows, owner_of(rows), text)
    pages = admin_pages(rows, text)
    assert case.entry
    case.entry.times = len(pages)
    for (url, data), before in zip(pages, plain, strict=True):
        page = page_of(root, url, data)
        assert page.elements == before.elements, url
        assert page.faults == before.faults == [], url
    job = page_of(root, f"{JOBS}{rows[0].pk}/change/")
    places = [piece for piece in job.texts if text in piece]
    # Task, queue, backend, error, arguments, result, progress, keys, owner, attempts, records, …
    assert len(places) >= 15, places
    record = next(row for row in rows if isinstance(row, IdempotencyRecord))
    assert text in page_of(root, f"{RECORDS}{record.pk}/change/").text
    assert text in page_of(root, WORKERS).text
    assert text in page_of(root, JOBS).text


@texts
def test_stored_text_is_text_in_a_traceback_in_a_copy_and_in_a_confirmation(
    case: Case, root: Client, rows: list[models.Model], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case.row(
        "Security", "markup in a traceback, in the form of a copy, in what a move names", times=3
    )
    monkeypatch.setattr(selection, "PAGE_LIMIT", 1)
    job = Job.objects.get(pk=rows[0].pk)
    select = {"action": "retry_selected", "_selected_action": str(job.pk), "select_across": "1"}

    def pages(text: str) -> list[Page]:
        lines = (f'  File "{path}/{text}.py", line 1, in {text}\n    {text}()\n' for path in PATHS)
        trace = f"Traceback (most recent call last):\n{''.join(lines)}Error: {text}"
        Attempt.objects.filter(job=job).update(traceback=trace)
        Job.objects.update(task="tests.app.tasks.add", args=[text], kwargs={"b": {text: text}})
        call = {"args": text, "kwargs": text}
        return [
            page_of(root, f"{JOBS}{job.pk}/change/"),
            page_of(root, f"{JOBS}{job.pk}/duplicate/"),
            page_of(root, f"{JOBS}{job.pk}/duplicate/", call),
            page_of(root, f"{JOBS}?age={quote(text)}", select),
        ]

    plain, found = pages(PLAIN), pages(TEXTS[name])
    for page, before in zip(found, plain, strict=True):
        assert TEXTS[name].split('"')[0] in page.text
        assert page.elements == before.elements
        assert page.faults == before.faults == []


@texts
def test_what_the_admin_says_after_an_action_is_text(
    case: Case, root: Client, rows: list[models.Model], name: str
) -> None:
    case.row("Security", "markup in the names of what an action reports on", times=5)
    text = TEXTS[name]
    known = {
        element for page in admin_pages(rows, PLAIN) for element in page_of(root, *page).elements
    }
    known |= {("ul", "class"), ("li", "class"), ("br",)}
    write(rows, owner_of(rows), text)
    jobs = {job.state: f"{JOBS}{job.pk}/" for job in Job.objects.all()}
    running = Job.objects.get(state=State.RUNNING)
    select = {"action": "retry_selected", "_selected_action": str(running.pk), "index": 0}
    record = next(row for row in rows if isinstance(row, IdempotencyRecord))
    pages = [
        page_of(root, f"{jobs[State.SUCCEEDED]}retry/", {}),
        page_of(root, JOBS, select),
        page_of(root, f"{JOBS}{running.pk}/delete/", {"post": "yes"}),
        page_of(root, f"{jobs[State.CANCELLED]}delete/", {"post": "yes"}),
        page_of(root, f"{RECORDS}{record.pk}/delete/", {"post": "yes"}),
    ]
    for page in pages:
        assert (set(page.elements) - known, page.faults) == (set(), [])
    assert all(any(text in line and "deleted" in line for line in page.texts) for page in pages[3:])


@texts
def test_stored_text_is_data_in_the_status_of_a_job(
    case: Case, root: Client, rows: list[models.Model], name: str
) -> None:
    case.row("Security", "markup in what the status of a job answers", times=len(State))
    text = TEXTS[name]
    write(rows, owner_of(rows), text)
    for job in Job.objects.all():
        response = root.get(f"/jobs/{job.pk}/")
        assert response.headers["Content-Type"] == "application/json"
        answer = response.json()
        assert (answer["error"], answer["progress"]["message"]) == (text, text)
        assert answer["result"] in (None, {text: [text, {"a": text}]})


@texts
def test_stored_text_is_text_on_the_pages_of_the_example_site(
    case: Case, root: Client, rows: list[models.Model], settings: Settings, name: str
) -> None:
    case.row("Security", "markup in what the example site shows of a job", times=10)
    settings.ROOT_URLCONF = "testproject.urls"
    settings.LOGIN_URL = "office:login"
    text, owner = TEXTS[name], owner_of(rows)
    # What the site shows of a subject is the subject's own address.
    Job.objects.update(about_type=None)
    urls = ["/", "/jobs/", *(f"/jobs/{row.pk}/" for row in rows if isinstance(row, Job))]
    member = browser(owner)
    plain = [page_of(member, url) for url in urls]
    write(rows, owner, text)
    for url, before in zip(urls, plain, strict=True):
        page = page_of(member, url)
        assert page.elements == before.elements, url
        assert page.faults == before.faults == [], url
    assert text in page_of(member, urls[2]).text


@pytest.mark.long
def test_our_pages_answer_with_the_sites_policy_and_need_no_more(
    case: Case, root: Client, rows: list[models.Model]
) -> None:
    pages = admin_pages(rows, PLAIN)
    case.row(
        "Security",
        "every page of the admin under a strict Content-Security-Policy",
        times=len(pages),
    )
    for url, data in pages:
        response = root.get(url) if data is None else root.post(url, data)
        assert response.headers["Content-Security-Policy"] == POLICY
        page = Page(response.content.decode())
        assert page.faults == [], url


class Door(NamedTuple):
    """A way to change something, the permission it takes, and the state in which it would."""

    path: str
    data: dict[str, Any]
    permission: str | None
    state: State = State.FAILED


DOORS = [
    Door("job/{job}/retry/", {}, "retry_job"),
    Door("job/{job}/cancel/", {}, "cancel_job", State.QUEUED),
    Door("job/{job}/cancel/", {}, "cancel_job", State.RUNNING),
    Door("job/{job}/run-now/", {}, "run_job_now", State.SCHEDULED),
    Door("job/{job}/duplicate/", {"args": "[1, 2]", "kwargs": "{}"}, "add_job"),
    Door("job/{job}/delete/", {"post": "yes"}, "delete_job"),
    Door("job/{job}/change/", {"state": "queued"}, None),
    Door("job/add/", {"task": "os.system"}, None),
    Door("idempotencyrecord/{record}/delete/", {"post": "yes"}, "delete_idempotencyrecord"),
    Door("idempotencyrecord/{record}/change/", {"key": "x"}, None),
    Door("idempotencyrecord/add/", {"key": "x"}, None),
    Door("worker/{worker}/delete/", {"post": "yes"}, None),
    Door("worker/{worker}/change/", {"pid": "1"}, None),
    Door("worker/add/", {"pid": "1"}, None),
    Door("dashboard/pause/", {"queue": "emails"}, "pause_queue"),
    Door("dashboard/resume/", {"queue": "reports"}, "pause_queue"),
]
ACTIONS = {
    "retry_selected": ("retry_job", State.FAILED),
    "cancel_selected": ("cancel_job", State.QUEUED),
    "run_now_selected": ("run_job_now", State.SCHEDULED),
    "delete_selected": ("delete_job", State.FAILED),
}


def all_permissions() -> set[str]:
    permissions = Permission.objects.filter(content_type__app_label="django_bgtasks")
    return set(permissions.values_list("codename", flat=True))


def address(door: Door, rows: list[models.Model]) -> str:
    jobs = {row.state: row.pk for row in rows if isinstance(row, Job)}
    record = next(row.pk for row in rows if isinstance(row, IdempotencyRecord))
    worker = next(row.pk for row in rows if isinstance(row, Worker))
    path = door.path.format(job=jobs[door.state], record=record, worker=worker)
    return f"/admin/django_bgtasks/{path}"


@pytest.mark.long(after=8)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.path}-{door.state}")
def test_nobody_changes_anything_without_the_permission_for_it(
    case: Case, rows: list[models.Model], door: Door
) -> None:
    """Every other permission of the app does not help; where there is none, nor do all of them."""
    case.row("Security", "every change in the admin without its permission", times=4)
    url, before = address(door, rows), snapshot()
    missing = {door.permission} if door.permission else set()
    almost = staff(*(all_permissions() - missing))
    assert almost.post(url, door.data).status_code == 403
    member = User.objects.create_user("member")
    member.user_permissions.set(Permission.objects.all())
    for who in (browser(member), Client()):
        assert "/login/" in who.post(url, door.data).headers["Location"]
    if door.permission and "delete" not in door.permission:
        # To move a job one must be allowed to see it.
        assert staff(door.permission).post(url, door.data).status_code == 403
    assert snapshot() == before


@pytest.mark.long(after=2)
@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_of_the_list_does_nothing_for_who_has_not_its_permission(
    case: Case, rows: list[models.Model], action: str
) -> None:
    case.row("Security", "every action of the job list without its permission", times=2)
    permission, state = ACTIONS[action]
    selection = [str(row.pk) for row in rows if isinstance(row, Job) and row.state == state]
    data = {"action": action, "_selected_action": selection, "index": 0, "post": "yes"}
    before = snapshot()
    almost = staff(*(all_permissions() - {permission}))
    assert f'value="{action}"' not in almost.get(JOBS).content.decode()
    page = page_of(almost, JOBS, data)
    assert "No action selected." in page.text
    # To act on jobs one must be allowed to see them.
    assert staff(permission).post(JOBS, data).status_code == 403
    assert snapshot() == before


def addresses(rows: list[models.Model]) -> Iterator[str]:
    """Every URL of ours, in the admin and out of it, with rows in the place of its arguments."""
    models_of = {model._meta.model_name: model for model in (Job, IdempotencyRecord, Worker)}
    for name in sorted({n for n in names_of(get_resolver().url_patterns) if "django_bgtasks" in n}):
        parts = name.split("_")
        model = models_of.get(parts[2]) if len(parts) > 2 else Job
        keys = [row.pk for row in rows if type(row) is model]
        for args in ([], *([key] for key in keys)):
            try:
                yield reverse(name, args=args)
            except NoReverseMatch:
                continue


def names_of(patterns: Any, namespace: str = "") -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from names_of(pattern.url_patterns, inner)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield f"{namespace}{pattern.name}"


def test_to_get_any_of_our_addresses_changes_nothing(
    case: Case, root: Client, rows: list[models.Model], settings: Settings
) -> None:
    monitored(settings)
    before, found = snapshot(), list(addresses(rows))
    case.row("Security", "GET and HEAD of every address of ours, in the admin and out of it")
    queries = [
        f"action={action}&_selected_action={rows[0].pk}&index=0&post=yes" for action in ACTIONS
    ]
    found += [f"{JOBS}?{query}" for query in queries]
    for url in found:
        for method in (root.get, root.head):
            response = method(url, follow=False)
            # A queue's or task's page without a name is none: 404.
            assert response.status_code in (200, 302, 403, 404, 405, 406, 503), (
                url,
                response.status_code,
            )
    assert snapshot() == before
    assert case.entry
    case.entry.times = 2 * len(found)
    for word in ("retry", "cancel", "run-now", "delete", "change", "history", "add", "/jobs/"):
        assert any(word in url for url in found), found


def test_a_job_of_somebody_else_does_not_exist(case: Case, rows: list[models.Model]) -> None:
    """For its status a stranger's job, nobody's job and no job at all are the same: 404."""
    ids = [row.pk for row in rows if isinstance(row, Job)][:2]
    Job.objects.filter(pk=ids[1]).update(owner=None)
    ids.append(uuid4())
    permitted = User.objects.create_user("no-staff")
    permitted.user_permissions.set(Permission.objects.filter(codename="view_job"))
    others = set(all_permissions()) - {"view_job"}
    strangers = [Client(), browser(User.objects.create_user("other")), browser(permitted)]
    strangers.append(staff(*others))
    case.row("Security", "the status of a job asked for by who may not see it", times=24)
    answers = {
        (response.status_code, response.content)
        for client in strangers
        for job_id in ids
        for path in (f"/jobs/{job_id}/", f"/jobs/{job_id}/events/")
        for response in [client.get(path)]
    }
    assert len(answers) == 1
    assert answers.pop()[0] == 404
    assert browser(owner_of(rows)).get(f"/jobs/{ids[0]}/").status_code == 200
    assert staff("view_job").get(f"/jobs/{ids[1]}/").status_code == 200


TOKEN = "only-machines-know-this-one"
MACHINES = ("/jobs/healthz", "/jobs/readyz", "/jobs/metrics")


def monitored(settings: Settings, token: str | None = TOKEN) -> None:
    entry = settings.TASKS["default"]
    options = {**entry["OPTIONS"], "monitoring_token": token}
    settings.TASKS = {"default": {**entry, "OPTIONS": options}}


@pytest.mark.parametrize("url", MACHINES)
def test_the_addresses_for_machines_are_shut_to_who_has_no_token(
    case: Case, rows: list[models.Model], settings: Settings, url: str
) -> None:
    """Off, they are not there; on, a token opens them, or the dashboard's permission."""
    tries = ["", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN]
    tries += [f"Bearer {TOKEN}, Bearer x", "Bearer \u00e9\u20ac\0", f"Bearer \t{TOKEN}"]
    case.row("Security", "an address for machines without a right token", times=len(tries) + 8)
    before, root = snapshot(), browser(User.objects.create_superuser("root"))
    for off in (None, ""):
        monitored(settings, off)
        for client in (root, Client(headers={"Authorization": "Bearer "})):
            assert client.get(url).status_code == 404
    monitored(settings)
    for given in tries:
        # A session does not help who shows a wrong token.
        refused = root.get(url, headers={"Authorization": given})
        assert (refused.status_code, refused.content) == (401, b"Unauthorized\n"), given
    assert "Bearer" in Client().get(url).headers["WWW-Authenticate"]
    assert Client().get(url).status_code == 401
    assert staff(*(all_permissions() - {"view_dashboard"})).get(url).status_code == 403
    member = User.objects.create_user("member")
    member.user_permissions.set(Permission.objects.all())
    assert browser(member).get(url).status_code == 403
    machine = Client(headers={"Authorization": f"bearer {TOKEN}"})
    for client in (machine, staff("view_dashboard")):
        response = client.get(url)
        assert response.status_code in (200, 503)
        assert "no-store" in response.headers["Cache-Control"]
        assert client.post(url).status_code == 405
    assert snapshot() == before
