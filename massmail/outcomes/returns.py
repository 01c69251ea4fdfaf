"""What comes back after a mail has left: bounces, complaints, answers. Each is noted once, whatever is heard twice.

What a message says of an address is acted upon only as far as it goes: a dead address is suppressed, a full mailbox is
only remembered until it has been full too often, and what a server thinks of the sender says nothing of the recipient.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail.choices import BounceReason, DeliveryStatus, Failure, SuppressionReason
from massmail.models import Delivery, Mailing, MassmailSettings, Returns
from massmail.outcomes.figures import add, add_to_day
from massmail.outcomes.resolving import treat_as_sent
from massmail.outcomes.suppressions import suppress

#: What may have reached somebody, so that something can come back from there.
LEFT = (DeliveryStatus.SENT, DeliveryStatus.UNKNOWN, DeliveryStatus.FAILED)
#: Bounces that neither prove that the address is dead nor speak of the sender: they count.
SOFT = frozenset({BounceReason.SOFT, BounceReason.REFUSED})
#: So many of them in a row, the last at least so long after the first, and the address gets no more mail.
IN_A_ROW, FOR_AT_LEAST = 3, dt.timedelta(days=7)
#: How deliveries fail that the recipient's server put off for days.
_PUT_OFF = frozenset({Failure.MAILBOX_FULL, Failure.GAVE_UP})
#: Deliveries to one recipient that are looked back on.
_LOOK_BACK = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounce:
    """What a bounce says. `of_address` is whether the address that failed is the one the mail was sent to."""

    reason: BounceReason
    words: str
    at: dt.datetime
    of_address: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """What came back for a mailing, in deliveries."""

    bounced: int = 0
    replied: int = 0
    auto_replied: int = 0
    complained: int = 0
    unsubscribed: int = 0


def returned(mailings: Iterable[Mailing]) -> dict[int, Returned]:
    """Return what came back for `mailings` by primary key, in one query whatever their number and size."""
    names = ("bounced", "replied", "auto_replied", "complained", "unsubscribed")
    mailings = list(mailings)
    rows = Returns.objects.filter(mailing__in=mailings).values_list("mailing_id", *names)
    found = {key: Returned(**dict(zip(names, numbers, strict=True))) for key, *numbers in rows}
    return {mailing.pk: found.get(mailing.pk, Returned()) for mailing in mailings}


@transaction.atomic
def note_bounce(delivery: Delivery, bounce: Bounce) -> bool:
    """Note that `delivery` came back; suppress its address if it is dead, or unreachable for long. False if known."""
    prove_sent(delivery, bounce.words)
    first = _note(
        delivery,
        "bounced",
        bounce.at,
        bad=bounce.reason is not BounceReason.SOFT,
        reason=bounce.reason.value,
        reply=bounce.words,
    )
    if bounce.reason is BounceReason.HARD and bounce.of_address:
        suppress(delivery.address, SuppressionReason.BOUNCED, source=f"{delivery.message_id}: {bounce.words}")
    elif first and bounce.reason in SOFT and unreachable(_put_off(delivery)):
        suppress(delivery.address, SuppressionReason.UNREACHABLE, source=f"{delivery.message_id}: {bounce.words}")
    return first


@transaction.atomic
def note_complaint(delivery: Delivery, *, at: dt.datetime, words: str) -> bool:
    """Note that the recipient called the mail spam, and mail the address no more. False if that is known."""
    prove_sent(delivery, words)
    source = _("Complaint about %(message_id)s") % {"message_id": delivery.message_id}
    suppress(delivery.address, SuppressionReason.COMPLAINT, source=source)
    return _note(delivery, "complained", at, complaint=True)


@transaction.atomic
def note_reply(delivery: Delivery, *, at: dt.datetime) -> bool:
    """Note that a person answered. False if that is known."""
    prove_sent(delivery, _("The recipient has answered it."))
    return _note(delivery, "replied", at)


@transaction.atomic
def note_auto_reply(delivery: Delivery, *, at: dt.datetime) -> bool:
    """Note that a machine answered. False if that is known; nothing else follows from it."""
    prove_sent(delivery, _("The recipient's server has answered it."))
    return _note(delivery, "auto_replied", at)


def unreachable(times: Sequence[dt.datetime]) -> bool:
    """Tell whether an address whose mails were put off at these `times`, one after the other, is given up."""
    return len(times) >= IN_A_ROW and max(times) - min(times) >= FOR_AT_LEAST


def _put_off(delivery: Delivery) -> list[dt.datetime]:
    """Return when this and the mails before it to the same recipient were put off, back to the last that was not."""
    before = Delivery.objects.filter(
        object_id=delivery.object_id,
        address=delivery.address,
        mailing__content_type=delivery.mailing.content_type_id,
        status__in=[DeliveryStatus.SENT, DeliveryStatus.FAILED],
        sending_at__lte=delivery.sending_at,
    )
    times: list[dt.datetime] = []
    rows = before.order_by("-sending_at", "-pk").values_list("status", "reason", "bounced_at", "sending_at")
    for status, reason, bounced_at, sending_at in rows[:_LOOK_BACK]:
        if bounced_at is not None and reason in SOFT:
            times.append(bounced_at)
        elif status == DeliveryStatus.FAILED and reason in _PUT_OFF and sending_at is not None:
            times.append(sending_at)
        else:
            break
    return times


def prove_sent(delivery: Delivery, words: str) -> bool:
    """Settle a delivery of which nobody knew whether the server had it, as `words` prove. False if it is settled."""
    if delivery.status != DeliveryStatus.UNKNOWN:
        return False
    row, zone = Delivery.objects.filter(pk=delivery.pk), MassmailSettings.load().zone
    if not treat_as_sent(row, now=timezone.now(), zone=zone):
        return False
    row.update(reply=words)
    delivery.refresh_from_db(fields=["status", "reason", "reply", "sent_at"])
    return True


def _note(
    delivery: Delivery, what: str, at: dt.datetime, *, bad: bool = False, complaint: bool = False, **fields: str
) -> bool:
    """Write when `what` happened, unless it is written already, and count it."""
    column = f"{what}_at"
    noted = Delivery.objects.filter(pk=delivery.pk, **{column: None}).update(**{column: at}, **fields)
    if noted:
        new = _is_new(delivery)
        add(delivery.mailing_id, **{what: 1}, bad=int(bad and new), complaints=int(complaint and new))
        _count_on_its_day(delivery, undeliverable=int(bad), complaints=int(complaint))
        setattr(delivery, column, at)
    return bool(noted)


def _is_new(delivery: Delivery) -> bool:
    """Tell whether `delivery` left after the guard's last pause: what came before it is known to the owner."""
    since = Returns.objects.filter(mailing=delivery.mailing_id).values_list("since", flat=True).first()
    return since is None or (delivery.sending_at is not None and delivery.sending_at >= since)


def _count_on_its_day(delivery: Delivery, **changes: int) -> None:
    """Count what came back on the day on which the mail was sent: that makes a share of that day's mail."""
    if any(changes.values()) and delivery.sending_at is not None:
        day = delivery.sending_at.astimezone(MassmailSettings.load().zone).date()
        add_to_day(delivery.account_id, day, **changes)
