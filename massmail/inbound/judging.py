"""What a stored mail means and what follows from it, each once: effect and mark are one transaction."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from massmail import outcomes
from massmail.choices import BounceReason, DeliveryStatus, InboundKind
from massmail.inbound import dsn, match
from massmail.inbound.conversations import filing
from massmail.inbound.events import InboundEvent, Result
from massmail.inbound.parse import classify
from massmail.models import Delivery, EmailAccount, InboundMessage

logger = logging.getLogger("massmail.inbound")

#: A mail that an error of our own kept from being judged so often is left alone.
TRIES = 3
#: Kinds of which the mail itself is kept, as the evidence of what followed.
EVIDENCE = (InboundKind.BOUNCE, InboundKind.COMPLAINT, InboundKind.UNSUBSCRIBE)
#: How long it is remembered that a mail was looked at which was none of ours: longer than any reading looks back.
FORGET_AFTER = dt.timedelta(days=45)


def judge_all(account: EmailAccount, *, now: dt.datetime) -> int:
    """Judge what was stored for `account` and not judged yet; return how many mails answer one of ours."""
    waiting = InboundMessage.objects.filter(account=account, judged_at=None)
    count = 0
    for key in list(waiting.order_by("pk").values_list("pk", flat=True)):
        try:
            count += _judge(key, account, now=now)
        except Exception:
            # An error of our own: the others are judged all the same, and this one is tried again.
            logger.exception("Inbound message %s could not be judged", key)
    forgotten = InboundMessage.objects.filter(account=account, delivery=None, judged_at__lt=now - FORGET_AFTER)
    forgotten.delete()
    return count


def _judge(key: int, account: EmailAccount, *, now: dt.datetime) -> bool:
    # Counted in a commit of its own, so that a mail which kills the process is met three times only.
    InboundMessage.objects.filter(pk=key).update(tries=F("tries") + 1)
    with transaction.atomic():
        row = InboundMessage.objects.select_for_update().filter(pk=key, judged_at=None).first()
        if row is None:
            return False
        if row.tries > TRIES:
            _finish(row, {"error": "It could not be judged."}, now=now)
            return False
        event = classify(bytes(row.raw))
        delivery = match.find(event, account, at=row.received_at or now)
        if delivery is not None and delivery.status == DeliveryStatus.SENDING:
            # Quicker than the sending server's own answer: the delivery is settled first.
            row.tries = 0
            row.save(update_fields=["tries"])
            return False
        known = not row.outgoing and _act(event, delivery, account, row, now=now)
        filing.file_inbound(row, account, event.kind)
        row.kind = event.kind
        row.delivery = delivery if known else None
        _finish(row, _facts(event) if known else {}, now=now)
    return known


def _finish(row: InboundMessage, facts: dict[str, Any], *, now: dt.datetime) -> None:
    """Note that `row` is judged. Of mail that is none of ours only the fact that it was there is kept."""
    row.facts, row.judged_at = facts, now
    if not facts:
        row.from_address = row.subject = ""
    if not facts or row.kind not in EVIDENCE:
        row.raw = b""
    row.save(update_fields=["kind", "facts", "delivery", "judged_at", "from_address", "subject", "raw"])


def _facts(event: InboundEvent) -> dict[str, Any]:
    facts = {
        "status": event.status,
        "reason": event.reason.value if event.reason else "",
        "recipients": list(event.recipients),
        "words": event.diagnostic,
        "returns": event.returns.isoformat() if event.returns else "",
    }
    return {"kind": event.kind.value} | {name: value for name, value in facts.items() if value}


def _act(
    event: InboundEvent, delivery: Delivery | None, account: EmailAccount, row: InboundMessage, *, now: dt.datetime
) -> bool:
    """Carry out what follows from `event`; return whether it concerns us."""
    if event.kind is InboundKind.UNSUBSCRIBE and _unsubscribed(event, row):
        return True
    if delivery is None:
        return False
    at = row.received_at or now
    match event.kind:
        case InboundKind.BOUNCE:
            _bounced(event, delivery, at=at)
        case InboundKind.DELAYED:
            outcomes.prove_sent(delivery, event.diagnostic)
        case InboundKind.COMPLAINT:
            outcomes.note_complaint(delivery, at=at, words=event.diagnostic)
        case _ if event.from_address == account.from_email.lower():
            return False  # a copy of what the manager wrote
        case InboundKind.AUTO_REPLY:
            outcomes.note_auto_reply(delivery, at=at)
        case InboundKind.REPLY | InboundKind.UNSUBSCRIBE:
            outcomes.note_reply(delivery, at=at)
        case _:
            return _notified(event, delivery)
    return True


def _unsubscribed(event: InboundEvent, row: InboundMessage) -> bool:
    """Unsubscribe whom the token belongs to, whoever sent the mail; False for a token that leads nowhere."""
    target = outcomes.find_recipient(event.token)
    if target is None:
        return False
    recipient, address = target
    outcomes.unsubscribe(recipient, address, source=f"mailto: {event.from_address} {row.message_id}".strip())
    return True


def _bounced(event: InboundEvent, delivery: Delivery, *, at: dt.datetime) -> None:
    result = _about(delivery.address, event)
    if result is not None and result.action != dsn.FAILED:
        outcomes.prove_sent(delivery, result.diagnostic)  # it failed for somebody else the report speaks of
        return
    named = any(address for each in event.results for address in (each.address, each.final))
    bounce = outcomes.Bounce(
        reason=(result.reason if result else event.reason) or BounceReason.REFUSED,
        words=(result.diagnostic if result else "") or event.diagnostic or event.status or _("Returned"),
        at=at,
        of_address=result is not None or not named,
    )
    outcomes.note_bounce(delivery, bounce)


def _about(address: str, event: InboundEvent) -> Result | None:
    """Return what the report says of `address`: its mailing has one recipient, but aliases lead to several."""
    return next((result for result in event.results if address in (result.address, result.final)), None)


def _notified(event: InboundEvent, delivery: Delivery) -> bool:
    """Take a report that the mail was delivered or passed on for what it is: the server had it."""
    if not event.results:
        return False
    outcomes.prove_sent(delivery, event.results[0].diagnostic or _("Its delivery was confirmed."))
    return True
