"""How the pages name jobs and what they show of them."""

from __future__ import annotations

from typing import Any

from django import template

from django_bgtasks.models import Attempt, Job, Schedule

from ..weekdays import DAYS

register = template.Library()

TITLES = {
    "make_sizes": "Make picture sizes",
    "import_contacts": "Import contacts",
    "build_report": "Build a report",
    "find_city": "Find a city",
    "unpack": "Unpack an album",
    "make_thumbnail": "Make a thumbnail",
    "make_sheet": "Make a contact sheet",
    "mail_sheet": "Mail a contact sheet",
    "send_welcome_email": "Send the welcome email",
    "send_password_reset": "Send a password reset",
    "deliver_email": "Deliver an email",
    "add_to_tally": "Count",
    "send_summary": "Send the summary of a day",
}


@register.filter
def title_of(job: Job) -> str:
    """What the job does, in words."""
    name = job.task.rpartition(".")[2]
    return TITLES.get(name, name.replace("_", " ").capitalize())


@register.filter
def state_of(job: Job) -> str:
    """Where the job stands, in a word; the site's script says the same."""
    return "waiting" if job.state == "blocked" else job.state


@register.filter
def failure_of(job: Job) -> str:
    """Why the job failed, in words for its owner; the admin has all of it."""
    return in_words(job.error_code, job.error_params)


@register.filter
def explained(attempt: Attempt) -> str:
    """Why the attempt failed, in words for the job's owner."""
    return in_words(attempt.code, attempt.params)


def in_words(code: str, params: dict[str, str] | None) -> str:
    """What the task meant for people; other errors may name paths and addresses."""
    if code == "give_up" and params:
        return params["words"]
    late = code in ("timeout", "timeout_killed")
    return "It took too long." if late else "Something went wrong on our side."


@register.filter
def made_by(job: Job) -> str:
    """What the job made, in a line."""
    result = job.result if isinstance(job.result, dict) else {}
    if "sizes" in result:
        return f"{len(result['sizes'])} sizes: {', '.join(result['sizes'])}"
    if "contacts" in result:
        skipped = result["skipped"]
        lines = f", {skipped:,} line{'' if skipped == 1 else 's'} skipped" if skipped else ""
        return f"{result['contacts']:,} contacts{lines}"
    if "position" in result:
        return str(result["position"])
    if "to" in result:
        return f"mail to {result['to']}"
    if "csv_bytes" in result:
        return f"CSV {size(result['csv_bytes'])}, PDF {size(result['pdf_bytes'])}"
    return made_of_album(result) or sent_by(job)


def made_of_album(result: dict[str, Any]) -> str:
    """What a step of an album's workflow made."""
    words = {
        "pictures": "{} pictures",
        "pixels": "a thumbnail of {}",
        "on_sheet": "a sheet of {} pictures",
    }
    return next((text.format(result[name]) for name, text in words.items() if name in result), "")


def sent_by(job: Job) -> str:
    """Where an email of the site's own mailer went, and how a tally moved."""
    if job.state == "succeeded" and "message" in job.kwargs:
        return f"mail to {', '.join(job.kwargs['message']['to'])}"
    if job.state == "succeeded" and job.task.endswith(".add_to_tally"):
        name, amount = job.args
        return f"{name} +{amount:,}"
    return ""


def size(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 10**6:.1f} MB" if count >= 10**6 else f"{max(1, count // 1000)} kB"


@register.filter
def words_of(schedule: Schedule) -> str:
    """When a member's report comes, as they have chosen it."""
    _minute, hour, _, _, day = schedule.cron.split()
    days = dict(DAYS)[day].replace("Every day", "day")
    return f"every {days} at {int(hour):02}:00, {schedule.zone.replace('_', ' ')}"
