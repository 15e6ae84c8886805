"""The forms of the site."""

from __future__ import annotations

from typing import Any, Self
from zoneinfo import available_timezones

from django import forms
from django.contrib.auth.forms import BaseUserCreationForm, PasswordResetForm
from django.contrib.auth.models import User

from django_bgtasks import Cron
from django_bgtasks.models import Schedule

from .tasks.emails import send_password_reset
from .weekdays import DAYS

MEGABYTE = 1024**2
HOURS = [(hour, f"{hour:02}:00") for hour in range(24)]


class SignUpForm(BaseUserCreationForm):  # type: ignore[type-arg]
    """A new account with an email address."""

    email = forms.EmailField(
        max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )

    class Meta:
        model = User
        fields = ("username", "email")


class BackgroundPasswordResetForm(PasswordResetForm):
    """Django's form; its email is a job that overtakes the others."""

    def send_mail(
        self,
        subject_template_name: str,
        email_template_name: str,
        context: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Enqueue the email. The secret token is made by the task: a job's arguments are kept."""
        site = f"{context['protocol']}://{context['domain']}"
        send_password_reset.enqueue(context["user"].pk, site)


class PictureForm(forms.Form):
    """One picture. Whether it can be read is for the job to say: decoding takes time."""

    file = forms.FileField(
        label="Picture",
        help_text="JPEG, PNG, WebP or GIF, up to 25 MB.",
        widget=forms.FileInput(attrs={"accept": "image/jpeg,image/png,image/webp,image/gif"}),
    )
    max_bytes = 25 * MEGABYTE

    def clean_file(self) -> Any:
        """Refuse what is too large."""
        file = self.cleaned_data["file"]
        if file.size > self.max_bytes:
            raise forms.ValidationError(
                f"The file has {file.size / MEGABYTE:.1f} MB; "
                f"at most {self.max_bytes // MEGABYTE} MB are taken."
            )
        return file


class AlbumForm(PictureForm):
    """One zip of pictures."""

    file = forms.FileField(
        label="Zip file",
        help_text="A zip of up to 200 pictures, each of up to 25 MB.",
        widget=forms.FileInput(attrs={"accept": ".zip,application/zip"}),
    )
    max_bytes = 500 * MEGABYTE


class ContactsForm(PictureForm):
    """One CSV file of contacts."""

    file = forms.FileField(
        label="CSV file",
        help_text="Columns name and email, and if you like company and city. UTF-8, up to 1 GB.",
        widget=forms.FileInput(attrs={"accept": ".csv,text/csv"}),
    )
    max_bytes = 1024 * MEGABYTE


class ReportScheduleForm(forms.Form):
    """On which day and at which hour a member wants their report, by the clock where they live."""

    day = forms.ChoiceField(choices=DAYS, initial="MON")
    hour = forms.TypedChoiceField(label="Time", choices=HOURS, coerce=int, initial=8)
    zone = forms.ChoiceField(
        label="Time zone",
        choices=lambda: [(name, name.replace("_", " ")) for name in sorted(available_timezones())],
        initial="UTC",
        help_text="Where the clocks change, the report comes at the same time of your day.",
    )

    @classmethod
    def of(cls, schedule: Schedule | None) -> Self:
        """The form as it was filled in before."""
        if schedule is None:
            form = cls()
            # The site's script chooses the zone of the visitor's machine.
            form.fields["zone"].widget.attrs["data-zone"] = ""
            return form
        _minute, hour, _, _, day = schedule.cron.split()
        return cls(initial={"day": day, "hour": int(hour), "zone": schedule.zone})

    def timing(self) -> Cron:
        """What a valid form says."""
        data = self.cleaned_data
        return Cron(f"0 {data['hour']} * * {data['day']}", zone=data["zone"])
