"""What a worker logs is one clean line, and secrets are masked there and in the admin."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core import mail
from django.test import Client

from django_bgtasks import DuplicateJob, InvalidArguments
from django_bgtasks.core.payload import MASK, MAX_BYTES, MAX_DEPTH, MAX_TRACEBACK
from django_bgtasks.mail import BackgroundEmailBackend
from django_bgtasks.models import Attempt, Job

from . import secret_tasks
from .case import Case
from .secret_tasks import NASTY

pytestmark = pytest.mark.faults
IBAN, WORD, REST = "DE89370400440532013000", "correct horse battery", "more of it"
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO |WARNING|ERROR) +\[\d+\] [^\n]*\S")
BANNER = re.compile(r"bgworker [0-9a-f-]{36} on .*|  (queues|redis|database) +\S.*")


def staff(*codenames: str) -> Client:
    """The browser of a person with these permissions."""
    user = User.objects.create_user(f"staff-{'-'.join(codenames)}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def test_a_log_line_cannot_be_written_by_its_contents(case: Case) -> None:
    case.row(
        "Security",
        "line ends, escapes and NUL in errors, task names, queues and arguments",
        times=21,
    )
    worker = case.worker("--verbosity", 2)
    for kind, text in NASTY.items():
        case.enqueue(secret_tasks.shout, kind)
        if "\0" not in text:
            case.enqueue(secret_tasks.whisper, text)
    case.wait_final()
    template = Job.objects.order_by("pk")[0]
    for text in NASTY.values():
        # No enqueue makes such a row: somebody wrote it into the database.
        row = {"task": f"no.such.{text}", "queue": f"q{text}"[:100]}
        if "\0" not in text:
            Job.objects.create(
                enqueued_at=template.enqueued_at, timeout=9, backend="default", **row
            )
    held_jobs = Job.objects.filter(task__startswith="no.such.", state="scheduled").exclude(error="")
    case.wait_until(lambda: held_jobs.count() == len(NASTY) - 1, timeout=40)
    worker.wait_for(re.compile(r"(task=no\.such\.[^\n]*\n[^$]*){6}"))
    held_jobs.delete()
    assert case.stop(worker) == 0
    output = worker.log.read_bytes().decode()
    lines = output.removesuffix("\n").split("\n")
    assert not [line for line in lines if not (LINE.fullmatch(line) or BANNER.fullmatch(line))]
    assert output.replace("\n", "").isprintable()
    # A forged line would say that it is of process 1.
    assert not [line for line in lines if re.match(r"\S+ \S+ \w+ +\[1\]", line)]


def test_sensitive_arguments_are_in_no_log_and_in_nobodys_admin_without_the_permission(
    case: Case,
) -> None:
    case.row("Security", "secrets in arguments, results, errors and dedup keys", times=4)
    # A site whose LOGGING takes everything, Django's own lines about tasks too.
    site = {"version": 1, "handlers": {"all": {"class": "logging.StreamHandler"}}}
    site["root"] = {"level": "DEBUG", "handlers": ["all"]}
    worker = case.worker("--verbosity", 3, env={"BGTASKS_TEST_LOGGING": json.dumps(site)})
    call: dict[str, Any] = {
        "password": WORD,
        "headers": {"Authorization": f"Basic {WORD}", "Accept": "any"},
    }
    paid = case.enqueue_many(secret_tasks.pay, [{"order": 7, "iban": IBAN, **call}])[0]
    refused = secret_tasks.pay.enqueue(-1, f"{IBAN}1", REST, **call)
    case.committed.append(refused.id)
    case.wait_final()
    failed, done = case.job(refused), case.job(paid)
    # They were there for the task, and nowhere else.
    assert done.result == {"order": 7, "receipt": {"token": WORD}}
    assert failed.args == [-1, f"{IBAN}1", REST]
    assert failed.error == f"ValueError: {MASK} with '{MASK}' and ('{MASK}',) is refused"
    [attempt] = Attempt.objects.all()
    worker.wait_for(f"Task id={refused.id} path={failed.task} state=FAILED")
    texts = [worker.output, failed.error, attempt.message, attempt.traceback]
    refused.refresh()
    texts += [repr(refused), str(refused), repr(refused.task), repr(failed), str(failed)]
    assert_hidden(texts)
    urls = [f"/admin/django_bgtasks/job/{job.pk}/change/" for job in (failed, done)]
    urls += ["/admin/django_bgtasks/job/", *(f"/jobs/{job.pk}/" for job in (failed, done))]
    operator, auditor = staff("view_job"), staff("view_job", "view_sensitive")
    pages = [operator.get(url).content.decode() for url in urls]
    assert_hidden(pages)
    assert MASK in pages[0]
    assert "Accept" in pages[0]
    assert "any" in pages[0]
    seen = [auditor.get(url).content.decode() for url in urls]
    for secret in (f"{IBAN}1", WORD, REST, f"pay:{IBAN}1"):
        assert secret in seen[0]
    assert WORD in seen[-1]


def assert_hidden(texts: list[str]) -> None:
    for text in texts:
        assert not [secret for secret in (IBAN, WORD, REST) if secret in text], text


def test_an_error_at_the_enqueue_quotes_no_secret(case: Case) -> None:
    case.row("Security", "enqueues that are refused and hold a secret", times=6)
    holder = secret_tasks.pay.using(queue_name="reports").enqueue(1, IBAN)
    case.committed.append(holder.id)
    with pytest.raises(DuplicateJob) as duplicate:
        secret_tasks.pay.enqueue(2, IBAN, password=WORD)
    assert holder.id in str(duplicate.value)
    wrong: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((1, IBAN, f"{REST}\0"), {}),
        ((1, IBAN), {"headers": {"token": f"{WORD}\ud800"}}),
        ((1, IBAN, REST), {"password": WORD, "headers": {1: WORD}}),
        ((1, IBAN), {"password": WORD, "unknown": WORD}),
        ((1, IBAN), {"password": WORD * MAX_BYTES}),
    ]
    errors = [str(duplicate.value)]
    for args, kwargs in wrong:
        with pytest.raises(InvalidArguments) as refusal:
            secret_tasks.pay.enqueue(*args, **kwargs)
        errors.append(str(refusal.value))
    assert_hidden(errors)
    assert Job.objects.count() == 1
    assert case.job(holder).args == [1, IBAN]
    case.worker()
    case.wait_final()


def test_an_email_that_waits_is_read_by_nobody_without_the_permission(case: Case) -> None:
    """It may hold the link of a password reset."""
    case.row("Security", "the text of an email in the background")
    message = mail.EmailMessage("Reset", f"https://example.com/reset/{WORD}", "a@b.c", ["d@e.f"])
    assert BackgroundEmailBackend(queue="emails").send_messages([message]) == 1
    url = f"/admin/django_bgtasks/job/{Job.objects.get().pk}/change/"
    assert_hidden([staff("view_job").get(url).content.decode()])
    assert WORD in staff("view_job", "view_sensitive").get(url).content.decode()
    Job.objects.all().delete()


def test_what_is_too_large_or_too_deep_is_refused_with_a_clear_error_at_the_very_cap(
    case: Case,
) -> None:
    case.row("Security", "arguments, results and tracebacks at their caps and just above", times=7)
    fits = "x" * (MAX_BYTES - len('[""]'))
    deep: Any = []
    for _ in range(MAX_DEPTH - 2):
        deep = [deep]
    refused: tuple[tuple[Any, str], ...] = (
        (f"{fits}x", f"args is too large: {MAX_BYTES + 1} bytes of JSON, at most {MAX_BYTES}"),
        ([[deep]], f"is nested too deep: at most {MAX_DEPTH} levels"),
    )
    for value, says in refused:
        with pytest.raises(InvalidArguments, match=says):
            secret_tasks.whisper.enqueue(value)
    assert not Job.objects.exists()
    case.worker()
    jobs = [case.enqueue(secret_tasks.whisper, value) for value in (fits, deep)]
    jobs.append(case.enqueue(secret_tasks.fill, MAX_BYTES))
    above = case.enqueue(secret_tasks.fill, MAX_BYTES + 1)
    long = case.enqueue(secret_tasks.overflow, 4 * MAX_TRACEBACK)
    case.wait_final()
    assert {case.job(job).state for job in jobs} == {"succeeded"}
    error = f"InvalidArguments: {case.job(above).task}: the result is too large: {MAX_BYTES + 1}"
    assert case.job(above).error.startswith(error)
    trace = Attempt.objects.get(job__pk=long.id).traceback
    assert MAX_TRACEBACK - 100 < len(trace) <= MAX_TRACEBACK
    assert trace.startswith("Traceback (most recent call last):")
    assert trace.endswith(" last words\n")
    assert re.search(r"\[… \d+ characters left out …\]", trace)
