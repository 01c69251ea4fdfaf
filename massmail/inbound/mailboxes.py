"""Who reads a mailbox, when again, and what is wrong with it: the only writer of `Mailbox`."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.models import Exists, ExpressionWrapper, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from massmail.models import AccountDay, EmailAccount, Mailbox

#: Seconds one reading may take, and how long nobody else may begin: a reader that was killed is waited for no longer.
PATIENCE = 240.0
LEASE = dt.timedelta(seconds=PATIENCE + 60)
#: How long a mailbox is left alone after so many failures in a row.
RESTS = tuple(dt.timedelta(minutes=minutes) for minutes in (2, 5, 15, 60))
#: The same after a refused login: providers lock accounts that try again and again.
REFUSED_RESTS = tuple(dt.timedelta(hours=hours) for hours in (1, 4, 12))
#: Accounts that sent within so many days are read although they send no more: bounces take up to five days.
AFTERWARDS = dt.timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a mailbox is not read, when it is tried again, and what to do."""

    text: str
    until: dt.datetime | None
    remedy: str


def rest(failures: int, *, refused: bool) -> dt.timedelta:
    """Return how long to leave a mailbox alone after `failures` in a row, at least one."""
    rests = REFUSED_RESTS if refused else RESTS
    return rests[min(failures, len(rests)) - 1]


def due(*, now: dt.datetime) -> list[int]:
    """Return the accounts whose mail is to be read now: those that send, or sent lately, or import requests."""
    sent_lately = AccountDay.objects.filter(account=OuterRef("pk"), date__gte=(now - AFTERWARDS).date(), used__gt=0)
    wanted = Q(massmail=True) | Q(do_import=True) | Q(Exists(sent_lately))
    resting = Mailbox.objects.filter(account=OuterRef("pk"), next_at__gt=now)
    busy = Mailbox.objects.filter(account=OuterRef("pk"), lease_until__gt=Now())
    accounts = EmailAccount.objects.filter(wanted, ~Exists(resting), ~Exists(busy)).exclude(imap_host="")
    return list(accounts.order_by("mailbox__polled_at", "pk").values_list("pk", flat=True))


class Reader:
    """The sole right to read the mailbox of an account."""

    def __init__(self, mailbox: Mailbox, token: str) -> None:
        self.mailbox, self._token = mailbox, token

    def note(self, **fields: Any) -> None:
        """Write `fields` of the mailbox, unless somebody else has taken it."""
        Mailbox.objects.filter(pk=self.mailbox.pk, lease_token=self._token).update(**fields)
        for name, value in fields.items():
            setattr(self.mailbox, name, value)

    def succeed(self, *, now: dt.datetime) -> None:
        self.note(polled_at=now, next_at=None, failures=0, trouble="", refused=False)

    def fail(self, why: str, *, refused: bool, now: dt.datetime) -> None:
        """Leave the mailbox alone for a while, longer with each failure in a row."""
        failures = self.mailbox.failures + 1
        self.note(trouble=why, refused=refused, failures=failures, next_at=now + rest(failures, refused=refused))

    def release(self) -> None:
        self.note(lease_token="", lease_until=None)


def acquire(account: EmailAccount, *, now: dt.datetime) -> Reader | None:
    """Take the lease of the account's mailbox; None if somebody else has it, or it is to be left alone at `now`."""
    mailbox, _created = Mailbox.objects.get_or_create(account=account)
    token = secrets.token_hex(8)
    lease = ExpressionWrapper(
        Now() + Value(LEASE, output_field=models.DurationField()), output_field=models.DateTimeField()
    )
    free = Q(lease_until__isnull=True) | Q(lease_until__lte=Now())
    rested = Q(next_at__isnull=True) | Q(next_at__lte=now)
    if not Mailbox.objects.filter(free, rested, pk=mailbox.pk).update(lease_token=token, lease_until=lease):
        return None
    mailbox.refresh_from_db()
    return Reader(mailbox, token)


def try_again(account: EmailAccount) -> None:
    """Read the mailbox at the next opportunity: somebody has mended something."""
    Mailbox.objects.filter(account=account).update(next_at=None)


def troubles(accounts: Iterable[EmailAccount]) -> dict[int, Trouble]:
    """Return what keeps the mail of `accounts` from being read, by primary key, in one query."""
    read = {account.pk: account for account in accounts}
    rows: QuerySet[Mailbox] = Mailbox.objects.filter(account__in=read).exclude(trouble="")
    return {
        row.account_id: Trouble(text=row.trouble, until=row.next_at, remedy=_remedy(row, read[row.account_id]))
        for row in rows
    }


def _remedy(mailbox: Mailbox, account: EmailAccount) -> str:
    if mailbox.refused and account.oauth_provider:
        return _(
            "Connect the account again on its page, or check IMAP server, port and security there. "
            "Until then bounces and answers are not noticed."
        )
    if mailbox.refused:
        return _(
            "Check IMAP server, port, security, user name and password on the account's page and save it. "
            "Sending goes on."
        )
    return _(
        "It is tried again by itself. If that does not help, check IMAP server and port on the account's page. "
        "Until then bounces and answers are not noticed; sending goes on."
    )
