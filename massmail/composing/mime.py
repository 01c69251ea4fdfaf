"""The frame of a message (RFC 2045, RFC 2046): its parts, the files among them, and what stands between them.

The parts are mixed > related > alternative, and a level that would hold one thing only is left out. Pictures stand
beside the alternatives because Gmail and Outlook compose their own mail so: it is the form that the most used readers
are made for. Related inside alternative is as valid (RFC 2387 allows both), and read by them, but the rarer form.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from email.message import MIMEPart
from email.policy import SMTP

from massmail.composing.headers import line, one_line
from massmail.composing.skeleton import Skeleton, TextPart
from massmail.composing.types import File

_MIME_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")


def skeleton(*, text: Sequence[str], html: Sequence[str], files: Iterable[File]) -> Skeleton:
    """Return the frame for a message of these fixed texts (with a gap between each two of them) and `files`."""
    files = tuple(files)
    before, after = b"", b""
    identity = hashlib.sha256(repr((text, html, [file.name for file in files])).encode()).hexdigest()[:28]
    # RFC 2387, 3.1: with the type of the part the others belong to.
    levels = (
        ("mixed", [file for file in files if not file.content_id]),
        ('related; type="multipart/alternative"', [file for file in files if file.content_id]),
    )
    for number, (subtype, inside) in enumerate(levels):
        if inside:
            boundary = f"=_{identity}.{number}"
            before += _opening(subtype, boundary)
            after = _next(boundary).join([b"", *map(file_part, inside)]) + _closing(boundary) + after
    boundary = f"=_{identity}"
    return Skeleton(
        before=line("MIME-Version", "1.0") + before + _opening("alternative", boundary),
        text=TextPart.of("plain", text),
        between=_next(boundary),
        html=TextPart.of("html", html),
        after=_closing(boundary) + after,
    )


def _opening(subtype: str, boundary: str) -> bytes:
    """Return the head of a multipart, and the line before its first part.

    A boundary has "=_", which can't occur in a part: all are quoted-printable or base64 (RFC 2045, 6.7). It is the
    same for all recipients, and when a mail is tried again.
    """
    return line("Content-Type", f'multipart/{subtype}; boundary="{boundary}"') + f"\r\n--{boundary}\r\n".encode()


def _next(boundary: str) -> bytes:
    return f"\r\n--{boundary}\r\n".encode()


def _closing(boundary: str) -> bytes:
    return f"\r\n--{boundary}--\r\n".encode()


def file_part(file: File) -> bytes:
    """Return an attachment or an inline image as a part, without the line end that belongs to the next boundary."""
    part = MIMEPart(policy=SMTP)
    part["Content-Type"] = _safe_type(file.mime_type)
    part["Content-Transfer-Encoding"] = "base64"
    disposition = "inline" if file.content_id else "attachment"
    part.add_header("Content-Disposition", disposition, filename=one_line(file.name) or "file")
    if file.content_id:
        part["Content-ID"] = f"<{file.content_id}>"
    part.set_payload(base64.encodebytes(file.data).decode("ascii"))
    return part.as_bytes().removesuffix(b"\r\n")


def _safe_type(mime_type: str) -> str:
    """Messages and multiparts must not be in base64 (RFC 2046, 5.1 and 5.2); what is not a type at all is bytes."""
    if not _MIME_TYPE.fullmatch(mime_type) or mime_type.lower().startswith(("message/", "multipart/")):
        return "application/octet-stream"
    return mime_type
