"""Why a recipient has not got the mail yet."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from django.utils.translation import gettext as _

from massmail.choices import OF_RECIPIENT, DeliveryStatus, HoldReason
from massmail.engine.holds.accounts import attended_holds
from massmail.engine.holds.hold import Hold, show
from massmail.engine.holds.limits import recipient_hold
from massmail.engine.holds.mailings import mailing_holds
from massmail.engine.limits import Wait, waits
from massmail.models import Delivery, EmailAccount, Mailing, MassmailSettings

#: What keeps some of a mailing's deliveries back and need not concern the others.
OF_SOME = frozenset(
    {
        HoldReason.ONLY_MAIN_ACCOUNT,
        HoldReason.ACCOUNT_OFF,
        HoldReason.ACCOUNT_HELD,
        HoldReason.SECRET_LOST,
        HoldReason.GUARD_RAIL,
        HoldReason.QUOTA,
        HoldReason.RAMP,
        HoldReason.HOURLY,
        *OF_RECIPIENT,
        HoldReason.GAP,
        HoldReason.BACK_OFF,
        HoldReason.NO_HEARTBEAT,
        HoldReason.NO_SCHEDULE,
        HoldReason.NO_WORKER,
        HoldReason.BUSY,
        HoldReason.RETRY,
    }
)


def delivery_holds(
    deliveries: Sequence[Delivery], *, now: dt.datetime, settings: MassmailSettings, alive: Hold | None
) -> dict[int, Hold | None]:
    """Return the holds of `deliveries` by primary key; `alive` is that of the whole site."""
    mailings = Mailing.objects.filter(pk__in={delivery.mailing_id for delivery in deliveries})
    of_mailing = mailing_holds(list(mailings), now=now, settings=settings, alive=alive)
    accounts = EmailAccount.objects.filter(pk__in={delivery.account_id for delivery in deliveries})
    of_account = attended_holds(list(accounts), now=now, settings=settings, alive=alive)
    general = {key: hold for key, hold in of_mailing.items() if hold and hold.reason not in OF_SOME}
    queued = [each for each in deliveries if each.status == DeliveryStatus.QUEUED and not waits_already(each, now=now)]
    waiting = waits(queued, settings, now=now)
    return {
        delivery.pk: _delivery_hold(
            delivery, general, of_mailing, of_account, waiting.get(delivery.pk), now=now, settings=settings
        )
        for delivery in deliveries
    }


def waits_already(delivery: Delivery, *, now: dt.datetime) -> bool:
    """Tell whether the engine has put `delivery` off."""
    return delivery.not_before is not None and delivery.not_before > now


def _delivery_hold(
    delivery: Delivery,
    general: dict[int, Hold],
    of_mailing: dict[int, Hold | None],
    of_account: dict[int, Hold | None],
    wait: Wait | None,
    *,
    now: dt.datetime,
    settings: MassmailSettings,
) -> Hold | None:
    if delivery.status == DeliveryStatus.SENDING:
        return _under_way(delivery, settings, now=now)
    if delivery.status != DeliveryStatus.QUEUED:
        return Hold(reason=HoldReason.ENDED, detail=delivery.get_status_display())
    if delivery.mailing_id in general:
        return general[delivery.mailing_id]
    if delivery.not_before and delivery.reason in OF_RECIPIENT and waits_already(delivery, now=now):
        wait = Wait(reason=HoldReason(delivery.reason), until=delivery.not_before)
    if wait is not None:
        return recipient_hold(wait.reason, wait.until, address=delivery.address, settings=settings, now=now)
    if delivery.not_before and waits_already(delivery, now=now):
        return Hold(
            reason=HoldReason.RETRY,
            until=delivery.not_before,
            detail=_("Next attempt %(time)s; the server said: %(reply)s")
            % {"time": show(delivery.not_before, settings, now=now), "reply": delivery.reply},
        )
    if delivery.account_id is None:
        return of_mailing[delivery.mailing_id]
    return of_account.get(delivery.account_id)


def _under_way(delivery: Delivery, settings: MassmailSettings, *, now: dt.datetime) -> Hold:
    since = show(delivery.sending_at, settings, now=now) if delivery.sending_at else ""
    return Hold(
        reason=HoldReason.BUSY,
        detail=_("A worker is talking to the server about it since %(time)s.") % {"time": since},
        remedy=_("It ends by itself. If the worker died, the mail is shown as “unknown” a minute later."),
    )
