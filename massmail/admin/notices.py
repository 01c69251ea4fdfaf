"""Holds as people read them: what is the matter, what helps, and the page on which it is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from massmail.admin.places import link_to, page_url
from massmail.choices import HoldReason
from massmail.engine.holds import Hold
from massmail.models import EmailAccount, LeftOut, Mailing

#: Where the machine's state stands on the app's index.
MACHINE = "massmail-machine"
#: Where on a mailing's own page these are ended; the others are in its form.
BY_BUTTON = (HoldReason.DRAFT, HoldReason.PAUSED, HoldReason.START_AT, HoldReason.NO_TYPE)
#: Where on an account's own page these are ended if it logs in by OAuth2.
BY_CONNECTING = (HoldReason.SECRET_LOST, HoldReason.ACCOUNT_HELD)
#: What ends with another account for mailing.
WANTS_ACCOUNT = (HoldReason.NO_ACCOUNT, HoldReason.ONLY_MAIN_ACCOUNT)
#: What only those who run the site can mend. The machine's state says more of it.
WANTS_DEPLOYER = (HoldReason.NO_PUBLIC_URL, HoldReason.NO_HEARTBEAT, HoldReason.NO_SCHEDULE, HoldReason.NO_WORKER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that keeps mail from leaving, with what to do and the page to do it on."""

    text: str
    remedy: str
    url: str


def notice_of(request: HttpRequest, site: AdminSite, hold: Hold, *, here: Model | None = None) -> Notice:
    """Return `hold` for the user of a page that is about `here`; without a link where the user may not follow it."""
    url = _remedy_url(request, site, hold, here) if hold.remedy else ""
    text = hold.detail or _("%(reason)s.") % {"reason": hold.reason.label}
    return Notice(text=text, remedy=hold.remedy, url=url)


def without_repeating(notices: Iterable[Notice]) -> list[Notice]:
    """Return `notices`, with a remedy that helps against several of them at the first only."""
    told: set[str] = set()
    found = []
    for notice in notices:
        found.append(replace(notice, remedy="", url="") if notice.remedy in told else notice)
        told.add(notice.remedy)
    return found


def _remedy_url(request: HttpRequest, site: AdminSite, hold: Hold, here: Model | None) -> str:
    if hold.reason in WANTS_ACCOUNT:
        return _list_of_accounts(request, site)
    if hold.reason in WANTS_DEPLOYER and hold.about is None:
        return _state_of_the_machine(request, site)
    if hold.reason == HoldReason.UNDELIVERABLE:
        return _deliverability(request, site, hold.about)
    if hold.reason == HoldReason.NO_RECIPIENTS and hold.about is not None:
        query = urlencode({"mailing__id__exact": hold.about.pk})
        return f"{page_url(site, LeftOut, 'changelist')}?{query}"
    if hold.about is None or hold.about != here:
        return link_to(request, site, hold.about)
    return _anchor(hold, here)


def _anchor(hold: Hold, here: Any) -> str:
    """Return where on its own page something is mended."""
    if isinstance(here, Mailing) and hold.reason in BY_BUTTON:
        return "#massmail-operations"
    if hold.reason == HoldReason.NO_MESSAGE:
        return "#id_message"
    if hold.reason == HoldReason.ACCOUNT_OFF:
        return "#id_massmail"
    if isinstance(here, EmailAccount) and here.oauth_provider and hold.reason in BY_CONNECTING:
        return "#massmail-connection"
    return f"#{here._meta.model_name}_form"


def _deliverability(request: HttpRequest, site: AdminSite, account: Model | None) -> str:
    if account is None or not link_to(request, site, account):
        return ""
    return page_url(site, account, "deliverability", account.pk)


def _list_of_accounts(request: HttpRequest, site: AdminSite) -> str:
    model_admin = site._registry.get(EmailAccount)
    if model_admin is None or not model_admin.has_view_permission(request):
        return ""
    return page_url(site, EmailAccount, "changelist")


def _state_of_the_machine(request: HttpRequest, site: AdminSite) -> str:
    if not request.user.is_superuser:
        return ""
    return f"{reverse('admin:app_list', args=['massmail'], current_app=site.name)}#{MACHINE}"
