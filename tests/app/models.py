"""The effects of the sample tasks. No migrations: the test database gets the table anyway."""

from uuid import uuid4

from django.db import models


class Note(models.Model):
    text = models.TextField()

    def __str__(self) -> str:
        return self.text


class Move(models.Model):
    """A change of a job's state, written by a trigger of the database itself; see tests/faults."""

    job = models.UUIDField()
    old = models.CharField(max_length=10)
    new = models.CharField(max_length=10)
    claims = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.job} {self.old} -> {self.new} ({self.claims})"


class Leaf(models.Model):
    """A row with a long key."""

    name = models.CharField(primary_key=True, max_length=300)

    def __str__(self) -> str:
        return self.name


class Letter(Note):
    """A row in two tables."""

    sender = models.CharField(max_length=50)


class Memo(Note):
    """The same rows by another class."""

    class Meta:
        proxy = True


class Parcel(models.Model):
    """A row whose key is no number. The manager leaves out those that are hidden."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    hidden = models.BooleanField(default=False)

    class Shown(models.Manager["Parcel"]):
        def get_queryset(self) -> models.QuerySet["Parcel"]:
            return super().get_queryset().filter(hidden=False)

    objects = Shown()

    def __str__(self) -> str:
        return "a parcel"


class Day(models.Model):
    """A row whose key is a date."""

    date = models.DateField(primary_key=True)

    def __str__(self) -> str:
        return str(self.date)


class Seat(models.Model):
    """A row with a key of two fields."""

    pk = models.CompositePrimaryKey("row", "number")
    row = models.CharField(max_length=5)
    number = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.row}{self.number}"
