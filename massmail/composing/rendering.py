"""Once per recipient: fill in, head, encode. Previews, test mails and the real thing go through here."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from django.utils.translation import gettext as _

from massmail.composing import headers, mime
from massmail.composing.templates import UNSUBSCRIBE, fill, neutral_locale, plain
from massmail.composing.types import Envelope, Links, Prepared, Rendered, Sender
from massmail.exceptions import CompositionError

_MESSAGE_ID = re.compile(r"<[!-;=?-~]+@[!-;=?-~]+>")
_URI = re.compile(r"[!-;=?-~]+")


def new_message_id(domain: str) -> str:
    """Return a Message-ID nobody can guess, `<random@domain>`; a non-ASCII domain in its ASCII form."""
    return f"<{secrets.token_hex(16)}@{headers.ascii_domain(domain)}>"


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` as templates see them, and as they are kept on record: data only."""
    return {str(name): plain(value) for name, value in values.items()}


def preview(prepared: Prepared, *, values: Mapping[str, Any], links: Links) -> Rendered:
    """Return what one recipient would read; pictures are `cid:` addresses (see `with_pictures`).

    Raises `CompositionError` if the message can't be filled in with `values`.
    """
    context = plain_values(values)
    context[UNSUBSCRIBE] = links.unsubscribe
    with neutral_locale():
        subject = headers.one_line(fill(prepared.subject_template, context, escape=False, field="subject"))
        html = fill(prepared.html_template, context, escape=True)
        text = fill(prepared.text_template, context, escape=False, field="plain_text").lstrip("\n")
    if len(subject) > headers.MAX_TEXT:
        raise CompositionError(_("The subject has more than 1000 characters when it is filled in."), field="subject")
    return Rendered(subject=subject, html=html, text=text)


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
) -> Envelope:
    """Return the message for one recipient.

    `to` is one bare address as the host has it, `values` are the plain values of the recipient type, `message_id` is
    one of `new_message_id`. Raises `CompositionError` if the message can't be filled in, and for line ends, NUL and the
    like in a header.
    """
    if not _MESSAGE_ID.fullmatch(message_id):
        raise CompositionError(_("%(id)s is not a Message-ID.") % {"id": ascii(message_id)}, field="address")
    envelope_from = headers.bare_address(sender.from_email)
    envelope_to = headers.bare_address(to)
    rendered = preview(prepared, values=values, links=links)
    lines = [
        ("From", headers.named_address(sender.from_name, envelope_from, header="From")),
        ("To", envelope_to),
        *([("Reply-To", headers.bare_address(sender.reply_to))] if sender.reply_to else []),
        ("Subject", headers.encoded(rendered.subject, header="Subject")),
        ("Date", format_datetime(datetime.now(UTC))),
        ("Message-ID", message_id),
        *list_headers(links, domain=envelope_from.rpartition("@")[2]),
        ("X-Massmail-ID", message_id.strip("<>")),
    ]
    try:
        data = mime.message_bytes(prepared, rendered, lines)
    except ValueError as error:
        raise CompositionError(str(error), field="address") from error
    return Envelope(sender=envelope_from, to=envelope_to, message_id=message_id, data=data)


def list_headers(links: Links, *, domain: str) -> list[tuple[str, str]]:
    """Return what tells mail programs that this is a newsletter, and how to leave it.

    RFC 2369 and RFC 8058 (one click), RFC 2919 (List-Id). No Auto-Submitted: RFC 3834, 5 keeps it for messages without
    a person behind them; auto-responders know this one as bulk mail by `List-*` and `Precedence` (RFC 3834, 2).
    """
    mailto = links.mailto and "mailto:" + links.mailto.removeprefix("mailto:")
    addresses = [address for address in (mailto, links.unsubscribe) if address]
    for address in addresses:
        if not _URI.fullmatch(address):
            raise CompositionError(
                _("%(address)s is not an address for unsubscribing.") % {"address": ascii(address)}, field="address"
            )
    return [
        ("List-Unsubscribe", ", ".join(f"<{address}>" for address in addresses)),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("List-Id", f"<newsletter.{domain.strip('[]')}>"),
        ("Precedence", "bulk"),
    ]
