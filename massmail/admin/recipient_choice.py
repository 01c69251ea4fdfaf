"""Choosing one of a mailing's recipients, to see the mail as that one reads it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.http import HttpRequest

from massmail.admin import previews
from massmail.admin.places import page_url
from massmail.admin.recipient_lists import add_people, matching
from massmail.exceptions import CompositionError
from massmail.models import Delivery, Mailing

#: What fits under a field of a form.
SUGGESTED = 8


def suggestions(mailing: Mailing, term: str) -> list[dict[str, str]]:
    """Return the first recipients of `mailing` that `term` finds, as addresses with names."""
    if not term.replace("\x00", "").strip():
        return []
    found = list(_recipients(mailing).filter(matching(mailing, term)).order_by("address")[:SUGGESTED])
    add_people(found)
    return [{"address": each.address, "name": str(getattr(each, "person", None) or "")} for each in found]


def chosen_recipient(request: HttpRequest, mailing: Mailing) -> Delivery | None:
    """Return the recipient that `?as=…` names."""
    return find_recipient(mailing, request.GET.get("as", ""))


def find_recipient(mailing: Mailing, term: str) -> Delivery | None:
    """Return the recipient with the address `term`, else the first that its words find; None where there is none."""
    term = term.replace("\x00", "").strip()
    if not term:
        return None
    mine = _recipients(mailing)
    exact = mine.filter(address=term).first()
    return exact or mine.filter(matching(mailing, term)).order_by("address").first()


def shown_as(request: HttpRequest, site: AdminSite, mailing: Mailing) -> dict[str, Any]:
    """Return whose preview `?as=…` is, its subject and address; without "address" if nobody is found."""
    delivery = chosen_recipient(request, mailing)
    if delivery is None:
        return {}
    try:
        subject = previews.mailing_preview(mailing, delivery).subject
    except CompositionError as error:
        subject = str(error)
    address = page_url(site, Mailing, "preview", mailing.pk)
    return {
        "recipient": recipient_text(delivery),
        "subject": subject,
        "address": f"{address}?{urlencode({'as': delivery.address})}",
    }


def recipient_text(delivery: Delivery) -> str:
    """Return name and address, or what there is of them."""
    add_people([delivery])
    person = getattr(delivery, "person", None)
    return f"{person} <{delivery.address}>" if person else delivery.address


def _recipients(mailing: Mailing) -> Any:
    return Delivery.objects.filter(mailing=mailing).select_related("mailing__content_type", "version")
