"""Mail as strangers wrote it, read within limits: damaged, hostile or huge, it costs little and never raises.

Headers are parsed with the `compat32` policy: the newer ones build a tree of tokens for each header, and a subject of
100 kB in encoded words then takes 455 MB. Parts are split here and not by the `email` package, whose parser recurses
into whatever is nested. What stands inside a returned message is not opened: it is one part of type `message/rfc822`.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.parser import BytesParser
from email.policy import compat32
from email.utils import parsedate_to_datetime

from massmail.audience import parse_address

#: Octets of a message that are looked at, and of its headers; returned messages stand at the end and may be huge.
MAX_SIZE, MAX_HEAD = 1 << 20, 1 << 16
#: Characters of one header's value, and of one part's text.
MAX_VALUE, MAX_TEXT = 1 << 14, 1 << 16
#: Characters of a Content-Type in which parameters are looked for.
MAX_PARAMETERS = 2000
#: Characters of a subject as written, and as understood.
MAX_ENCODED, MAX_SUBJECT = 4000, 1000
#: How deep multiparts may stand in one another, and how many parts a message may have.
MAX_DEPTH, MAX_PARTS = 8, 100
#: Octets of an address (RFC 5321, 4.5.3.1) and of a Message-ID (the column in the database).
MAX_ADDRESS, MAX_ID = 320, 250

_HEAD = re.compile(rb"(?:(?:[!-9;-~]+:|[ \t])[^\n]*(?:\n|\Z))*")
_ENVELOPE = re.compile(rb"\n*>?From [^\n]*\n")
_SPACE = re.compile(r"\s+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_QUOTED_LOCAL = r'"[^"\r\n]{1,64}"'
ADDRESS = re.compile(rf"(?:{_QUOTED_LOCAL}|[^\s<>()\[\]\",;:@\\]{{1,64}})@[^\s<>()\[\]\",;:@\\]{{1,255}}")
_MESSAGE_ID = re.compile(rf"<[^<>\s]{{1,{MAX_ID - 2}}}>")
_BARE_ID = re.compile(r"[^<>\s@]{1,120}@[^<>\s@]{1,120}")
_TYPE = re.compile(r"\s*([\w!#$&^.+-]{1,80}/[\w!#$&^.+-]{1,80})\s*(?:;|$)")
#: Codecs of Python that are not charsets of mail, or that need quadratic time.
_NO_CHARSETS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"}
_BREAK = re.compile(r"<(?:br|hr|div|/p|/div|/tr|/li|/h[1-6]|/pre|/blockquote)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True)
class Part:
    """A message or one part of it. Names of headers are in lower case, values unfolded and as they were written."""

    headers: tuple[tuple[str, str], ...]
    body: bytes
    parts: tuple[Part, ...] = ()

    def header(self, name: str) -> str:
        """Return the first value of the header, or ""."""
        return next(iter(self.all(name)), "")

    def all(self, *names: str) -> list[str]:
        """Return every value of these headers, in the order of `names`."""
        return [value for name in names for known, value in self.headers if known == name]

    def has(self, *names: str) -> bool:
        return bool(self.all(*names))

    @property
    def content_type(self) -> str:
        """The type in lower case; "text/plain" where there is none that can be read (RFC 2045, 5.2)."""
        found = _TYPE.match(self.header("content-type"))
        return found[1].lower() if found else "text/plain"

    def parameter(self, name: str) -> str:
        """Return a parameter of the type, or ""."""
        pattern = rf';\s*{re.escape(name)}\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))'
        found = re.search(pattern, self.header("content-type")[:MAX_PARAMETERS], re.IGNORECASE)
        return (found[1] or found[2] or "").strip() if found else ""

    def walk(self) -> Iterator[Part]:
        """Yield this part and all parts below it."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def decoded(self) -> bytes:
        """Return the body without its transfer encoding; what can't be decoded is left as it is."""
        encoding = self.header("content-transfer-encoding").strip().lower()
        if encoding == "base64":
            return _from_base64(self.body)
        return quopri.decodestring(self.body) if encoding == "quoted-printable" else self.body

    def text(self) -> str:
        """Return the body of a text part as text (HTML without its tags), at most `MAX_TEXT` characters."""
        text = decode(self.decoded()[: 8 * MAX_TEXT], self.parameter("charset"))
        if self.content_type == "text/html":
            text = html_text(text)
        return clean(text[:MAX_TEXT])


def read(raw: bytes, *, limit: int = MAX_SIZE) -> Part:
    """Return the message in `raw`, of which only the first `limit` octets count. Never raises."""
    text = re.sub(rb"\r\n?", b"\n", raw[:limit]).replace(b"\0", b"").lstrip(b"\n")
    text = _ENVELOPE.sub(b"", text, count=1) if _ENVELOPE.match(text) else text  # as in a mailbox file
    return _Reader().part(text, depth=0)


class _Reader:
    """Splits a message into parts, no more of them than allowed."""

    def __init__(self) -> None:
        self.left = MAX_PARTS

    def part(self, text: bytes, *, depth: int) -> Part:
        headers, body = _split_head(text)
        part = Part(headers=headers, body=body)
        if depth >= MAX_DEPTH or not part.content_type.startswith("multipart/"):
            return part
        pieces = _split_body(body, part.parameter("boundary"), limit=self.left)
        self.left -= len(pieces)
        return Part(headers=headers, body=body, parts=tuple(self.part(piece, depth=depth + 1) for piece in pieces))


def _split_head(text: bytes) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """Return headers and body, which begins after an empty line or with the first line that can't be a header."""
    found = _HEAD.match(text)
    end = found.end() if found else 0
    parsed = BytesParser(policy=compat32).parsebytes(text[: min(end, MAX_HEAD)], headersonly=True)
    headers = tuple((name.lower(), _unfold(value)) for name, value in parsed.raw_items())
    return headers, text[end + 1 :] if text[end : end + 1] == b"\n" else text[end:]


def _unfold(value: str) -> str:
    return " ".join(str(value)[:MAX_VALUE].split())


def _split_body(body: bytes, boundary: str, *, limit: int) -> list[bytes]:
    if not boundary:
        return []
    line = b"--" + re.escape(boundary.encode("ascii", "surrogateescape"))
    pieces, start = [], None
    for found in re.finditer(rb"(?:^|\n)" + line + rb"(--)?[ \t]*(?=\n|$)", body):
        if start is not None:
            pieces.append(body[start : found.start()])
        if found[1] or len(pieces) >= limit:
            return pieces
        start = found.end() + 1
    if start is not None:
        pieces.append(body[start:])  # cut off, or its last boundary forgotten
    return pieces[:limit]


def _from_base64(body: bytes) -> bytes:
    letters = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
    try:
        return base64.b64decode(letters + b"=" * (-len(letters) % 4))
    except binascii.Error:
        return body


def decode(data: bytes, charset: str) -> str:
    """Return text in `charset`; where that is unknown or wrong, in UTF-8 or else Latin-1, which fits everything."""
    for name in (charset, "utf-8"):
        try:
            codec = codecs.lookup(name)
            if codec.name not in _NO_CHARSETS:
                return data.decode(codec.name)
        except (LookupError, ValueError):
            continue
    return data.decode("latin-1")


def decode_words(value: str) -> str:
    """Return a header's value with its encoded words (RFC 2047) decoded, on one line, at most `MAX_SUBJECT` long."""
    value = value[:MAX_ENCODED]
    try:
        pieces = decode_header(decode(value.encode("ascii", "surrogateescape"), "") if _has_octets(value) else value)
    except (HeaderParseError, ValueError):
        return one_line(value)[:MAX_SUBJECT]
    words = [piece if isinstance(piece, str) else decode(piece, charset or "") for piece, charset in pieces]
    return one_line("".join(words))[:MAX_SUBJECT]


def _has_octets(value: str) -> bool:
    """Whether the header had octets beyond ASCII, which the parser keeps as surrogates."""
    return any("\ud800" <= letter <= "\udfff" for letter in value)


def clean(text: str) -> str:
    """Return `text` without control characters, which databases and pages don't take, and overrides of direction."""
    return _CONTROLS.sub("", text)


def one_line(text: str) -> str:
    return _SPACE.sub(" ", clean(text)).strip()


def html_text(source: str) -> str:
    """Return what a reader sees of HTML, roughly, with a line for each paragraph, row or item."""
    for element in ("head", "style", "script"):
        source = without_element(source, element)
    text = html.unescape(_TAG.sub("", _BREAK.sub("\n", source)))
    return re.sub(r"\n{3,}", "\n\n", text)


def without_element(source: str, name: str) -> str:
    """Return HTML without any `name` elements; one that is never closed goes to the end."""
    pieces, position, lower = [], 0, source.lower()
    opening = re.compile(rf"<{name}\b")
    while found := opening.search(lower, position):
        pieces.append(source[position : found.start()])
        end = lower.find(f"</{name}", found.end())
        position = len(source) if end < 0 else end
        if end >= 0:
            close = lower.find(">", end)
            position = len(source) if close < 0 else close + 1
    return "".join([*pieces, source[position:]])


def addresses(text: str) -> list[str]:
    """Return the addresses in a header or line, normalised as in the database, each once."""
    found = (match.strip("'`*.") for match in ADDRESS.findall(text))
    return list(dict.fromkeys(normalise(address) for address in found if "@" in address.strip("@")))


def normalise(address: str) -> str:
    """Return `address` in the form in which deliveries are stored, or just in lower case if it is not valid."""
    parsed = parse_address(address) if len(address) <= MAX_ADDRESS else None
    return parsed.normalised if parsed else clean(address).lower()[:MAX_ADDRESS]


def message_ids(text: str) -> list[str]:
    """Return the Message-IDs in a header, each as `<left@right>`; also one that lost its brackets."""
    found = _MESSAGE_ID.findall(text)
    if not found and (bare := _BARE_ID.fullmatch(text.strip())):
        found = [f"<{bare[0]}>"]
    return [one_line(each) for each in found]


def date(text: str) -> datetime | None:
    """Return a Date header as an aware time, or None."""
    try:
        found = parsedate_to_datetime(text[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
