"""What the members of the site keep: pictures, imported contacts and reports."""

from __future__ import annotations

import uuid
from pathlib import PurePath

from django.conf import settings
from django.db import models
from django.urls import reverse


def stored_name(row: models.Model, filename: str) -> str:
    """Where an upload is kept: a name of our own; nothing of the user's but a harmless suffix."""
    suffix = PurePath(filename).suffix.lower()
    ending = suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 5 else ""
    return f"{row._meta.model_name}/{uuid.uuid4().hex}{ending}"


class Upload(models.Model):
    """A file of a member. The same content of the same member is one row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    digest = models.CharField("SHA-256", max_length=64)
    size = models.BigIntegerField()
    file = models.FileField(upload_to=stored_name)
    uploaded_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True
        ordering = ("-uploaded_at",)
        constraints = (
            models.UniqueConstraint(fields=("owner", "digest"), name="%(class)s_content_once"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def content_key(self) -> str:
        """The dedup key of the job for this content."""
        return f"{self.owner_id}:{self.digest}"

    @property
    def sequence(self) -> str:
        """The key of the sequence of all uploads of this member: one at a time, in their order."""
        return f"uploads:{self.owner_id}"


class Picture(Upload):
    """A picture, from which a job makes three sizes."""

    file = models.ImageField(upload_to=stored_name)

    def get_absolute_url(self) -> str:
        """The picture's page."""
        return reverse("office:picture", args=(self.pk,))


class PictureSize(models.Model):
    """One size of a picture, as a file of its own."""

    picture = models.ForeignKey(Picture, models.CASCADE, related_name="sizes")
    name = models.CharField(max_length=10)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    bytes = models.PositiveIntegerField()
    file = models.FileField()

    class Meta:
        ordering = ("width",)
        constraints = (
            models.UniqueConstraint(fields=("picture", "name"), name="picture_size_once"),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.width} × {self.height}"


class Album(Upload):
    """A zip of pictures. A workflow makes a thumbnail of each, a sheet of all, and a mail.

    workflow: the id of that workflow's batch.
    """

    workflow = models.UUIDField(null=True, blank=True, editable=False)
    sheet = models.FileField(blank=True)

    def get_absolute_url(self) -> str:
        """The album's page."""
        return reverse("office:album", args=(self.pk,))


class AlbumPicture(models.Model):
    """One file of an album's zip.

    entry: its path in the zip. replacement: what the member gave instead, if it could not be read.
    """

    album = models.ForeignKey(Album, models.CASCADE, related_name="pictures")
    entry = models.CharField(max_length=200)
    replacement = models.FileField(upload_to=stored_name, blank=True)
    thumbnail = models.FileField(blank=True)

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("album", "entry"), name="album_entry_once"),)

    def __str__(self) -> str:
        return PurePath(self.entry).name

    def get_absolute_url(self) -> str:
        """The page that shows it."""
        return self.album.get_absolute_url()


class Import(Upload):
    """A CSV file and how far its import has come; each chunk commits with its new offset."""

    offset = models.BigIntegerField(default=0)
    lines = models.PositiveIntegerField(default=0)
    rows = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    problems = models.JSONField(default=list)
    finished_at = models.DateTimeField(null=True, blank=True)

    def get_absolute_url(self) -> str:
        """The import's page."""
        return reverse("office:import", args=(self.pk,))


class Contact(models.Model):
    """One row of an imported file."""

    # The index below serves the foreign key too.
    source = models.ForeignKey(Import, models.CASCADE, related_name="contacts", db_index=False)
    name = models.CharField(max_length=200)
    email = models.CharField(max_length=254)
    company = models.CharField(max_length=200, blank=True)
    city = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering = ("id",)
        indexes = (models.Index(fields=("source", "id"), name="contact_source"),)

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


class City(models.Model):
    """A city of a member's contacts, and where it is: a job asks for that."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    name = models.CharField(max_length=100)
    latitude = models.FloatField(null=True, blank=True)
    longitude = models.FloatField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "cities"
        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=("owner", "name"), name="city_once"),)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The page that lists it."""
        return reverse("office:cities")

    @property
    def position(self) -> str:
        """Such as "45.76° N, 4.84° E"; empty until it is known."""
        if self.latitude is None or self.longitude is None:
            return ""
        north, east = "N" if self.latitude >= 0 else "S", "E" if self.longitude >= 0 else "W"
        return f"{abs(self.latitude):.2f}° {north}, {abs(self.longitude):.2f}° {east}"


class Report(models.Model):
    """A CSV and a PDF of all contacts of a member, made by one job."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job_id = models.UUIDField(unique=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    rows = models.PositiveIntegerField()
    csv = models.FileField()
    pdf = models.FileField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"Report of {self.created_at:%Y-%m-%d %H:%M}"

    def get_absolute_url(self) -> str:
        """The page that lists it."""
        return reverse("office:reports")


class Tally(models.Model):
    """How many of something the site has made in all."""

    name = models.CharField(max_length=20, unique=True)
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "tallies"
        ordering = ("name",)

    def __str__(self) -> str:
        return f"{self.count} {self.name}"
