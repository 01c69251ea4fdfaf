"""Once per recipient: fill in, head, encode. Previews, test mails and the real thing go through here."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

from django.utils.translation import gettext as _

from massmail.composing import headers
from massmail.composing.skeleton import woven
from massmail.composing.templates import UNSUBSCRIBE, compile_source, fill, fill_gaps, plain
from massmail.composing.types import Envelope, Links, Prepared, Rendered, Sender
from massmail.exceptions import CompositionError
from massmail.models import Message

_MESSAGE_ID = re.compile(r"<[!-;=?-~]+@[!-;=?-~]+>")
_URI = re.compile(r"[!-;=?-~]+")


def new_message_id(domain: str) -> str:
    """Return a Message-ID nobody can guess, `<random@domain>`; a non-ASCII domain in its ASCII form."""
    return f"<{secrets.token_hex(16)}@{headers.ascii_domain(domain)}>"


class PlainValues(dict[str, Any]):
    """What `plain_values` returned, so that it needs no second look."""


def plain_values(values: Mapping[str, Any]) -> PlainValues:
    """Return `values` as templates see them, and as they are kept on record: data only."""
    if isinstance(values, PlainValues):
        return values
    return PlainValues((str(name), plain(value)) for name, value in values.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What one recipient's values make of a message: the subject, and what stands in the gaps of its two texts."""

    subject: str
    html: Sequence[str]
    text: Sequence[str]


def _filled(prepared: Prepared, values: Mapping[str, Any], links: Links) -> Filled:
    context = {**plain_values(values), UNSUBSCRIBE: links.unsubscribe}
    subject = headers.one_line(fill(prepared.subject_template, context, escape=False, field="subject"))
    html = fill_gaps(prepared.html_template, context, escape=True)
    text = fill_gaps(prepared.text_template, context, escape=False, field="plain_text")
    if len(subject) > headers.MAX_TEXT:
        raise CompositionError(_("The subject has more than 1000 characters when it is filled in."), field="subject")
    if text and not prepared.text_template.texts[0]:
        text[0] = text[0].lstrip("\n")
    return Filled(subject=subject, html=html, text=text)


def preview(prepared: Prepared, *, values: Mapping[str, Any], links: Links) -> Rendered:
    """Return what one recipient would read; pictures are `cid:` addresses (see `with_pictures`).

    Raises `CompositionError` if the message can't be filled in with `values`.
    """
    filled = _filled(prepared, values, links)
    return Rendered(
        subject=filled.subject,
        html="".join(woven(prepared.html_template.texts, filled.html)),
        text="".join(woven(prepared.text_template.texts, filled.text)),
    )


def preheader_line(message: Message, values: Mapping[str, Any]) -> str:
    """Return the preheader of `message` as one recipient reads it; raise `CompositionError` if that fails."""
    template = compile_source(message.preheader, field="preheader")
    return fill(template, plain_values(values), escape=False, field="preheader")


def with_pictures(html: str, prepared: Prepared) -> str:
    """Return rendered `html` with its inline images as `data:` addresses, for showing it in a browser."""
    for file in prepared.files:
        if file.content_id:
            data = f"data:{file.mime_type};base64,{base64.b64encode(file.data).decode()}"
            html = html.replace(f"cid:{file.content_id}", data)
    return html


def render(
    prepared: Prepared,
    *,
    sender: Sender,
    to: str,
    values: Mapping[str, Any],
    message_id: str,
    links: Links,
    is_test: bool = False,
    date: datetime | None = None,
) -> Envelope:
    """Return the message for one recipient.

    `to` is one bare address as the host has it, `values` are the plain values of the recipient type, `message_id` is
    one of `new_message_id`; `is_test` marks a test mail in its head, and nowhere else; `date` is now unless a mail of
    the past is made again. Raises `CompositionError` if the message can't be filled in, and for line ends, NUL and the
    like in a header.
    """
    if not _MESSAGE_ID.fullmatch(message_id):
        raise CompositionError(_("%(id)s is not a Message-ID.") % {"id": ascii(message_id)}, field="address")
    head = _head_of(sender.from_name, sender.from_email, sender.reply_to)
    envelope_to = headers.bare_address(to)
    filled = _filled(prepared, values, links)
    try:
        lines = [
            head.sender,
            headers.line("To", envelope_to),
            head.reply_to,
            headers.line("Subject", headers.encoded(filled.subject, header="Subject")),
            _date_line(int(date.timestamp() if date else time.time())),
            headers.line("Message-ID", message_id),
            headers.line("List-Unsubscribe", _list_unsubscribe(links)),
            head.bulk,
            _feedback_line(prepared.campaign, head.address),
            headers.line("X-Massmail-ID", message_id.strip("<>")),
            headers.line("X-Massmail-Test", "yes") if is_test else b"",
        ]
    except ValueError as error:
        raise CompositionError(str(error), field="address") from error
    body = prepared.skeleton.filled(text=filled.text, html=filled.html)
    data = type(body)(b"".join((*lines, body)))  # headers are on lines of their own, and none begins with a dot
    return Envelope(sender=head.address, to=envelope_to, message_id=message_id, data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderHead:
    """The headers that are the same in all mails of a sender, and the bare address they come from."""

    address: str
    sender: bytes
    reply_to: bytes
    bulk: bytes


@lru_cache(maxsize=128)
def _head_of(name: str, address: str, reply_to: str) -> SenderHead:
    """Return the headers of this sender.

    With `List-Unsubscribe` they tell mail programs that this is a newsletter, and how to leave it: RFC 2369 and RFC
    8058 (one click), RFC 2919 (List-Id). No Auto-Submitted: RFC 3834, 5 keeps it for messages without a person behind
    them; auto-responders know this one as bulk mail by `List-*` and `Precedence` (RFC 3834, 2).
    """
    bare = headers.bare_address(address)
    bulk = (
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("List-Id", f"<newsletter.{bare.rpartition('@')[2].strip('[]')}>"),
        ("Precedence", "bulk"),
    )
    try:
        return SenderHead(
            address=bare,
            sender=headers.line("From", headers.named_address(name, bare, header="From")),
            reply_to=headers.line("Reply-To", headers.bare_address(reply_to)) if reply_to else b"",
            bulk=b"".join(headers.line(*header) for header in bulk),
        )
    except ValueError as error:
        raise CompositionError(str(error), field="address") from error


@lru_cache(maxsize=128)
def _feedback_line(campaign: str, address: str) -> bytes:
    """Return the header by which Gmail's feedback loop groups complaints: message, account, kind, and who sends.

    Four fields, the last of 5 to 15 characters (Gmail help, "Feedback Loop"); none of them says anything to others.
    """
    account = hashlib.sha256(address.lower().encode()).hexdigest()[:12]
    return headers.line("Feedback-ID", f"{campaign}:{account}:newsletter:massmail")


@lru_cache(maxsize=1)
def _date_line(seconds: int) -> bytes:
    return headers.line("Date", format_datetime(datetime.fromtimestamp(seconds, UTC)))


def _list_unsubscribe(links: Links) -> str:
    mailto = links.mailto and "mailto:" + links.mailto.removeprefix("mailto:")
    addresses = [address for address in (mailto, links.unsubscribe) if address]
    for address in addresses:
        if not _URI.fullmatch(address):
            raise CompositionError(
                _("%(address)s is not an address for unsubscribing.") % {"address": ascii(address)}, field="address"
            )
    return ", ".join(f"<{address}>" for address in addresses)
