"""The effects of the sample tasks. No migrations: the test database gets the table anyway."""

from django.db import models


class Note(models.Model):
    text = models.TextField()

    def __str__(self) -> str:
        return self.text
