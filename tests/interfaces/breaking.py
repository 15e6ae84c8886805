"""Tasks whose statements the database refuses."""

from __future__ import annotations

from django.db import connection

from django_bgtasks import task
from tests.app.models import Note


@task
def ask_for_what_is_not_there() -> None:
    Note.objects.create(text="before")
    with connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column FROM no_such_table")


@task
def write_twice() -> None:
    Note.objects.create(pk=1, text="first")
    Note.objects.create(pk=1, text="second")
