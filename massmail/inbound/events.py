"""What a mail that came in turns out to be."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from massmail.choices import BounceReason, InboundKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a server says of one recipient.

    `address` is the one the mail was sent to, as far as the report knows it, `final` the one it was to end at.
    `permanent` tells that another try will not help; it says nothing about the address: only `reason` HARD does.
    """

    address: str
    action: str
    status: str = ""
    diagnostic: str = ""
    permanent: bool | None = None
    reason: BounceReason | None = None
    final: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundEvent:
    """What `classify` finds in a mail.

    `recipients` are normalised addresses: those that failed or are late (details in `results`), the one that
    complained, or the one a reply comes from. `message_ids` are what may be the original's Message-ID, each as
    `<left@right>`, the most trustworthy first. `permanent`, `status` (RFC 3463, like "5.1.1", or ""), `diagnostic` (the
    server's words) and `reason` are those of the gravest result. `returns` is the day an absent person said to be back,
    `token` the one in a mail that unsubscribes ("" if it has none), with the position of the address after a full stop.
    """

    kind: InboundKind
    permanent: bool | None = None
    status: str = ""
    recipients: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()
    diagnostic: str = ""
    reason: BounceReason | None = None
    results: tuple[Result, ...] = ()
    from_address: str = ""
    subject: str = ""
    date: datetime.datetime | None = None
    returns: datetime.date | None = None
    token: str = ""
