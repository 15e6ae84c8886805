"""What happens in the demo, told through the site's views, and what must be true at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes, policy

from django_bgtasks import BatchHandle, get_batch
from django_bgtasks.models import Job

from ..office.models import Album, AlbumPicture, City, Contact, Picture, PictureSize, Report
from . import samples
from .browser import HTML, Answer, Browser
from .stage import Stage, StageError

PEOPLE = ("ada", "ben", "cleo")
SECRET = "correct horse battery"
EMAILS = [
    *["Welcome to the Office"] * len(PEOPLE),
    *("Your new password", "Your report is ready", "Your contact sheet is ready"),
]
DEADLINE = 180
PICTURES = 13


def play(stage: Stage, rows: int) -> list[str]:
    """Play it all; what is not as it should be at the end."""
    people = sign_ups(stage)
    uploads(people["ada"], rows)
    password_reset(stage)
    say("a worker with two processes starts: `manage.py bgworker --processes 2`")
    stage.start_worker()
    wait_for_jobs(stage)
    cities(stage, people["ada"])
    album(stage, people["ada"])
    report(stage, people)
    return list(wrong(stage, rows, people))


def sign_ups(stage: Stage) -> dict[str, Browser]:
    """Three people sign up, the first of them with three presses of the button."""
    people = {name: Browser(stage.url) for name in PEOPLE}
    for name, browser in people.items():
        browser.get("/accounts/sign-up/")
        form = {"username": name, "email": f"{name}@example.org"}
        form |= {"password1": SECRET, "password2": SECRET}
        presses = 3 if name == "ada" else 1
        ids = {accepted(answer) for answer in pressed(browser, form, presses)}
        say(f"{name} signs up: {presses} × 202 Accepted, {len(ids)} welcome email enqueued")
    return people


def pressed(browser: Browser, form: dict[str, str], times: int) -> list[Answer]:
    """The answers to a sign-up form whose button is pressed so many times at once."""
    twins = [browser, *(browser.twin() for _ in range(times - 1))]
    with ThreadPoolExecutor(times) as fingers:
        return list(fingers.map(lambda twin: twin.post("/accounts/sign-up/", form), twins))


def uploads(browser: Browser, rows: int) -> None:
    """One picture, and one table of contacts that is uploaded twice."""
    picture = ("holiday.jpg", samples.picture())
    accepted(browser.press("/pictures/", {}, file=picture))
    say(f"ada uploads a picture ({len(picture[1]) // 1000:,} kB): 202 Accepted")
    table = ("contacts.csv", samples.contacts(rows))
    ids = [accepted(browser.press("/contacts/", {}, file=table)) for _ in range(2)]
    same = "the same job" if ids[0] == ids[1] else "two jobs"
    say(f"ada uploads {rows:,} contacts ({len(table[1]) // 1000:,} kB), twice: {same}")


def password_reset(stage: Stage) -> None:
    """Somebody waits for an email while others are queued."""
    form = {"email": "ben@example.org"}
    answer = Browser(stage.url).press("/accounts/reset/", form, accept=HTML)
    if answer.status != 302:
        raise StageError(f"the password reset was answered {answer.status}")
    say("ben has forgotten his password: that email has priority 50")


def cities(stage: Stage, browser: Browser) -> None:
    """Where the contacts are: more questions at once than the provider takes."""
    browser.press("/cities/", {}, accept=HTML)
    jobs = Job.objects.filter(lane="geocoder")
    say(f"ada has {jobs.count()} cities found, by a provider who takes two calls at once")
    most = 0
    while jobs.live().exists():
        stage.check()
        most = max(most, jobs.filter(place__isnull=False).count())
        time.sleep(0.05)
    say(f"at most {most} of them ran at once; the provider has refused none")


def album(stage: Stage, browser: Browser) -> None:
    """A workflow: many thumbnails at once, then one sheet, then a mail. One picture is broken."""
    trip = samples.album(PICTURES - 1, broken="torn.jpg")
    answer = browser.press("/albums/", {}, file=("trip.zip", trip))
    if answer.status != 202:
        raise StageError(f"the album was answered {answer.status}: {answer.body[:2000].decode()}")
    page, run = f"/albums/{answer.json()['id']}/", get_batch(answer.json()["workflow"])
    say(f"ada uploads a zip of {PICTURES} pictures, one of them torn: {run.progress().total} steps")
    wait_for_jobs(stage)
    run.wait(DEADLINE)
    progress = run.progress()
    say(f"{progress.succeeded} of {progress.total} steps succeeded; the sheet is {skipped(run)}")
    torn = AlbumPicture.objects.get(entry__endswith="torn.jpg")
    browser.press(f"{page}{torn.pk}/", {}, file=("whole.jpg", samples.picture(400, 300)))
    if run.wait(DEADLINE) == "succeeded":
        say("she replaces it, and only that is done again: the sheet is made, and mailed")


def skipped(run: BatchHandle) -> str:
    """What became of the last steps of a workflow."""
    rows = Job.objects.filter(batch=run.id, error_code="gate_failed")
    return f"skipped, and its mail: {rows.count()} steps" if rows else "made"


def report(stage: Stage, people: dict[str, Browser]) -> None:
    """A report of what was imported."""
    job_id = accepted(people["ada"].press("/reports/", {}))
    say("ada asks for a report: 202 Accepted")
    wait_for_jobs(stage)
    state = people["ada"].get(f"/jobs/status/{job_id}/").json()["state"]
    say(f"her browser asks the job's address: {state}")


def wait_for_jobs(stage: Stage) -> None:
    """Wait until every job is final; StageError when that takes too long."""
    deadline = time.monotonic() + DEADLINE
    while unfinished := Job.objects.live().count():
        stage.check()
        if time.monotonic() > deadline:
            raise StageError(
                f"{unfinished} jobs are not final after {DEADLINE} s. The worker's log ends:\n"
                f"{stage.log('worker')}"
            )
        time.sleep(0.1)


def wrong(stage: Stage, rows: int, people: dict[str, Browser]) -> Iterator[str]:
    """What the site's data, files and emails should say and do not."""
    for job in Job.objects.exclude(state="succeeded"):
        yield f"{job.task} {job.pk} is {job.state}: {job.error}"
    counts = {"picture": (Picture, 1), "size": (PictureSize, 3), "contact": (Contact, rows)}
    counts |= {"city": (City, 7), "picture of an album": (AlbumPicture, PICTURES)}
    if sum(bool(one.sheet) for one in Album.objects.all()) != 1:
        yield "there should be one contact sheet"
    for name, (model, expected) in counts.items():
        if (count := model._default_manager.count()) != expected:
            yield f"there should be {expected} of {name}, not {count}"
    subjects = sorted(subjects_of_emails(stage))
    if subjects != sorted(EMAILS):
        yield f"the emails are {subjects}"
    yield from wrong_downloads(people)


def wrong_downloads(people: dict[str, Browser]) -> Iterator[str]:
    """The report's files are their owner's, and for others they are not there."""
    report = Report.objects.first()
    if report is None:
        yield "there is no report"
        return
    for kind in ("csv", "pdf"):
        path = f"/reports/{report.pk}.{kind}"
        own, other = people["ada"].get(path), people["ben"].get(path)
        if own.status != 200 or other.status != 404:
            yield f"{path} answers its owner {own.status} and another member {other.status}"
        say(f"ada downloads report.{kind} ({len(own.body) // 1000:,} kB); ben gets {other.status}")


def subjects_of_emails(stage: Stage) -> Iterator[str]:
    """The subjects of the emails in the mail directory."""
    for file in (stage.var / "mail").glob("*.log"):
        for part in file.read_bytes().split(b"\n" + b"-" * 79 + b"\n"):
            if part.strip():
                yield str(message_from_bytes(part, policy=policy.default)["Subject"])


def accepted(answer: Answer) -> str:
    """The id of the job of an answer, which must be 202."""
    if answer.status != 202:
        raise StageError(f"a view answered {answer.status}: {answer.body[:2000].decode()}")
    job_id: str = answer.json()["id"]
    return job_id


def say(line: str) -> None:
    """One line of the story."""
    print(f"• {line}", flush=True)
