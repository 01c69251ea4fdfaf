"""The message that a report gives back, whole or only its headers, as a part or just typed below the text."""

from __future__ import annotations

import re

from massmail.inbound import reading
from massmail.inbound.reading import Part

#: Types of a returned message (RFC 3462, RFC 6533, and one that some servers made up).
RETURNED = {
    "message/rfc822",
    "message/global",
    "message/global-headers",
    "message/rfc822-headers",
    "text/rfc822-headers",
    "text/rfc822",
}
#: Lines after which only the returned message follows.
_BELOW = re.compile(
    r"^[ \t>*_=-]*(?:(?:below this line is|this is|the following is|included is) a copy of (?:the|your)"
    r"|(?:the )?(?:original|unsent|returned|undelivered|bounced) (?:message|mail)(?: headers?)?"
    r"(?: (?:follows?|is following|is included below|attached)\b|[ \t]*[:.*_=-]*[ \t]*$|-)"
    r"|(?:the )?headers? of the (?:original|source) (?:message|mail)|message header|original message headers"
    r"|(?:message|headers?) (?:header )?(?:follows?|is following)|received message follows"
    r"|mensaje original|message d'origine|ursprüngliche nachricht|исходное сообщение|текст письма)",
    re.IGNORECASE | re.MULTILINE,
)
_HEADER = re.compile(
    r"^[ \t>]*(?:return-path|received|from|to|date|message-id|mime-version|x-[\w-]+): ?\S", re.I | re.M
)
_OWN_ID = re.compile(r"^[ \t>]*x-massmail-id: *<?([^<>\s]{3,250})", re.IGNORECASE | re.MULTILINE)
_ID = re.compile(r"^[ \t>]*(?:original )?message-?id: *(<[^<>\s]{3,248}>)", re.IGNORECASE | re.MULTILINE)


def original(mail: Part) -> Part | None:
    """Return the message that `mail` gives back, or None."""
    for part in mail.walk():
        if part is mail:
            continue
        if part.content_type in RETURNED:
            return reading.read(part.decoded())
        if part.has("message-id") and part.has("from"):
            return part  # the returned message stands where a part should
    below = _below(body_text(mail))
    return reading.read(below.encode()) if _HEADER.match(below) else None


def body_text(mail: Part) -> str:
    """Return what a person reads: all parts with text, of two alternatives the plainer. Never a returned message."""
    return "\n".join(part.text() for part in _texts(mail))[: reading.MAX_TEXT]


def _texts(part: Part) -> list[Part]:
    if part.content_type == "multipart/alternative" and part.parts:
        plain = [each for each in part.parts if each.content_type == "text/plain" and each.body.strip()]
        return _texts(plain[0] if plain else part.parts[-1])
    if part.parts:
        return [text for each in part.parts for text in _texts(each)]
    readable = part.content_type in {"text/plain", "text/html"} or part.content_type.startswith("multipart/")
    attached = part.header("content-disposition").lower().startswith("attachment")
    return [part] if readable and not attached else []


def report_text(mail: Part) -> str:
    """Return the text of a report without what is typed below it of the original."""
    text = body_text(mail)
    return text[: len(text) - len(_below(text))]


def _below(text: str) -> str:
    """Return what follows the line that announces the original, beginning with its headers; "" without one."""
    found = _BELOW.search(text)
    if not found:
        return ""
    head = _HEADER.search(text, found.end())
    return text[head.start() :] if head else text[found.end() :]


def ids(mail: Part) -> list[str]:
    """Return what may be the Message-ID of the message `mail` answers, the most trustworthy first, each once.

    The returned message knows best, and our own header there survives servers that give a new Message-ID. After that
    comes what the report repeats in its text, and what every mail program writes: In-Reply-To, References from the end.
    """
    found: list[str] = []
    if back := original(mail):
        found += [each for value in back.all("message-id") for each in reading.message_ids(value)]
        found += _own(back.all("x-massmail-id"))
    text = body_text(mail)
    found += [reading.one_line(each) for each in _ID.findall(text)[:5]] + _own(_OWN_ID.findall(text)[:5])
    for value in mail.all("x-original-message-id", "original-message-id", "in-reply-to"):
        found += reading.message_ids(value)
    for value in mail.all("references"):
        found += reading.message_ids(value)[::-1]
    return list(dict.fromkeys(found))[:50]


def _own(values: list[str]) -> list[str]:
    return [each for value in values for each in reading.message_ids(f"<{value.strip(' <>')}>")]
