"""Letters: a candidate with everything that sending it takes, or settled otherwise."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError

from massmail import outcomes
from massmail.choices import Exclusion
from massmail.composing import Envelope, Links, new_message_id, plain_values, render, thaw
from massmail.engine import lanes
from massmail.engine.candidates import Candidate
from massmail.exceptions import CompositionError
from massmail.models import Delivery, EmailAccount, Lane, Recipient
from massmail.tokens import unsubscribe_link, unsubscribe_mailto

logger = logging.getLogger("massmail.engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A candidate with the message composed for it, and the values that were filled in."""

    candidate: Candidate
    values: Mapping[str, Any]
    envelope: Envelope

    @property
    def delivery(self) -> Delivery:
        return self.candidate.delivery


def links_of(recipient: Recipient, address: str, account: EmailAccount, language: Any) -> Links:
    """Return how `address`, one of the recipient's, opts out on a page in `language`: by mail only where it is read."""
    token, position = recipient.token or "", recipient.addresses.index(address)
    mailto = unsubscribe_mailto(account.from_email, token, position) if account.imap_host else ""
    return Links(unsubscribe=unsubscribe_link(token, position, language), mailto=mailto)


class Letters:
    """Writes the letters of one turn of `account`; `main` is the owner's main account, where there is one.

    `today` tells the day to which skipped recipients are counted.
    """

    def __init__(
        self, account: EmailAccount, lane: Lane, *, main: EmailAccount | None, today: Callable[[], dt.date]
    ) -> None:
        self.account, self.lane, self.main, self.today = account, lane, main, today

    def write(self, candidate: Candidate) -> Letter | None:
        """Return the letter to `candidate`; None, and the delivery settled, if it gets no mail from this account."""
        return None if self._passed_over(candidate) else self._composed(candidate)

    def skip(self, delivery: Delivery, reason: Exclusion, reply: str = "") -> None:
        """End a delivery whose recipient may not be mailed any more."""
        outcomes.skip(delivery, reason, lane=self.lane, day=self.today(), reply=reply)

    def _passed_over(self, candidate: Candidate) -> bool:
        delivery, recipient = candidate.delivery, candidate.recipient
        if candidate.exclusion is not None:
            self.skip(delivery, candidate.exclusion)
        elif recipient is None or delivery.address not in recipient.addresses:
            lanes.hand_over(delivery, None)
        elif recipient.vip and self.main is not None and self.main.pk != self.account.pk:
            lanes.hand_over(delivery, self.main)
        elif self.account.main and not recipient.vip:
            lanes.hand_over(delivery, None)
        else:
            return False
        return True

    def _composed(self, candidate: Candidate) -> Letter | None:
        delivery, recipient, to = candidate.delivery, candidate.recipient, candidate.to
        values = self._values(candidate)
        if values is None or recipient is None or to is None:
            return None
        version = delivery.version if delivery.version_id else delivery.mailing.version
        assert version is not None  # noqa: S101  the database sees to it
        try:
            envelope = render(
                thaw(version),
                sender=self.account,
                to=to.typed,
                values=values,
                message_id=delivery.message_id or new_message_id(self.account.domain),
                links=links_of(recipient, delivery.address, self.account, candidate.obj.mm_language),
            )
        except CompositionError as error:
            self.skip(delivery, Exclusion.NOT_PERSONAL, str(error))
            return None
        return Letter(candidate=candidate, values=values, envelope=envelope)

    def _values(self, candidate: Candidate) -> Mapping[str, Any] | None:
        """Return what is filled in. None, and the delivery skipped, if the host can't say."""
        delivery = candidate.delivery
        try:
            return plain_values(candidate.recipient_type.values(candidate.obj))
        except DatabaseError:
            raise  # not this recipient's fault
        except Exception as error:
            # The host's own code: one broken record must not stop the lane.
            logger.exception("values() of %s failed for %s", candidate.recipient_type.model, delivery.object_id)
            self.skip(delivery, Exclusion.NOT_PERSONAL, repr(error))
            return None
