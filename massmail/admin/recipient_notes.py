"""What the list of a mailing's recipients says of each besides the delivery: VIP, and why it has its account."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.db.models import Min
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail.models import Delivery, Recipient

#: Content type and id of a host object.
Key = tuple[int, str]


def add_notes(rows: Sequence[Any]) -> None:
    """Note on each row, with its mailing, whether its recipient is a `vip`, and `why` it has its account.

    Two queries whatever the number of rows.
    """
    keys = {_key(row) for row in rows}
    standing = _standing(keys)
    accounts = {row.account_id for row in rows if getattr(row, "account_id", None)}
    first = _first_mails(keys, accounts) if accounts else {}
    for row in rows:
        row.vip, sticky = standing.get(_key(row), (False, None))
        row.why = _why(row, sticky, first) if getattr(row, "account_id", None) else ""


def _key(row: Any) -> Key:
    return row.mailing.content_type_id, row.object_id


def _standing(keys: set[Key]) -> dict[Key, tuple[bool, int | None]]:
    types, ids = {each for each, _id in keys}, {each for _type, each in keys}
    found = Recipient.objects.filter(content_type__in=types, object_id__in=ids)
    return {
        (content_type, object_id): (vip, account)
        for content_type, object_id, vip, account in found.values_list("content_type", "object_id", "vip", "account")
    }


def _first_mails(keys: set[Key], accounts: set[int]) -> dict[tuple[Key, int], dt.datetime]:
    """Return when each of `accounts` first wrote to each object."""
    sent = Delivery.objects.filter(object_id__in={each for _type, each in keys}, sent_at__isnull=False).order_by()
    rows = sent.filter(account__in=accounts).values_list("mailing__content_type", "object_id", "account")
    return {
        ((content_type, object_id), account): first
        for content_type, object_id, account, first in rows.annotate(mm_first=Min("sent_at"))
    }


def _why(row: Any, sticky: int | None, first: dict[tuple[Key, int], dt.datetime]) -> str:
    if row.account.main:
        return _("because VIP")
    began = first.get((_key(row), row.account_id))
    if began and began < (row.sent_at or timezone.now()):
        return _("wrote to them before")
    return _("first mail; stays with it") if sticky == row.account_id else ""
