"""A site's own backend on ours."""

from django_bgtasks.backend import RQBackend


class Subclass(RQBackend):
    """Nothing added."""
