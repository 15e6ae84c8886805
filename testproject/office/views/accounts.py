"""Signing up, and asking for a new password."""

from __future__ import annotations

from django.contrib.auth import authenticate, login
from django.contrib.auth.models import User
from django.contrib.auth.views import PasswordResetView
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from django_bgtasks import JobResult, refuse_when_full

from ..answers import answer, refuse
from ..forms import BackgroundPasswordResetForm, SignUpForm
from ..tasks.emails import send_welcome_email

TEMPLATE = "office/accounts/sign_up.html"


@sensitive_post_parameters("password1", "password2")
@refuse_when_full
def sign_up(request: HttpRequest) -> HttpResponse:
    """Create the account and send a welcome email in the background."""
    if request.method != "POST":
        return render(request, TEMPLATE, {"form": SignUpForm()})
    for _ in range(2):  # a second look, for another press of the button may be faster
        form = SignUpForm(request.POST)
        user = newcomer(form) or pressed_again(request)
        if user is None:
            break
        if result := welcomed(user):
            login(request, user)
            return answer(request, result)
    return refuse(request, TEMPLATE, form)


def newcomer(form: SignUpForm) -> User | None:
    """The member that a valid form describes, with the password hashed, not yet saved."""
    # Not saved here, because hashing takes its time and a transaction should not.
    return form.save(commit=False) if form.is_valid() else None


def welcomed(user: User) -> JobResult[dict[str, str]] | None:
    """Save the account and enqueue its email: both or neither. None if the name is taken by now."""
    try:
        with transaction.atomic():
            if user._state.adding:
                user.save()
            return send_welcome_email.using(owner=user, about=user).enqueue(user.pk)
    except IntegrityError:
        return None


def pressed_again(request: HttpRequest) -> User | None:
    """The member whose sign-up form this is once more: same name, email and password."""
    name, password = request.POST.get("username"), request.POST.get("password1")
    user = authenticate(request, username=name, password=password)
    same = isinstance(user, User) and user.email == request.POST.get("email")
    return user if same and isinstance(user, User) else None


@method_decorator(refuse_when_full, name="dispatch")
class PasswordReset(PasswordResetView):
    """Django's view with its email in the background.

    It never leads to the job: the answer must be the same whether the address is known or not.
    """

    form_class = BackgroundPasswordResetForm
    template_name = "office/accounts/password_reset.html"
    success_url = reverse_lazy("office:password_reset_done")
