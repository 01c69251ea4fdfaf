"""Why a mailing does not go on now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.db.models import OuterRef, Subquery
from django.utils.translation import gettext as _

from massmail.choices import OF_RECIPIENT, DeliveryStatus, HoldReason, MailingStatus
from massmail.engine.candidates import type_of
from massmail.engine.holds.accounts import attended_holds, inactive_users, owner_inactive
from massmail.engine.holds.hold import Hold, show
from massmail.engine.holds.limits import recipient_hold
from massmail.engine.holds.machine import deployment_hold
from massmail.engine.lanes import usable_accounts, work
from massmail.models import Delivery, EmailAccount, Mailing, MassmailSettings

#: The rules let it go, and nobody does it.
UNATTENDED = frozenset({HoldReason.NO_HEARTBEAT, HoldReason.NO_SCHEDULE, HoldReason.NO_WORKER, HoldReason.BUSY})


def accounts_hold(accounts: Sequence[EmailAccount]) -> Hold | None:
    """Return the hold of an owner without accounts for mailing, or with the main one only."""
    if not accounts:
        return Hold(
            reason=HoldReason.NO_ACCOUNT,
            detail=_("The owner has no account for mailing."),
            remedy=_("Add an email account and mark it “Massmail”."),
        )
    if all(account.main for account in accounts):
        return Hold(
            reason=HoldReason.ONLY_MAIN_ACCOUNT,
            detail=_("The main account is the only one for mailing, and it sends to VIP recipients only."),
            remedy=_("Add another email account and mark it “Massmail”, or mark recipients as VIP."),
        )
    return None


def lasting_hold(mailing: Mailing, settings: MassmailSettings, *, inactive: Any) -> Hold | None:
    """Return what keeps all of a mailing back until somebody does something; `inactive` is its owner if deactivated."""
    if inactive is not None:
        return owner_inactive(inactive)
    if hold := deployment_hold(settings):
        return hold
    if type_of(mailing) is None:
        return Hold(
            reason=HoldReason.NO_TYPE,
            detail=_("The type of its recipients is not among MASSMAIL_RECIPIENT_TYPES any more."),
            remedy=_("Ask whoever runs this site to register it again, or cancel the mailing."),
            about=mailing,
        )
    return None


def _status_hold(mailing: Mailing) -> Hold | None:
    match mailing.status:
        case MailingStatus.ACTIVE:
            return None
        case MailingStatus.DRAFT:
            return Hold(reason=HoldReason.DRAFT, remedy=_("Start it on its page."), about=mailing)
        case MailingStatus.PAUSED:
            return Hold(
                reason=HoldReason.PAUSED, detail=mailing.pause_reason, remedy=_("Resume it on its page."), about=mailing
            )
        case _:
            return Hold(reason=HoldReason.ENDED, detail=mailing.get_status_display())


def mailing_holds(
    mailings: Sequence[Mailing], *, now: dt.datetime, settings: MassmailSettings, alive: Hold | None
) -> dict[int, Hold | None]:
    """Return the holds of `mailings` by primary key; `alive` is that of the whole site."""
    active = [mailing for mailing in mailings if mailing.status == MailingStatus.ACTIVE]
    facts = _Facts(active, now=now, settings=settings, alive=alive)
    return {mailing.pk: _status_hold(mailing) or facts.hold(mailing) for mailing in mailings}


class _Facts:
    """What decides about a set of active mailings, fetched in a constant number of queries."""

    def __init__(
        self, mailings: Sequence[Mailing], *, now: dt.datetime, settings: MassmailSettings, alive: Hold | None
    ) -> None:
        self.now, self.settings = now, settings
        self.inactive = inactive_users(mailing.owner_id for mailing in mailings)
        self.accounts = usable_accounts(mailing.owner_id for mailing in mailings)
        everyone = [account for accounts in self.accounts.values() for account in accounts]
        self.holds = attended_holds(everyone, now=now, settings=settings, alive=alive)
        self.work = work(mailings, now=now)
        self.waiting = _first_waiting([mailing for mailing in mailings if not any(self.work[mailing.pk].values())])

    def hold(self, mailing: Mailing) -> Hold | None:
        if hold := lasting_hold(mailing, self.settings, inactive=self.inactive.get(mailing.owner_id)):
            return hold
        if mailing.start_at and mailing.start_at > self.now:
            return Hold(
                reason=HoldReason.START_AT,
                until=mailing.start_at,
                detail=_("It starts %(time)s.") % {"time": show(mailing.start_at, self.settings, now=self.now)},
                remedy=_("Pause it to change the start."),
                about=mailing,
            )
        accounts = self.accounts[mailing.owner_id]
        if not accounts:
            return accounts_hold(accounts)
        return self._work_hold(mailing, self.work[mailing.pk], accounts)

    def _wait_hold(self, delivery: Delivery) -> Hold:
        """Return the hold of a mailing of which everybody left waits: that of the one who waits the shortest."""
        assert delivery.not_before is not None  # noqa: S101  it is among those that have it
        return recipient_hold(
            HoldReason(delivery.reason),
            delivery.not_before,
            address=delivery.address,
            settings=self.settings,
            now=self.now,
        )

    def _work_hold(
        self, mailing: Mailing, work: dict[int | None, bool], accounts: Sequence[EmailAccount]
    ) -> Hold | None:
        if not work:
            return None
        speakers = {account_id for account_id, due in work.items() if account_id and due}
        if None in work:
            # Not assigned yet: they will go to one of the owner's other accounts at the next tick.
            speakers |= {account.pk for account in accounts if not account.main}
            if not speakers:
                return accounts_hold(accounts)
        if not speakers and mailing.pk in self.waiting:
            return self._wait_hold(self.waiting[mailing.pk])
        if not speakers:
            return Hold(
                reason=HoldReason.RETRY,
                detail=_("What is left waits for another attempt: the recipients' servers asked to come back later."),
            )
        holds = [self.holds.get(account_id) for account_id in speakers]
        waiting = [hold for hold in holds if hold is not None]
        if len(waiting) < len(holds):
            return None
        # Who could speak if somebody let it tells more than who has to wait anyway.
        unattended = [hold for hold in waiting if hold.reason in UNATTENDED]
        return (
            unattended[0] if unattended else min(waiting, key=lambda hold: (hold.until is None, hold.until or self.now))
        )


def _first_waiting(mailings: Sequence[Mailing]) -> dict[int, Delivery]:
    """Return of each of `mailings` who waits the shortest for a limit, where that is who waits the shortest at all."""
    if not mailings:
        return {}
    waiting = Delivery.objects.filter(status=DeliveryStatus.QUEUED, not_before__isnull=False)
    first = waiting.filter(mailing=OuterRef("pk")).order_by("not_before", "pk").values("pk")[:1]
    keys = Mailing.objects.filter(pk__in=[mailing.pk for mailing in mailings]).order_by().values_list(Subquery(first))
    rows = Delivery.objects.filter(pk__in=keys, reason__in=OF_RECIPIENT)
    return {row.mailing_id: row for row in rows.only("mailing_id", "address", "reason", "not_before")}
