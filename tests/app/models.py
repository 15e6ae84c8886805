"""The effects of the sample tasks. No migrations: the test database gets the table anyway."""

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
