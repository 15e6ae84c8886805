"""The tests' site with the pages of testproject, for a server in a process of its own."""

from __future__ import annotations

from typing import Any

import django

from tests import settings as base

# Unfold's own scripts do not work under the strict policy.
POLICY = [] if base.WITH_UNFOLD else ["testproject.middleware.content_security_policy"]
SITE: dict[str, Any] = {
    "ROOT_URLCONF": "testproject.urls",
    "LOGIN_URL": "office:login",
    "LOGIN_REDIRECT_URL": "office:home",
    "FILE_UPLOAD_HANDLERS": ["testproject.office.uploads.HashingUploadHandler"],
    "FILE_UPLOAD_TEMP_DIR": base.DIR,
    "MIDDLEWARE": [*base.MIDDLEWARE, *POLICY],
}

# What its tasks send is kept in the memory of the worker.
LOCMEM = "django.core.mail.backends.locmem.EmailBackend"
if django.VERSION >= (6, 1):
    SITE["MAILERS"] = {name: {"BACKEND": LOCMEM} for name in ("default", "direct")}
else:
    SITE |= {"EMAIL_BACKEND": LOCMEM, "BGTASKS_EMAIL_BACKEND": LOCMEM}

globals().update({name: getattr(base, name) for name in dir(base) if name.isupper()})
globals().update(SITE)
