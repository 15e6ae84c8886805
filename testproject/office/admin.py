"""The site's rows in the admin: to look at; jobs make them."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from .models import (
    Album,
    AlbumPicture,
    City,
    Contact,
    Import,
    Picture,
    PictureSize,
    Report,
    Tally,
)


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that people read and delete, and that only the site writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Nobody changes."""
        return False


class SizesInline(admin.TabularInline):  # type: ignore[type-arg]
    """The sizes of a picture, on its page."""

    model = PictureSize
    extra = 0
    can_delete = False


@admin.register(Picture)
class PictureAdmin(ReadOnlyAdmin):
    """Pictures with their sizes."""

    list_display = ("name", "owner", "size", "uploaded_at")
    list_select_related = ("owner",)
    search_fields = ("name", "digest")
    inlines = (SizesInline,)


class AlbumPicturesInline(admin.TabularInline):  # type: ignore[type-arg]
    """The pictures of an album, on its page."""

    model = AlbumPicture
    extra = 0
    can_delete = False


@admin.register(Album)
class AlbumAdmin(ReadOnlyAdmin):
    """Albums with their pictures."""

    list_display = ("name", "owner", "size", "uploaded_at")
    list_select_related = ("owner",)
    search_fields = ("name", "digest")
    inlines = (AlbumPicturesInline,)


@admin.register(Import)
class ImportAdmin(ReadOnlyAdmin):
    """Imported files."""

    list_display = ("name", "owner", "size", "rows", "skipped", "finished_at")
    list_select_related = ("owner",)
    search_fields = ("name", "digest")


@admin.register(Contact)
class ContactAdmin(ReadOnlyAdmin):
    """Contacts; there may be millions, so nothing here counts them all."""

    list_display = ("name", "email", "company", "city")
    search_fields = ("=email",)
    show_full_result_count = False


@admin.register(City)
class CityAdmin(ReadOnlyAdmin):
    """Cities of contacts."""

    list_display = ("name", "owner", "position")
    list_select_related = ("owner",)


@admin.register(Report)
class ReportAdmin(ReadOnlyAdmin):
    """Reports."""

    list_display = ("__str__", "owner", "rows", "job_id")
    list_select_related = ("owner",)


@admin.register(Tally)
class TallyAdmin(ReadOnlyAdmin):
    """The figures of the home page."""

    list_display = ("name", "count")
