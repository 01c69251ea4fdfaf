"""The values that cross the border of composing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from massmail.composing.skeleton import Skeleton
from massmail.composing.templates import SandboxTemplate


class Sender(Protocol):
    """Whoever a message comes from: an `EmailAccount`, or anything with the same three texts."""

    from_email: str
    from_name: str
    reply_to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that travels with a message: an attachment, or an inline image when it has a `content_id`."""

    name: str
    mime_type: str
    content_id: str = ""
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A message after everything that is done once: sources with CSS inlined, and what is compiled from them.

    `subject`, `html` and `text` are template sources. Two are equal when they send the same. `campaign` is the same in
    all mails of a message, and tells nothing about it.
    """

    subject: str
    html: str
    text: str
    files: tuple[File, ...] = ()
    subject_template: SandboxTemplate = field(compare=False, repr=False)
    html_template: SandboxTemplate = field(compare=False, repr=False)
    text_template: SandboxTemplate = field(compare=False, repr=False)
    skeleton: Skeleton = field(compare=False, repr=False)
    campaign: str = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """How one recipient opts out: the https address, and the mail address (or `mailto:` URI) where there is one."""

    unsubscribe: str
    mailto: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A message filled in for one recipient."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What the SMTP connection needs: bare ASCII addresses (RFC 5321) and the bytes of the message (RFC 5322)."""

    sender: str
    to: str
    message_id: str
    data: bytes = field(repr=False)
