"""What is the same in every mail of a message, encoded once, with gaps for what differs.

A text part alternates between fixed texts and what is filled in. Each piece is put into quoted-printable by itself and
ends in a soft line break (RFC 2045, 6.7, rule 5), so that no line grows too long whatever stands beside it, and the
fixed pieces, nearly all of the bytes, are never encoded again.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from massmail.transport.wire import Ready, is_ready

#: Where quoted-printable takes more than this for a byte, base64 is the shorter one.
DENSE = 1.4
_SOFT_BREAK = b"=\r\n"
#: Of them SMTP would double the first (RFC 5321, 4.5.2), and to find it in each mail takes longer than to send it.
_LEADING_DOTS = re.compile(rb"^\.+", re.MULTILINE)
#: What needs no encoding and leaves room for the "=" of the break: most of what is filled in.
_PLAIN = re.compile(rb"[0-9A-Za-z](?:[ -<>-~]{0,72}[!-<>-~])?")
#: Bytes that make a line of base64 of 76 characters, the most that RFC 2045, 6.8 allows.
_LINE = 76


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """A text part: `texts` as they are, `quoted` the same in quoted-printable; one gap between each two of them."""

    subtype: str
    texts: tuple[str, ...]
    quoted: tuple[bytes, ...]
    #: Bytes of `texts` in UTF-8.
    size: int

    @classmethod
    def of(cls, subtype: str, texts: Sequence[str]) -> TextPart:
        """Return the part with these fixed texts; the line ends of each are normalised."""
        normal = tuple(map(_normal, texts))
        *inner, last = normal
        return cls(
            subtype=subtype,
            texts=normal,
            quoted=(*map(_quoted, inner), _to_the_end(last.encode())),
            size=sum(len(text.encode()) for text in normal),
        )

    def filled(self, fills: Sequence[str]) -> Ready:
        """Return headers and content of the part with `fills` in its gaps, in the shorter of the two encodings.

        Both keep lines short and survive every relay, also one without 8BITMIME (RFC 6152). In neither does a line
        begin with a dot.
        """
        if any("\r" in fill for fill in fills):
            # Half of a line end may stand on the other side of a gap.
            return TextPart.of(self.subtype, ["".join(woven(self.texts, fills))]).filled(())
        quoted = list(self.quoted)
        length = 0
        for number, fill in enumerate(fills):
            if fill:
                raw = fill.encode()
                length += len(raw)
                quoted[number] += _softly(raw)
        content = b"".join(quoted)
        if len(content) > (self.size + length) * DENSE:
            return Ready(self._head(b"base64") + _in_base64("".join(woven(self.texts, fills))))
        return Ready(self._head(b"quoted-printable") + content)

    def _head(self, encoding: bytes) -> bytes:
        return (
            b'Content-Type: text/%s; charset="utf-8"\r\nContent-Transfer-Encoding: %s\r\n\r\n'
            % (self.subtype.encode(), encoding)
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """A message without what differs: three runs of bytes around its two text parts.

    `before` begins with the last of the message's headers, those of MIME.
    """

    before: bytes
    text: TextPart
    between: bytes
    html: TextPart
    after: bytes
    #: Whether the three runs go over the wire as they are.
    is_ready: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_ready", all(map(is_ready, (self.before, self.between, self.after))))

    def filled(self, *, text: Sequence[str], html: Sequence[str]) -> bytes:
        """Return the message from its MIME headers on, with `text` and `html` in the gaps of the two parts."""
        whole = b"".join((self.before, self.text.filled(text), self.between, self.html.filled(html), self.after))
        return Ready(whole) if self.is_ready else whole


def woven(texts: Sequence[str], fills: Sequence[str]) -> Iterator[str]:
    """Return fixed texts and what is filled in, in turn."""
    return chain.from_iterable(zip_longest(texts, fills, fillvalue=""))


def _normal(text: str) -> str:
    return re.sub(r"\r\n?", "\n", text) if "\r" in text else text


def _quoted(text: str) -> bytes:
    return _softly(text.encode()) if text else b""


def _softly(raw: bytes) -> bytes:
    """Return `raw` in quoted-printable, ready for anything to follow: at the start of a line."""
    if _PLAIN.fullmatch(raw):
        return raw + _SOFT_BREAK
    # With a character behind it, spaces at the end need no encoding, and there is room for the "=" of the break.
    quoted = _to_the_end(raw + b"x")[:-1]
    return quoted if quoted.endswith(b"\n") else quoted + _SOFT_BREAK


def _to_the_end(raw: bytes) -> bytes:
    quoted = binascii.b2a_qp(raw, istext=True)
    if b"\n." in quoted or quoted.startswith(b"."):
        # On a line of its own, so that the rest grows no longer.
        quoted = _LEADING_DOTS.sub(lambda found: b"=2E=\n" * len(found[0]), quoted)
    return quoted.replace(b"\n", b"\r\n")


def _in_base64(text: str) -> bytes:
    encoded = binascii.b2a_base64(text.replace("\n", "\r\n").encode(), newline=False)
    return b"\r\n".join([encoded[start : start + _LINE] for start in range(0, len(encoded), _LINE)])
