"""A zip of pictures becomes thumbnails, one sheet and a mail; one that is broken is replaced."""

from __future__ import annotations

import zipfile
from io import BytesIO
from types import ModuleType

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image

from django_bgtasks import get_batch
from django_bgtasks.models import Job
from django_bgtasks.workflows.handle import BatchHandle
from testproject.demo import samples
from testproject.office.models import Album, AlbumPicture
from testproject.office.tasks import albums

JSON = {"Accept": "application/json"}


def upload(client: Client, content: bytes, name: str = "trip.zip") -> Album:
    """Upload a zip as a script does; the album that it is."""
    file = SimpleUploadedFile(name, content)
    response = client.post("/albums/", {"file": file}, headers=JSON)
    assert response.status_code == 202, response.content
    album = Album.objects.get(pk=response.json()["id"])
    assert response.headers["Location"].endswith(f"/jobs/status/{album.workflow}/")
    return album


def run_of(album: Album) -> BatchHandle:
    """Its workflow."""
    assert album.workflow
    return get_batch(album.workflow)


def zip_of(**files: bytes) -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "."), data)
    return content.getvalue()


def test_a_zip_becomes_one_sheet_and_a_mail(browser: Client, jobs: ModuleType) -> None:
    album = upload(browser, samples.album(14))
    status = browser.get(f"/jobs/status/{album.workflow}/").json()
    assert (status["progress"]["done"], status["progress"]["total"]) == (0, 3)
    jobs.run_jobs()
    assert run_of(album).outcome == "succeeded"
    assert run_of(album).progress().total == 17
    sheet = browser.get(f"{album.get_absolute_url()}sheet.webp")
    with Image.open(BytesIO(sheet.getvalue())) as image:
        assert image.size == (1044, 528)
        # The pictures are on it in the order of their names.
        pixel = image.getpixel((92, 92))
        assert isinstance(pixel, tuple)
        assert pixel[2] > 100
    [message] = mail.outbox
    assert message.subject == "Your contact sheet is ready"
    assert "the 14 pictures of trip.zip" in message.body
    assert album.get_absolute_url() in message.body


def test_a_broken_picture_stops_the_sheet_and_a_replacement_goes_on(
    browser: Client, jobs: ModuleType
) -> None:
    album = upload(browser, samples.album(4, broken="torn.jpg"))
    jobs.run_jobs()
    run = run_of(album)
    assert (run.outcome, run.progress().failed) == ("failed", 1)
    page = browser.get(album.get_absolute_url()).text
    assert "torn.jpg is not a picture that can be read" in page
    assert "GiveUp" not in page
    assert mail.outbox == []
    done = dict(Job.objects.filter(task__endswith="thumbnail").values_list("pk", "attempt"))

    torn = AlbumPicture.objects.get(entry="trip/torn.jpg")
    file = SimpleUploadedFile("whole.jpg", samples.picture(400, 300))
    browser.post(f"{album.get_absolute_url()}{torn.pk}/", {"file": file})
    assert run.outcome == ""
    jobs.run_jobs()
    assert run.outcome == "succeeded"
    again = dict(Job.objects.filter(task__endswith="thumbnail").values_list("pk", "attempt"))
    assert sum(again.values()) == sum(done.values()) + 1
    assert len(mail.outbox) == 1
    assert browser.get(f"{album.get_absolute_url()}sheet.webp").getvalue().startswith(b"RIFF")


def test_to_try_again_without_a_replacement_fails_again(browser: Client, jobs: ModuleType) -> None:
    album = upload(browser, samples.album(1, broken="torn.jpg"))
    jobs.run_jobs()
    browser.post(f"{album.get_absolute_url()}retry/")
    assert run_of(album).outcome == ""
    jobs.run_jobs()
    assert run_of(album).outcome == "failed"


def test_an_album_is_cancelled_and_taken_up_again(browser: Client, jobs: ModuleType) -> None:
    album = upload(browser, samples.album(2))
    browser.post(f"/jobs/status/{album.workflow}/cancel/")
    jobs.run_jobs()
    assert run_of(album).outcome == "cancelled"
    browser.post(f"{album.get_absolute_url()}retry/")
    jobs.run_jobs()
    assert run_of(album).outcome == "succeeded"


def test_the_same_zip_twice_is_one_album_and_one_workflow(
    browser: Client, jobs: ModuleType
) -> None:
    first = upload(browser, samples.album(2))
    second = upload(browser, samples.album(2), "again.zip")
    assert (first.pk, first.workflow) == (second.pk, second.workflow)
    jobs.run_jobs()
    assert AlbumPicture.objects.count() == 2
    assert len(mail.outbox) == 1


def test_a_second_attempt_to_unpack_adds_no_second_pictures(
    browser: Client, jobs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_once(album: Album) -> list[str]:
        monkeypatch.undo()
        list(entries_of(album))
        raise GiveUpLater

    class GiveUpLater(OSError):
        """The disk is away for a moment."""

    entries_of = albums.entries_of
    monkeypatch.setattr(albums, "entries_of", break_once)
    album = upload(browser, samples.album(3))
    jobs.run_jobs()
    jobs_of_zip = Job.objects.get(task__endswith="unpack")
    assert jobs_of_zip.state == "scheduled"
    Job.objects.filter(pk=jobs_of_zip.pk).update(run_after=jobs_of_zip.enqueued_at)
    jobs.run_jobs()
    assert run_of(album).outcome == "succeeded"
    assert AlbumPicture.objects.count() == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no zip", "is not a zip file that can be read"),
        (zip_of(a__txt=b"text"), "has 0 pictures"),
        (zip_of(**{f"a{n}__png": b"" for n in range(201)}), "has 201 pictures"),
    ],
)
def test_a_zip_that_is_none_says_so(
    content: bytes, words: str, browser: Client, jobs: ModuleType
) -> None:
    album = upload(browser, content)
    jobs.run_jobs()
    page = browser.get(album.get_absolute_url()).text
    assert words in page
    assert 'data-state="failed"' in page


def test_an_album_is_its_owners_alone(browser: Client, jobs: ModuleType) -> None:
    album = upload(browser, samples.album(1))
    jobs.run_jobs()
    other = Client()
    other.force_login(User.objects.create_user("ben"))
    picture = AlbumPicture.objects.get()
    for path in ("", "sheet.webp", f"{picture.pk}.webp"):
        assert browser.get(f"{album.get_absolute_url()}{path}").getvalue()
        assert other.get(f"{album.get_absolute_url()}{path}").status_code == 404
    assert other.post(f"{album.get_absolute_url()}retry/").status_code == 404
