"""Mails as they come back to a sender, written for these tests in the formats of the systems they are named after.

`Case` says what a mail is and what the event about it must tell; the mails themselves are in the modules beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

OWN = "anna.berg@acme.example"
GONE = "jo.doe@customer.example"
MESSAGE_ID = "<1700000000.42.abcdef@acme.example>"

#: The headers of the newsletter that the corpus' mails answer or return.
ORIGINAL = f"""\
Return-Path: <{OWN}>
Received: from [192.0.2.7] (port=40312 helo=mail.acme.example)
\tby mx.acme.example with esmtpsa id 1rABCD-0001; Tue, 14 May 2024 09:30:01 +0200
From: "Anna Berg" <{OWN}>
To: {GONE}
Subject: Spring news
Date: Tue, 14 May 2024 09:30:00 +0200
Message-ID: {MESSAGE_ID}
X-Massmail-ID: {MESSAGE_ID.strip("<>")}
List-Unsubscribe: <https://news.acme.example/massmail/u/abcdefghijklmnopqrstuv/>
MIME-Version: 1.0
Content-Type: text/plain; charset="utf-8"
"""
BODY = "\nDear Jo,\n\nour spring offers are here.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A mail and what it is; `recipients` are those of the event, `known` tells that it names the original."""

    name: str
    raw: bytes
    recipients: tuple[str, ...] = (GONE,)
    status: str = ""
    permanent: bool | None = None
    reason: str = ""
    words: str = ""
    known: bool = True

    def __str__(self) -> str:
        return self.name


def mail(headers: str, body: str = "", charset: str = "utf-8") -> bytes:
    """Return a mail to our account from lines of headers and a body, with the ends of lines that mail has."""
    head = dedent(headers).strip("\n")
    if "\nto:" not in "\n" + head.lower():
        head += f"\nTo: {OWN}"
    if "\ndate:" not in "\n" + head.lower():
        head += "\nDate: Wed, 15 May 2024 10:00:00 +0200"
    text = f"{head}\nMessage-ID: <answer.{len(body)}@elsewhere.example>\n\n{dedent(body)}"
    return text.encode(charset).replace(b"\n", b"\r\n")


def multipart(*parts: str) -> str:
    """Return the body of a multipart message with the boundary "=_b"."""
    return "".join(f"--=_b\n{part.strip(chr(10))}\n" for part in parts) + "--=_b--\n"


def notification(
    *fields: str,
    sender: str = "Mail Delivery System <MAILER-DAEMON@mx.acme.example>",
    subject: str = "Undelivered Mail Returned to Sender",
    text: str = "I'm sorry to have to inform you that your message could not be delivered.",
    back: str = "message/rfc822",
    kind: str = "message/delivery-status",
    more: str = "",
) -> bytes:
    """Return a delivery status notification (RFC 3464) with these groups of fields, the first about the report."""
    status = "\n\n".join(dedent(each).strip("\n") for each in fields)
    parts = [f"Content-Type: text/plain; charset=utf-8\n\n{dedent(text)}", f"Content-Type: {kind}\n\n{status}\n"]
    if back:
        returned = ORIGINAL + (BODY if back in {"message/rfc822", "message/global"} else "")
        parts.append(f"Content-Type: {back}\n\n{returned}")
    head = f"Return-Path: <>\nFrom: {sender}\nSubject: {subject}\nMIME-Version: 1.0\n"
    head += 'Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"\n' + more
    return mail(head, multipart(*parts))
