"""The frame of a message (RFC 2045, RFC 2046): its parts, the files among them, and what stands between them.

The parts are mixed > alternative > (plain, related > (html, pictures)), and a level that would hold one thing only is
left out. The pictures belong to the HTML alone (RFC 2387), so whoever reads the plain text is not shown them as files.
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
    pictures = [file for file in files if file.content_id]
    attachments = [file for file in files if not file.content_id]
    identity = hashlib.sha256(repr((text, html, [file.name for file in files])).encode()).hexdigest()[:28]
    outer, middle, inner = (f"=_{identity}.{level}" for level in range(3))
    before, between, after = _opening("alternative", middle), _next(middle), _closing(middle)
    if pictures:
        # RFC 2387, 3.1: with the type of the part the others belong to.
        between += _opening('related; type="text/html"', inner)
        after = _following(inner, pictures) + after
    if attachments:
        before = _opening("mixed", outer) + before
        after += _following(outer, attachments)
    return Skeleton(
        before=line("MIME-Version", "1.0") + before,
        text=TextPart.of("plain", text),
        between=between,
        html=TextPart.of("html", html),
        after=after,
    )


def _following(boundary: str, files: Iterable[File]) -> bytes:
    """Return `files` as the last parts of a multipart, and its end."""
    return _next(boundary).join([b"", *map(file_part, files)]) + _closing(boundary)


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
