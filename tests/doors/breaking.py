"""A task whose statement the database refuses."""

from __future__ import annotations

from django.db import connection

from django_bgtasks import task
from tests.app.models import Note


@task
def break_the_database() -> None:
    Note.objects.create(text="before")
    with connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column FROM no_such_table")
