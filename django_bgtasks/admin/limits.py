"""The admin of limits, sequences and rates: how each stands, and how many may run at once."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..core.labels import MAX_KEY
from ..core.limits import MAX_PLACES
from ..core.payload import fault_of
from ..ledger.lifecycle import ledger_database
from ..limits.actions import reset_limit, set_limit
from ..models import LimitOverride
from ..monitoring.limits import find_lanes, lane_figures
from ..monitoring.rates import find_rates, rate_figures
from . import formatting as show
from .history import history_of_limits
from .limit_panels import lane_row, rate_row
from .listing import ReadOnlyAdmin
from .transitions import actor_of

TEMPLATE = "admin/django_bgtasks/limit/change_list.html"
# As many of what people have said are listed.
OVERRIDES = 200


class KeyField(forms.CharField):
    """A key as it is: a space at its end is a part of it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strip=False, max_length=MAX_KEY, **kwargs)

    def validate(self, value: Any) -> None:
        """Also that each database can store it."""
        super().validate(value)
        if fault_of(value, MAX_KEY):
            raise forms.ValidationError(_("This is no key that a job can have."))


class LimitForm(forms.Form):
    """How many jobs of a key may run at once."""

    key = KeyField(
        label=gettext_lazy("Key"),
        help_text=gettext_lazy("Such as stripe:42; or only stripe, for all keys with this prefix."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    is_prefix = forms.BooleanField(
        label=gettext_lazy("For all keys with this prefix"), required=False
    )
    at_once = forms.IntegerField(
        label=gettext_lazy("At once"),
        min_value=0,
        max_value=MAX_PLACES,
        widget=forms.NumberInput(attrs={"class": "vIntegerField"}),
    )

    def clean(self) -> dict[str, Any]:
        """A prefix has no colon."""
        values: dict[str, Any] = super().clean() or self.cleaned_data
        if values.get("is_prefix") and ":" in values.get("key", ""):
            text = _("A prefix is what stands before the first colon: there is none in it.")
            self.add_error("key", text)
        return values


@admin.register(LimitOverride)
class LimitAdmin(ReadOnlyAdmin):
    """One page: the keys that are in use, those in which most jobs wait first, and what people have
    said of them. Who sees jobs sees it; to change a limit is a permission of its own.
    """

    def get_urls(self) -> list[URLPattern]:
        """The page, and where its forms go."""
        view = self.admin_site.admin_view
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("", view(self.changelist_view), name=f"{name}_changelist"),
            path("set/", view(self.set_view), name=f"{name}_set"),
            path("reset/", view(self.reset_view), name=f"{name}_reset"),
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The keys are those of jobs."""
        return self._may_see_jobs(request) or self.may_change(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: it is given back to the code, with an entry in the history."""
        return False

    def may_change(self, request: HttpRequest) -> bool:
        """Whether this user may change limits."""
        return bool(request.user.has_perm("django_bgtasks.change_limit"))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self._page(request, LimitForm(), **(extra_context or {}))

    def set_view(self, request: HttpRequest) -> HttpResponse:
        """Change how many may run at once; the key is in the address, or in the form."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may_change(request):
            raise PermissionDenied
        form = LimitForm({**request.GET.dict(), **request.POST.dict()})
        if not form.is_valid():
            return self._page(request, form)
        values = form.cleaned_data
        set_limit(
            values["key"], values["at_once"], prefix=values["is_prefix"], by=actor_of(request.user)
        )
        messages.success(request, _set_text(values))
        return HttpResponseRedirect(self._list_url(request))

    def reset_view(self, request: HttpRequest) -> HttpResponse:
        """Let the code say again how many of the key in the address may run at once."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may_change(request):
            raise PermissionDenied
        form = LimitForm({**request.GET.dict(), "at_once": "0"})
        if form.is_valid():
            key, prefix = form.cleaned_data["key"], form.cleaned_data["is_prefix"]
            if reset_limit(key, prefix=prefix, by=actor_of(request.user)):
                text = _("The code says again how many jobs of %s run at once.")
                messages.success(request, text % _name_of(key, prefix))
        return HttpResponseRedirect(self._list_url(request))

    def _page(self, request: HttpRequest, form: LimitForm, **extra: Any) -> HttpResponse:
        using, site = ledger_database(), self.admin_site.name
        search = request.GET.get("q", "").strip().replace("\0", "")
        found = find_lanes(using, search)
        page = Paginator(found.keys, self.list_per_page).get_page(request.GET.get("p"))
        sees_jobs = self._may_see_jobs(request)
        rows = [lane_row(lane, site, sees_jobs) for lane in lane_figures(list(page), using)]
        found_rates = find_rates(using, search)
        keys = found_rates.keys[: self.list_per_page]
        for row in rows:
            row.update(self._addresses(request, row["key"], False))
        request.current_app = site
        context = {
            **self.page_context(request, _("Limits")),
            "rows": rows,
            "page": page,
            "is_more": found.is_more,
            "rates": [rate_row(rate) for rate in rate_figures(keys, using)],
            "rates_are_more": found_rates.is_more or len(found_rates.keys) > len(keys),
            "search": search,
            "overrides": self._overrides(request, search, using),
            "may_change": self.may_change(request),
            "form": form,
            "set_url": self._url(request, "set"),
            "list_url": self._url(request, "changelist"),
            "bgtasks_history": history_of_limits(),
            "largest": MAX_PLACES,
            **extra,
        }
        return TemplateResponse(request, TEMPLATE, context)

    def _overrides(self, request: HttpRequest, search: str, using: str) -> list[dict[str, Any]]:
        rows = LimitOverride.objects.using(using).order_by("key", "is_prefix")
        rows = rows.filter(key__icontains=search) if search else rows
        return [
            {
                "key": _name_of(row.key, row.is_prefix),
                "at_once": row.at_once,
                "by": row.by,
                "when": show.ago(row.changed_at),
                **self._addresses(request, row.key, row.is_prefix),
            }
            for row in rows[:OVERRIDES]
        ]

    def _addresses(self, request: HttpRequest, key: str, prefix: bool) -> dict[str, str]:
        """Where the forms of a key go. It is in the address: a browser changes line breaks in what
        it sends.
        """
        of_prefix = {"is_prefix": "on"} if prefix else {}
        chosen = {name: request.GET[name] for name in ("q", "p") if request.GET.get(name)}
        query = urlencode({"key": key, **of_prefix, **chosen})
        return {name: f"{self._url(request, name)}?{query}" for name in ("set", "reset")}

    def _list_url(self, request: HttpRequest) -> str:
        chosen = {name: request.GET[name] for name in ("q", "p") if request.GET.get(name)}
        url = self._url(request, "changelist")
        return f"{url}?{urlencode(chosen)}" if chosen else url

    def _url(self, request: HttpRequest, name: str) -> str:
        full = f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"
        return reverse(full, current_app=self.admin_site.name)

    def _may_see_jobs(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("django_bgtasks.view_job"))


def _name_of(key: str, prefix: bool) -> str:
    return f"{key}:*" if prefix else key


def _set_text(values: dict[str, Any]) -> str:
    key, number = _name_of(values["key"], values["is_prefix"]), values["at_once"]
    if not number:
        return _("No job of %s begins from now on.") % key
    text = ngettext(
        "At most %(number)d job of %(key)s runs at once from now on.",
        "At most %(number)d jobs of %(key)s run at once from now on.",
        number,
    )
    return text % {"number": number, "key": key}
