"""Properties are tried on machines of any speed."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("bgtasks", deadline=None)
settings.load_profile("bgtasks")
