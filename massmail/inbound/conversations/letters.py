"""A mail as it is kept: what was written, as text, and its attachments, which nobody opens. Pure."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass, field
from email.errors import MessageError
from email.message import Message
from email.utils import parseaddr

from massmail.inbound import reading, returned
from massmail.inbound.reading import Part
from massmail.inbound.replytext import reply_text

#: Octets of a mail that are read when it is imported, and files of it that are kept.
MAX_MAIL, MAX_FILES = 10 << 20, 50
#: Message-IDs that a mail may refer to.
MAX_IDS = 50
TICKET_HEADER = "X-Massmail-Ticket"
_TICKET = re.compile(r"\[ticket:\s*([a-z0-9]{16})\]", re.IGNORECASE)
_SIGNED = re.compile(r"[a-z0-9]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """An attachment as it came, under a name that is safe to offer."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A mail that may belong to a conversation.

    `identity` is the same for every copy of the mail, `ids` are its own Message-IDs, `refers_to` those of mails it
    answers, the nearest first. `whole` tells that nothing of it was left on the server.
    """

    identity: str
    ids: tuple[str, ...]
    refers_to: tuple[str, ...]
    tickets: tuple[str, ...]
    address: str
    name: str
    reply_to: str
    to: str
    subject: str
    text: str
    quoting: str
    date: dt.datetime | None
    whole: bool
    files: tuple[File, ...] = ()


def letter(raw: bytes, *, size: int, own_address: str) -> Letter:
    """Return the mail of `size` octets of which `raw` is the beginning. Never raises.

    `own_address` is that of whom the mail answers, which tells the quotation from what is new.
    """
    mail = reading.read(raw, limit=MAX_MAIL)
    whole = len(raw) >= size
    text, quoting = reply_text(raw, own_address), returned.body_text(mail).strip()
    return Letter(
        identity=identity(mail),
        ids=_own_ids(mail),
        refers_to=tuple(returned.ids(mail)[:MAX_IDS]),
        tickets=_tickets(mail),
        address=next(iter(reading.addresses(mail.header("from"))), ""),
        name=_name(mail.header("from")),
        reply_to=next(iter(reading.addresses(mail.header("reply-to"))), ""),
        to=", ".join(reading.addresses(", ".join(mail.all("to", "cc")))[:20]),
        subject=reading.decode_words(mail.header("subject")),
        text=text or quoting,
        quoting=quoting if text and _squeezed(quoting) != _squeezed(text) else "",
        date=reading.date(mail.header("date")),
        whole=whole,
        files=_files(mail, whole=whole),
    )


def identity(mail: Part) -> str:
    """Return what tells whether two mails are the same one, wherever it lies and however much of it was read.

    A Message-ID alone does not: some machines answer with that of the mail they answer.
    """
    names = ["message-id", "date", "from", "to", "subject", *([] if mail.has("message-id") else ["received"])]
    return hashlib.sha256("\n".join(mail.all(*names)).encode("utf-8", "surrogatepass")).hexdigest()


def untagged(subject: str) -> str:
    """Return a subject without its ticket."""
    return " ".join(_TICKET.sub(" ", subject).split())


def _own_ids(mail: Part) -> tuple[str, ...]:
    """Return the Message-ID, and ours, where a server gave it another one."""
    found = reading.message_ids(mail.header("message-id"))[:1]
    found += reading.message_ids(f"<{mail.header('x-massmail-id').strip(' <>')}>")[:1]
    return tuple(dict.fromkeys(found))


def _tickets(mail: Part) -> tuple[str, ...]:
    signed = _SIGNED.fullmatch(mail.header(TICKET_HEADER.lower()).strip().lower())
    found = [signed[0]] if signed else []
    found += [each.lower() for each in _TICKET.findall(reading.decode_words(mail.header("subject")))]
    return tuple(dict.fromkeys(found))[:5]


def _name(value: str) -> str:
    name, _address = parseaddr(value[: reading.MAX_ENCODED])
    return reading.decode_words(name)[:200]


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _files(mail: Part, *, whole: bool) -> tuple[File, ...]:
    """Return what is attached; of a mail that was cut off the last part is not complete."""
    leaves = [part for part in mail.walk() if not part.parts]
    attached = [part for part in (leaves if whole else leaves[:-1]) if _is_file(part)]
    return tuple(File(name=_file_name(part), data=part.decoded()) for part in attached[:MAX_FILES])


def _is_file(part: Part) -> bool:
    if part.content_type in ("text/plain", "text/html"):
        return part.header("content-disposition").lower().startswith("attachment")
    return not part.content_type.startswith("multipart/")


def _file_name(part: Part) -> str:
    """Return the last component of the name the sender gave: no path, no control characters, no leading dots."""
    head = Message()
    for header in ("content-disposition", "content-type"):
        if part.has(header):
            value = part.header(header)[: reading.MAX_PARAMETERS]
            # Many programs write UTF-8 as it is, which the parser keeps as surrogates.
            head[header] = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    try:
        given = head.get_filename() or ""
    except (MessageError, ValueError, LookupError, TypeError):
        given = ""
    name = re.split(r"[/\\]", reading.decode_words(given))[-1].strip(" .")
    if not name:
        return "message.eml" if part.content_type == "message/rfc822" else "attachment"
    return name if len(name) <= 150 else name[:120] + name[-30:]
