"""Why a recipient has not got the mail yet."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from django.utils.translation import gettext as _

from massmail.choices import DeliveryStatus, HoldReason
from massmail.engine.holds.accounts import account_holds
from massmail.engine.holds.hold import Hold, show
from massmail.engine.holds.mailings import mailing_holds
from massmail.models import Delivery, EmailAccount, Mailing, MassmailSettings


def delivery_holds(deliveries: Sequence[Delivery], *, now: dt.datetime) -> dict[int, Hold | None]:
    settings = MassmailSettings.load()
    mailings = Mailing.objects.filter(pk__in={delivery.mailing_id for delivery in deliveries})
    of_mailing = mailing_holds(list(mailings), now=now, settings=settings)
    accounts = EmailAccount.objects.filter(pk__in={delivery.account_id for delivery in deliveries})
    of_account = account_holds(list(accounts), now=now, settings=settings)
    general = {
        key: hold
        for key, hold in of_mailing.items()
        if hold and not isinstance(hold.about, EmailAccount) and hold.reason is not HoldReason.RETRY
    }
    return {
        delivery.pk: _delivery_hold(delivery, general, of_mailing, of_account, now=now, settings=settings)
        for delivery in deliveries
    }


def _delivery_hold(
    delivery: Delivery,
    general: dict[int, Hold],
    of_mailing: dict[int, Hold | None],
    of_account: dict[int, Hold | None],
    *,
    now: dt.datetime,
    settings: MassmailSettings,
) -> Hold | None:
    if delivery.status == DeliveryStatus.SENDING:
        return Hold(reason=HoldReason.BUSY)
    if delivery.status != DeliveryStatus.QUEUED:
        return Hold(reason=HoldReason.ENDED, detail=delivery.get_status_display())
    if delivery.mailing_id in general:
        return general[delivery.mailing_id]
    if delivery.not_before and delivery.not_before > now:
        return Hold(
            reason=HoldReason.RETRY,
            until=delivery.not_before,
            detail=_("Next attempt at %(time)s; the server said: %(reply)s")
            % {"time": show(delivery.not_before, settings), "reply": delivery.reply},
        )
    if delivery.account_id is None:
        return of_mailing[delivery.mailing_id]
    return of_account.get(delivery.account_id)
