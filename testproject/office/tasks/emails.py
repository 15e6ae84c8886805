"""The emails of the site."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.tokens import default_token_generator
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from django_bgtasks import JobContext, Retry, once, task

from ..mail import send_now

SENDING = Retry(max_attempts=5, delays=[10, 60, 300, 900])


@task(
    queue_name="emails",
    dedup_key="welcome:{user_id}",
    timeout=30,
    retry=SENDING,
)
def send_welcome_email(user_id: int) -> dict[str, str]:
    """Welcome a new member, once.

    The dedup key joins the presses of the button while the job is live. The key of `once` is the
    member's and not the job's: it holds when a later press makes another job.
    """
    return {"to": once(f"welcome:{user_id}", welcome, user_id)}


def welcome(user_id: int) -> str:
    """Send the email and return the address it went to."""
    user = User.objects.get(pk=user_id)
    key = f"welcome-{user_id}"
    send_now("welcome", {"user": user, "site": settings.SITE_URL}, user.email, key)
    return user.email


@task(
    queue_name="emails",
    priority=50,
    dedup_key="password-reset:{user_id}",
    dedup_scope=timedelta(minutes=1),
    timeout=30,
    retry=SENDING,
    takes_context=True,
)
def send_password_reset(context: JobContext, user_id: int, site: str) -> dict[str, str]:
    """Send a link to set a new password. Someone waits for it: it overtakes other emails.

    One a minute for each member, however often the form is sent.
    """
    return {"to": context.once("send", reset, user_id, site, context.idempotency_key)}


def reset(user_id: int, site: str, key: str) -> str:
    """Send the email with a fresh token and return the address it went to."""
    user = User.objects.get(pk=user_id)
    link = {
        "user": user,
        "site": site,
        "uid": urlsafe_base64_encode(force_bytes(user.pk)),
        "token": default_token_generator.make_token(user),
    }
    send_now("password_reset", link, user.email, key)
    return user.email
