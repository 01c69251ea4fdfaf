"""A filled-in message as bytes (RFC 5322, RFC 2045), the same on every version of Python and Django.

The parts are mixed > related > alternative, and a level that would hold one thing only is left out. Pictures stand
beside the alternatives because Gmail and Outlook compose their own mail so: it is the form that the most used readers
are made for. Related inside alternative is as valid (RFC 2387 allows both), and read by them, but the rarer form.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from email.message import EmailMessage, MIMEPart
from typing import Any, cast

from massmail.composing.headers import POLICY, one_line
from massmail.composing.types import File, Prepared, Rendered

_MIME_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")


def file_part(file: File) -> MIMEPart:
    """Return an attachment or an inline image as a part; it may stand in any number of messages."""
    part = MIMEPart(policy=POLICY)
    part["Content-Type"] = _safe_type(file.mime_type)
    part["Content-Transfer-Encoding"] = "base64"
    disposition = "inline" if file.content_id else "attachment"
    part.add_header("Content-Disposition", disposition, filename=one_line(file.name) or "file")
    if file.content_id:
        part["Content-ID"] = f"<{file.content_id}>"
    part.set_payload(base64.encodebytes(file.data).decode("ascii"))
    return part


def _safe_type(mime_type: str) -> str:
    """Messages and multiparts must not be in base64 (RFC 2046, 5.1 and 5.2); what is not a type at all is bytes."""
    if not _MIME_TYPE.fullmatch(mime_type) or mime_type.lower().startswith(("message/", "multipart/")):
        return "application/octet-stream"
    return mime_type


def message_bytes(prepared: Prepared, rendered: Rendered, headers: Sequence[tuple[str, str]]) -> bytes:
    """Return the message with these headers, its lines ended by CRLF and none longer than 998 octets.

    Raises `ValueError` for a header with line ends or control characters.
    """
    identity = dict(headers).get("Message-ID", "")
    body = _multipart("alternative", [_text_part(rendered.text, "plain"), _text_part(rendered.html, "html")], identity)
    if prepared.images:
        # RFC 2387, 3.1: with the type of the part the others belong to.
        subtype = 'related; type="multipart/alternative"'
        body = _multipart(subtype, [body, *prepared.images], identity)
    if prepared.attachments:
        body = _multipart("mixed", [body, *prepared.attachments], identity)
    message = EmailMessage(policy=POLICY)
    for name, value in (*headers, ("MIME-Version", "1.0"), *body.items()):
        message[name] = value
    message.set_payload(cast("list[Any]", body.get_payload()))
    return message.as_bytes()


def _multipart(subtype: str, parts: Iterable[MIMEPart], identity: str) -> MIMEPart:
    """Return the parts in one.

    The boundary has "=_", which can't occur in a part: all are quoted-printable or base64 (RFC 2045, 6.7). It depends
    on the Message-ID only, so that a retry sends the same.
    """
    part = MIMEPart(policy=POLICY)
    boundary = hashlib.sha256(f"{subtype} {identity}".encode()).hexdigest()[:32]
    part["Content-Type"] = f'multipart/{subtype}; boundary="=_{boundary}"'
    payload: list[Any] = list(parts)
    part.set_payload(payload)
    return part


def _text_part(text: str, subtype: str) -> MIMEPart:
    """Return text in the shorter of the two encodings that keep lines short and survive every relay."""
    raw = re.sub(r"\r\n?", "\n", text).encode()
    quoted = binascii.b2a_qp(raw, istext=True)
    in_base64 = base64.encodebytes(raw.replace(b"\n", b"\r\n")) if len(quoted) > len(raw) * 1.4 else b""
    part = MIMEPart(policy=POLICY)
    part["Content-Type"] = f'text/{subtype}; charset="utf-8"'
    part["Content-Transfer-Encoding"] = "base64" if in_base64 else "quoted-printable"
    part.set_payload((in_base64 or quoted).decode("ascii"))
    return part
