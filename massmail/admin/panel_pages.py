"""The block "Mailings" on the host's change page, and what its buttons do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import Media
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from massmail.admin.owned import VIEW_ALL
from massmail.admin.panel import MOST, Person, deliveries, panel, read
from massmail.admin.places import page_url
from massmail.choices import SuppressionReason
from massmail.engine.lanes import set_vip
from massmail.engine.window import local_day
from massmail.models import MassmailSettings, Suppression
from massmail.outcomes import lift, skip_by_hand, subscribe_again, unsubscribe_by_hand
from massmail.recipient_types import find_type

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    Base = object


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the user is told afterwards."""

    text: str
    level: int = messages.SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What a button does; `confirmed` where a page asks first who wanted it."""

    permission: str
    run: Callable[[HttpRequest, Person], Said]
    confirmed: bool = False


class ReasonForm(forms.Form):
    why = forms.CharField(
        label=gettext_lazy("Reason"), max_length=500, widget=forms.TextInput(attrs={"class": "vTextField"})
    )


def _skip(request: HttpRequest, person: Person) -> Said:
    key = request.POST.get("delivery", "")
    mine = deliveries(person)
    if not request.user.is_superuser:
        mine = mine.filter(mailing__owner=request.user.pk)
    delivery = mine.filter(pk=key).first() if key.isascii() and key.isdigit() and len(key) < 19 else None
    if delivery is None:
        raise Http404(_("There is no such page."))
    today = local_day(timezone.now(), MassmailSettings.load().zone)
    if skip_by_hand(delivery, by=request.user, day=today):
        return Said(text=_("“%(mailing)s” will not be sent to this recipient.") % {"mailing": delivery.mailing})
    text = _("“%(mailing)s” can't be skipped any more: it is being sent, or over.") % {"mailing": delivery.mailing}
    return Said(text=text, level=messages.WARNING)


def _vip(request: HttpRequest, person: Person, *, vip: bool) -> Said:
    objects = person.recipient_type.model_class._default_manager.filter(pk=person.obj.pk)
    set_vip(objects, vip=vip, by=request.user)
    text = _("“%(recipient)s” is marked as VIP.") if vip else _("“%(recipient)s” is no VIP any more.")
    return Said(text=text % {"recipient": person.obj})


def _unsubscribe(request: HttpRequest, person: Person) -> Said:
    unsubscribe_by_hand(person.obj, person.addresses, by=request.user)
    return Said(text=_("“%(recipient)s” is unsubscribed and gets no more mailings.") % {"recipient": person.obj})


def _subscribe(request: HttpRequest, person: Person) -> Said:
    subscribe_again(person.obj, person.addresses, by=request.user, why=request.POST["why"])
    return Said(text=_("“%(recipient)s” is subscribed again.") % {"recipient": person.obj})


def _lift(request: HttpRequest, person: Person) -> Said:
    for suppression in _refusals(person):
        lift(suppression, by=request.user, why=request.POST["why"])
    return Said(text=_("The addresses of “%(recipient)s” may be mailed again.") % {"recipient": person.obj})


def _refusals(person: Person) -> QuerySet[Suppression]:
    """Return the suppressions of a person's addresses that nobody asked for: they bounced, or were entered."""
    mine = Suppression.objects.filter(address__in=person.addresses)
    return mine.exclude(reason=SuppressionReason.UNSUBSCRIBED)


STANDING = "massmail.change_recipient"
DEEDS: dict[str, Deed] = {
    "skip": Deed(permission="massmail.change_mailing", run=_skip),
    "vip": Deed(permission=STANDING, run=lambda request, person: _vip(request, person, vip=True)),
    "unvip": Deed(permission=STANDING, run=lambda request, person: _vip(request, person, vip=False)),
    "unsubscribe": Deed(permission=STANDING, run=_unsubscribe),
    "subscribe": Deed(permission=STANDING, run=_subscribe, confirmed=True),
    "lift": Deed(permission="massmail.delete_suppression", run=_lift, confirmed=True),
}


class HostPanel(Base):
    """The part of `MassmailAdminMixin` that shows the mailings of a host object on its page.

    The panel stands below whatever template the page would have had. With `massmail_panel = False` it stands where the
    host's own template says `{% include "massmail/admin/panel.html" %}`, which must be outside of the page's form.
    Owners see the panel of their recipients and press its buttons, holders of `massmail.view_all` look on.
    """

    massmail_panel: bool = True

    @property
    def media(self) -> Media:
        return super().media + Media(css={"all": ["massmail/admin.css", "massmail/host.css"]})

    def get_urls(self) -> list[Any]:
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_massmail"
        view, history = self.admin_site.admin_view(self.massmail_deed_view), self.massmail_history_view
        deeds = [
            path(f"<path:object_id>/massmail/{deed}/", view, {"deed": deed}, name=f"{prefix}_{deed}") for deed in DEEDS
        ]
        return [
            *deeds,
            path("<path:object_id>/massmail/", self.admin_site.admin_view(history), name=prefix),
            *super().get_urls(),
        ]

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        person = self._massmail_person(request, obj) if obj is not None and not _in_popup(request) else None
        if person is None:
            return super().render_change_form(request, context, add, change, form_url, obj)
        context.update(self._massmail_context(request, person))
        response = super().render_change_form(request, context, add, change, form_url, obj)
        if self.massmail_panel and isinstance(response, TemplateResponse) and response.context_data is not None:
            response.context_data["massmail_host_page"] = response.resolve_template(response.template_name)
            response.template_name = "massmail/admin/host_change_form.html"
        return response

    def massmail_history_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show all mailings of a host object."""
        person = self._massmail_found(request, object_id)
        context = {**self._massmail_page(request, person, _("Mailings")), **self._massmail_context(request, person)}
        context["massmail_panel"] = panel(request, self.admin_site, person, limit=MOST)
        return TemplateResponse(request, "massmail/admin/host_history.html", context)

    def massmail_deed_view(self, request: HttpRequest, object_id: str, deed: str) -> HttpResponse:
        """Do what a button of the panel says: by POST, if the recipient's owner or a superuser may."""
        chosen = DEEDS[deed]
        person = self._massmail_found(request, object_id)
        if not (self._massmail_owns(request, person) and request.user.has_perm(chosen.permission)):
            raise PermissionDenied
        if request.method != "POST" and not (chosen.confirmed and request.method == "GET"):
            return HttpResponseNotAllowed(["GET", "POST"] if chosen.confirmed else ["POST"])
        form = ReasonForm(request.POST or None)
        if chosen.confirmed and not form.is_valid():
            return self._massmail_ask(request, person, deed, form)
        said = chosen.run(request, person)
        self.message_user(request, said.text, said.level)
        return HttpResponseRedirect(self._massmail_url(request, "change", person) + "#massmail-panel")

    def _massmail_ask(self, request: HttpRequest, person: Person, deed: str, form: ReasonForm) -> HttpResponse:
        titles = {"subscribe": _("Subscribe again"), "lift": _("Lift the suppression")}
        form.fields["why"].help_text = {
            "subscribe": _(
                "Kept in the log, as the evidence. For example: called on 3 May and asked for the newsletter."
            ),
            "lift": _("Kept in the log. For example: wrote to us from this address on 3 May."),
        }[deed]
        context = {
            **self._massmail_page(request, person, titles[deed]),
            "form": form,
            "deed": deed,
            "suppressions": _refusals(person) if deed == "lift" else (),
        }
        return TemplateResponse(request, "massmail/admin/host_confirm.html", context)

    def _massmail_page(self, request: HttpRequest, person: Person, title: str) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "subtitle": str(person.obj),
            "original": person.obj,
            "opts": self.opts,
            "media": self.media,
            "change_url": self._massmail_url(request, "change", person),
            "list_url": page_url(self.admin_site, self.model, "changelist"),
        }

    def _massmail_context(self, request: HttpRequest, person: Person) -> dict[str, Any]:
        """Return what the template of the panel needs: the panel itself only if it is shown, and the buttons' URLs."""
        owns = self._massmail_owns(request, person)
        return {
            "massmail_panel": SimpleLazyObject(lambda: panel(request, self.admin_site, person)),
            "massmail_all_url": self._massmail_url(request, "massmail", person),
            "massmail_urls": {
                deed: self._massmail_url(request, f"massmail_{deed}", person)
                for deed, chosen in DEEDS.items()
                if owns and request.user.has_perm(chosen.permission)
            },
        }

    def _massmail_url(self, request: HttpRequest, page: str, person: Person) -> str:
        """Return the address of a page of the object; it keeps the filters of the list that one came from."""
        filters = self.get_preserved_filters(request)
        return page_url(self.admin_site, self.model, page, person.obj.pk) + (f"?{filters}" if filters else "")

    def _massmail_found(self, request: HttpRequest, object_id: str) -> Person:
        """Return the host object of an address; raise `Http404` where the user may not see its panel."""
        obj = self.get_object(request, unquote(object_id))
        person = self._massmail_person(request, obj) if obj and self.has_view_permission(request, obj) else None
        if person is None:
            raise Http404(_("There is no such page."))
        return person

    def _massmail_person(self, request: HttpRequest, obj: Any) -> Person | None:
        """Return the host object if its panel may be seen: by its owner, and by those who see everybody's mailings."""
        user = request.user
        if find_type(self.model) is None or not (user.has_perm("massmail.view_mailing") or user.has_perm(VIEW_ALL)):
            return None
        person = read(obj)
        return person if user.has_perm(VIEW_ALL) or person.owner_id == user.pk else None

    def _massmail_owns(self, request: HttpRequest, person: Person) -> bool:
        return request.user.is_superuser or person.owner_id == request.user.pk


def _in_popup(request: HttpRequest) -> bool:
    return IS_POPUP_VAR in request.GET or IS_POPUP_VAR in request.POST
