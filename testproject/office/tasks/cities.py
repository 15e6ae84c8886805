"""Where the cities of a member's contacts are: asked of a provider who takes two calls at once."""

from __future__ import annotations

from django_bgtasks import GiveUp, Limit, task

from ..geocoder import AT_ONCE, locate
from ..models import City


# One key for the whole site: whoever asks, the provider counts the calls of all.
@task(
    queue_name="default",
    limit=Limit("geocoder", at_once=AT_ONCE),
    dedup_key="city:{city_id}",
    timeout=60,
    label="{name}",
)
def find_city(city_id: int, name: str) -> dict[str, str]:
    """Ask where a city is, and keep the answer."""
    found = locate(name)
    if found is None:
        raise GiveUp(f"The provider knows no city of the name {name}.")
    City.objects.filter(pk=city_id).update(latitude=found[0], longitude=found[1])
    return {"position": City(latitude=found[0], longitude=found[1]).position}
