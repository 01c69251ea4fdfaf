"""Takes a caught message apart for the inbox pages."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from html.parser import HTMLParser

from example_project.demo.mailstore import readable

#: A message may nest; nobody reads deeper than this.
MAX_DEPTH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One line of the MIME tree; `size` in bytes after decoding."""

    depth: int
    content_type: str
    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What the message page shows. `links` are addresses with their texts, in order, each once."""

    headers: list[tuple[str, str]]
    parts: list[Part]
    html: str
    text: str
    links: list[tuple[str, str]]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.open: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href") or ""
        if tag == "a" and href.startswith(("http://", "https://")):
            self.open = href
            self.found.setdefault(href, "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self.open = None

    def handle_data(self, data: str) -> None:
        if self.open:
            self.found[self.open] = " ".join(f"{self.found[self.open]} {data}".split())


def read(raw: bytes) -> Letter:
    message = message_from_bytes(raw)
    html = _with_pictures(message, _body(message, "text/html"))
    links = _Links()
    links.feed(html)
    return Letter(
        headers=[(name, readable(" ".join(str(value).split()))) for name, value in message.items()],
        parts=list(_tree(message, 0)),
        html=html,
        text=_body(message, "text/plain"),
        links=list(links.found.items()),
    )


def _body(message: Message, content_type: str) -> str:
    """Return the first part of that type which is not an attachment, or an empty text."""
    for part in message.walk():
        if part.get_content_type() == content_type and part.get_content_disposition() != "attachment":
            return _decoded(part)
    return ""


def _with_pictures(message: Message, html: str) -> str:
    """Return `html` with the message's own pictures, as a mail program shows it."""
    for part in message.walk():
        name, content = str(part.get("Content-ID", "")).strip("<> "), part.get_payload(decode=True)
        if name and isinstance(content, bytes):
            data = f"data:{part.get_content_type()};base64,{b64encode(content).decode()}"
            html = html.replace(f"cid:{name}", data)
    return html


def _decoded(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return payload.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        return payload.decode("utf-8", "replace")


def _tree(message: Message, depth: int) -> Iterator[Part]:
    payload = message.get_payload()
    children = payload if isinstance(payload, list) and depth < MAX_DEPTH else []
    content = message.get_payload(decode=True)
    yield Part(
        depth=depth,
        content_type=message.get_content_type(),
        name=readable(message.get_filename() or ""),
        size=len(content) if isinstance(content, bytes) else 0,
    )
    for child in children:
        if isinstance(child, Message):
            yield from _tree(child, depth + 1)
