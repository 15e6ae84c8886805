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
    """Create the account and enqueue its welcome email, in one transaction: both or neither."""
    if request.method != "POST":
        return render(request, TEMPLATE, {"form": SignUpForm()})
    form = SignUpForm(request.POST)
    user, result = registered(request, form)
    if user is None or result is None:
        return refuse(request, TEMPLATE, form)
    login(request, user)
    return answer(request, result)


def registered(
    request: HttpRequest, form: SignUpForm
) -> tuple[User | None, JobResult[dict[str, str]] | None]:
    """The new member and the job of the welcome email; None for a form that is not valid."""
    try:
        with transaction.atomic():
            user = form.save() if form.is_valid() else pressed_again(request)
            result = user and send_welcome_email.using(owner=user, about=user).enqueue(user.pk)
    except IntegrityError:  # another press of the button was faster
        user = pressed_again(request)
        result = user and send_welcome_email.using(owner=user, about=user).enqueue(user.pk)
    return user, result


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
