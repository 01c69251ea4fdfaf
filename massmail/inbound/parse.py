"""Telling incoming mail apart: one pure function from bytes to an event.

The order decides. A report of a mail server or provider is believed first, since it is made for machines; a mail that
asks to be unsubscribed says so in its address; then come bounces written for people, then replies by machines, and
only what is none of these and refers to a message is a person's reply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from massmail.choices import InboundKind
from massmail.inbound import absence, arf, autoreply, dsn, freeform, phrases, reading, returned
from massmail.inbound.events import InboundEvent, Result
from massmail.inbound.reading import Part

_TOKEN = r"[A-Za-z0-9_-]{16,32}(?:\.[0-9]{1,4})?"  # noqa: S105
_UNSUBSCRIBE_ADDRESS = re.compile(rf"(?:^|[+.=_-])unsubscribe(?:[+=._-](?P<token>{_TOKEN}))?@", re.IGNORECASE)
_UNSUBSCRIBE_SUBJECT = re.compile(
    rf"\s*(?:unsubscribe|abmelden|abbestellen|désabonner|désinscription|отписаться|відписатися)\s*[:=]?\s*(?P<token>{_TOKEN})?\s*",
    re.IGNORECASE,
)
#: Headers that tell to whom a mail was delivered, the envelope's first: mail programs hide plus-addresses from "To".
_DELIVERED = ("x-original-to", "delivered-to", "envelope-to", "x-envelope-to", "to", "cc")
_QUOTATION = re.compile(
    r"^[ \t]*>|^[ \t]*-{2,} ?(?:original|ursprüngliche|forwarded)|^[ \t>*]*(?:from|von|de|da|van|от|från|fra"
    r"|od)[ \t]?:.{1,200}@",
    re.IGNORECASE | re.MULTILINE,
)


def classify(raw: bytes) -> InboundEvent:
    """Return what the mail `raw` is. Never raises, whatever the bytes; time and memory are bounded.

    Only the first `reading.MAX_SIZE` octets are looked at, attachments are not opened.
    """
    mail = reading.read(raw)
    event = _judge(mail)
    return replace(
        event,
        from_address=next(iter(reading.addresses(mail.header("from"))), ""),
        subject=reading.decode_words(mail.header("subject")),
        date=reading.date(mail.header("date")),
    )


def _judge(mail: Part) -> InboundEvent:
    for judge in (_complaint, _report, _unsubscribe, _bounce, _auto_reply, _reply):
        event = judge(mail)
        if event is not None:
            return event
    return InboundEvent(kind=InboundKind.OTHER, message_ids=tuple(returned.ids(mail)))


def _complaint(mail: Part) -> InboundEvent | None:
    found = arf.complaint(mail)
    if found is None:
        return None
    return InboundEvent(
        kind=InboundKind.COMPLAINT,
        recipients=found.recipients,
        message_ids=found.message_ids,
        diagnostic=found.feedback,
    )


def _report(mail: Part) -> InboundEvent | None:
    """Read a delivery status notification, also one that a gateway put into a notification of its own."""
    if _passed_on(mail):
        return None
    by_daemon = freeform.comes_from_daemon(mail)
    found = dsn.results(mail, typed_in=by_daemon)
    if not found and by_daemon and (back := returned.original(mail)):
        found = dsn.results(back)
        mail = back if found else mail
    if not found:
        return None
    if any(result.action == dsn.FAILED and not result.address for result in found):
        found = _with_addresses(found, mail)
    return _event(mail, found)


def _passed_on(mail: Part) -> bool:
    """Return whether a person answers or forwards a report, which then is not about this person's mail."""
    subject = reading.decode_words(mail.header("subject"))
    by_hand = phrases.is_reply_subject(subject) or phrases.is_forward_subject(subject)
    return by_hand and not freeform.comes_from_daemon(mail)


def _with_addresses(found: tuple[Result, ...], mail: Part) -> tuple[Result, ...]:
    """Fill in the addresses that a report left out from its text, one for each at most."""
    spoken = iter(freeform.results(mail))
    return tuple(
        result if result.address else replace(result, address=next((each.address for each in spoken), ""))
        for result in found
    )


def _bounce(mail: Part) -> InboundEvent | None:
    found = freeform.results(mail)
    return _event(mail, found) if found else None


def _event(mail: Part, found: Iterable[Result]) -> InboundEvent:
    """Return the event of a report: a bounce if one recipient failed, delayed if one is late, or else nothing new."""
    results = tuple(found)
    ids = tuple(dict.fromkeys(returned.ids(mail) + dsn.original_ids(mail)))
    for kind, action in ((InboundKind.BOUNCE, dsn.FAILED), (InboundKind.DELAYED, dsn.DELAYED)):
        affected = [result for result in results if result.action == action]
        if affected:
            worst = next((result for result in affected if result.permanent), affected[0])
            return InboundEvent(
                kind=kind,
                permanent=worst.permanent,
                status=worst.status,
                recipients=_addresses(affected),
                message_ids=ids,
                diagnostic=worst.diagnostic,
                reason=worst.reason,
                results=results,
            )
    return InboundEvent(kind=InboundKind.OTHER, recipients=_addresses(results), message_ids=ids, results=results)


def _addresses(results: Iterable[Result]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(result.address for result in results if result.address))


def _unsubscribe(mail: Part) -> InboundEvent | None:
    if mail.header("auto-submitted").lower().startswith("auto-replied") or freeform.comes_from_daemon(mail):
        return None
    found = _UNSUBSCRIBE_SUBJECT.fullmatch(reading.decode_words(mail.header("subject")))
    for value in mail.all(*_DELIVERED):
        for address in reading.ADDRESS.findall(value):
            by_address = _UNSUBSCRIBE_ADDRESS.search(address)
            found = by_address if by_address and (by_address["token"] or not found) else found
    if not found:
        return None
    return _from_sender(InboundKind.UNSUBSCRIBE, mail, token=found["token"] or "")


def _auto_reply(mail: Part) -> InboundEvent | None:
    if not autoreply.is_automatic(mail):
        return None
    event = _from_sender(InboundKind.AUTO_REPLY, mail)
    sent = reading.date(mail.header("date"))
    text = reading.decode_words(mail.header("subject")) + "\n" + returned.body_text(mail)
    return replace(event, returns=absence.returns(text, sent.date())) if sent else event


def _reply(mail: Part) -> InboundEvent | None:
    """Recognise a person who answers. What we sent ourselves, and what goes to many, is no answer to us."""
    if mail.has("x-massmail-id") or phrases.is_list(mail) or phrases.is_bulk(mail):
        return None
    if mail.header("auto-submitted").lower().startswith("auto-"):
        return None
    subject = reading.decode_words(mail.header("subject"))
    quotes = phrases.is_reply_subject(subject) and _QUOTATION.search(returned.body_text(mail))
    if not quotes and not any(reading.message_ids(value) for value in mail.all("in-reply-to", "references")):
        return None
    return _from_sender(InboundKind.REPLY, mail)


def _from_sender(kind: InboundKind, mail: Part, *, token: str = "") -> InboundEvent:
    sender = reading.addresses(mail.header("from"))[:1]
    return InboundEvent(kind=kind, recipients=tuple(sender), message_ids=tuple(returned.ids(mail)), token=token)
