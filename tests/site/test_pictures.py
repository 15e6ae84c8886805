"""A picture becomes three sizes."""

from __future__ import annotations

import io
from types import ModuleType

import pytest
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image

from django_bgtasks.models import Job
from testproject.demo import samples
from testproject.office.models import Picture, Tally
from testproject.office.tasks import pictures
from testproject.office.tasks.pictures import make_sizes

from .conftest import upload


def test_a_picture_becomes_three_upright_sizes_without_metadata(
    browser: Client, jobs: ModuleType
) -> None:
    upload(browser, "/pictures/", "holiday.jpg", samples.picture(2400, 1600))
    jobs.run_jobs()
    sizes = {size.name: size for size in Picture.objects.get().sizes.all()}
    assert {name: (s.width, s.height) for name, s in sizes.items()} == {
        "small": (213, 320),
        "medium": (640, 960),
        "large": (1280, 1920),
    }
    with Image.open(sizes["large"].file.path) as image:
        assert image.size == (1280, 1920)
        assert not image.getexif()
        assert "icc_profile" not in image.info


def test_the_same_picture_twice_is_one_job_and_one_file(browser: Client, jobs: ModuleType) -> None:
    first = upload(browser, "/pictures/", "a.jpg", samples.picture(40, 30))
    second = upload(browser, "/pictures/", "b.jpg", samples.picture(40, 30))
    assert first == second
    assert Picture.objects.count() == 1
    jobs.run_jobs()
    assert upload(browser, "/pictures/", "c.jpg", samples.picture(40, 30)) == first


def test_a_second_attempt_makes_no_second_sizes(browser: Client, jobs: ModuleType) -> None:
    upload(browser, "/pictures/", "a.jpg", samples.picture(40, 30))
    make_sizes.enqueue(str(Picture.objects.get().pk))
    jobs.run_jobs()
    assert Picture.objects.get().sizes.count() == 3
    assert Tally.objects.get(name="pictures").count == 1


def test_a_small_picture_is_not_blown_up(browser: Client, jobs: ModuleType) -> None:
    upload(browser, "/pictures/", "a.jpg", samples.picture(40, 30))
    jobs.run_jobs()
    assert {(s.width, s.height) for s in Picture.objects.get().sizes.all()} == {(30, 40)}


@pytest.mark.parametrize("mode", ["P", "L", "LA", "RGBA", "1", "CMYK", "I;16"])
def test_any_mode_of_picture_is_taken(mode: str, browser: Client, jobs: ModuleType) -> None:
    file = io.BytesIO()
    Image.new(mode, (30, 20)).save(file, "JPEG" if mode == "CMYK" else "PNG")
    upload(browser, "/pictures/", "a.png", file.getvalue())
    (job, *_) = jobs.run_jobs()
    assert job.state == "succeeded", job.error


@pytest.mark.parametrize(
    "content", [b"not a picture", samples.picture(400, 300)[:900], b"GIF89a"], ids=len
)
def test_a_bad_picture_fails_at_once_and_says_why(
    content: bytes, browser: Client, jobs: ModuleType
) -> None:
    job_id = upload(browser, "/pictures/", "bad.jpg", content)
    jobs.run_jobs()
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.attempt) == ("failed", 1)
    assert "bad.jpg is not a picture that can be read" in job.error
    page = browser.get(f"/jobs/{job_id}/")
    assert "bad.jpg is not a picture that can be read" in page.text
    assert "GiveUp" not in page.text


def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    browser: Client, jobs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    job_id = upload(browser, "/pictures/", "bomb.jpg", samples.picture(40, 30))
    jobs.run_jobs()
    assert "at most 0 million are taken" in Job.objects.get(pk=job_id).error


def test_a_size_is_shown_to_its_owner_only(browser: Client, jobs: ModuleType) -> None:
    upload(browser, "/pictures/", "a.jpg", samples.picture(40, 30))
    jobs.run_jobs()
    path = f"{Picture.objects.get().get_absolute_url()}small.webp"
    response = browser.get(path)
    assert response.headers["Content-Type"] == "image/webp"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.getvalue().startswith(b"RIFF")
    other = Client()
    other.force_login(User.objects.create_user("ben"))
    assert other.get(path).status_code == 404
