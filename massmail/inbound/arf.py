"""Complaints: the "this is spam" button of a recipient, reported back to the sender (RFC 5965 and its relatives)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from massmail.inbound import dsn, reading, returned
from massmail.inbound.reading import Part

#: Feedback types that nobody complains with: reports of DMARC and DKIM (RFC 6591), and "this is not spam".
_NOT_COMPLAINTS = {"auth-failure", "dkim", "dmarc", "not-spam", "dkim-failure"}
_REPORTED = re.compile(
    r"this is an email abuse report for an email message (received )?(from|with)"
    r"|complaint about message from \d|email feedback report for ip",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """Who complained (normalised addresses, as far as the provider tells), about which message, in which way."""

    recipients: tuple[str, ...]
    message_ids: tuple[str, ...]
    feedback: str


def complaint(mail: Part) -> Complaint | None:
    """Return the complaint in `mail`, or None if it is none."""
    fields = _feedback(mail)
    if fields is None:
        return _without_report(mail)
    feedback = fields.get("feedback-type", "abuse").strip().lower() or "abuse"
    if feedback in _NOT_COMPLAINTS:
        return None
    back = returned.original(mail)
    named = [fields.get(name, "") for name in ("original-rcpt-to", "removal-recipient")]
    return Complaint(
        recipients=_recipients(named, back),
        message_ids=tuple(dict.fromkeys(returned.ids(mail) + reading.message_ids(fields.get("message-id", "")))),
        feedback=feedback,
    )


def _feedback(mail: Part) -> dsn.Fields | None:
    for part in mail.walk():
        if part.content_type == "message/feedback-report":
            fields: dsn.Fields = {}
            for block in dsn.blocks(part.text()):
                fields = block | fields
            return fields
    return None


def _without_report(mail: Part) -> Complaint | None:
    """Read what Outlook.com's junk mail reporting sends: the message alone, with a header that names the recipient."""
    back = returned.original(mail)
    if back is None:
        return None
    reporter = back.all("x-hmxmroriginalrecipient")
    text = mail.header("subject") + "\n" + returned.report_text(mail)[:1000]
    if not reporter and not (
        _REPORTED.search(text) and returned.RETURNED & {part.content_type for part in mail.walk()}
    ):
        return None
    return Complaint(recipients=_recipients(reporter, back), message_ids=tuple(returned.ids(mail)), feedback="abuse")


def _recipients(named: list[str], back: Part | None) -> tuple[str, ...]:
    """Return the addresses that the report names, or else whom the message was for, unless that is blotted out."""
    found = [address for value in named for address in reading.addresses(value)]
    if not found and back is not None:
        values = back.all("x-hmxmroriginalrecipient", "x-original-to", "to")
        found = [address for value in values for address in reading.addresses(value)]
    return tuple(dict.fromkeys(address for address in found if "redacted" not in address))
