"""The cities of a member's contacts, and having them found."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from django_bgtasks import refuse_when_full

from ..answers import member
from ..models import City, Contact
from ..tasks.cities import find_city
from .jobs import latest_jobs

MOST = 40


@login_required
@refuse_when_full
def cities(request: HttpRequest) -> HttpResponse:
    """List the member's cities, or have those found of which nobody knows where they are."""
    owner = member(request)
    if request.method != "POST":
        rows = list(City.objects.filter(owner=owner)[:MOST])
        jobs = latest_jobs(rows)
        context = {"cities": [(city, jobs.get(city.pk)) for city in rows]}
        return render(request, "office/cities.html", context)
    with transaction.atomic():
        for city in unknown(owner):
            find_city.using(owner=owner, about=city).enqueue(city.pk, city.name)
    return redirect("office:cities")


def unknown(owner: User) -> list[City]:
    """The rows of the cities of this member's contacts that were not found yet."""
    names = Contact.objects.filter(source__owner=owner).exclude(city="").values_list("city")
    found = [City(owner=owner, name=name) for (name,) in names.distinct().order_by("city")[:MOST]]
    City.objects.bulk_create(found, ignore_conflicts=True)
    return list(City.objects.filter(owner=owner, latitude=None))
