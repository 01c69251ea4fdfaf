"""A mail that was sent, made again from the record."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.utils.translation import gettext as _

from massmail.choices import DeliveryStatus
from massmail.composing import Envelope, Links, render, thaw
from massmail.engine.candidates import judge
from massmail.engine.letters import links_of
from massmail.exceptions import CompositionError
from massmail.models import Delivery
from massmail.tokens import NOBODY, unsubscribe_link

#: What was handed to a server, or perhaps.
HANDED_OVER = (DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN)


def is_on_record(delivery: Delivery) -> bool:
    """Return whether everything is kept that a mail is made of: retention may have removed the values."""
    kept = delivery.version_id is not None and delivery.values is not None and delivery.message_id
    return bool(kept) and delivery.status in HANDED_OVER


def as_sent(delivery: Delivery) -> Envelope:
    """Return the mail of `delivery` as it was sent, by the same `render`: message as frozen, values as filled in,
    Message-ID, and links that work.

    From the record of today come, and so may differ from what was sent: the account's names and addresses, the
    spelling of the recipient's address (capitals), the second in `Date`, and the links where the recipient was deleted
    (they do nothing then). What servers added on the way, such as signatures, was never known here.
    Raises `CompositionError` if the account is gone, or the record incomplete.
    """
    if not is_on_record(delivery):
        raise CompositionError(_("What was sent is not on record, or nothing was."))
    if delivery.account is None or delivery.version is None:
        raise CompositionError(_("The account it left through was deleted, and with it the sender's name and address."))
    to, links = _recipient(delivery)
    return render(
        thaw(delivery.version),
        sender=delivery.account,
        to=to,
        values=delivery.values or {},
        message_id=delivery.message_id,
        links=links,
        date=delivery.sending_at or delivery.sent_at,
    )


def _recipient(delivery: Delivery) -> tuple[str, Links]:
    """Return the address as typed and its links, as far as the host still has the recipient."""
    found: Any = None
    with suppress(LookupError):  # the host registers the type no more
        (found,) = judge([delivery])
    if found is None or found.recipient is None or delivery.address not in found.recipient.addresses:
        return delivery.address, Links(unsubscribe=unsubscribe_link(NOBODY))
    language = found.obj.mm_language if found.obj is not None else None
    links = links_of(found.recipient, delivery.address, delivery.account, language)  # type: ignore[arg-type]
    return found.to.typed if found.to else delivery.address, links
