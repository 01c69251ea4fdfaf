"""What the rules look at: a message's texts as they were written, and the document made of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from massmail.choices import Level, Rule
from massmail.composing import html
from massmail.composing.masking import Mask
from massmail.composing.sources import Source, sources_of
from massmail.composing.types import Prepared
from massmail.exceptions import CompositionError
from massmail.models import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something noticed in a message: what it is and what to do; `line` counts from 1 in the field `field`.

    Where `field` is empty, it is about no text of the message, but about whom it comes from.
    """

    level: Level
    rule: Rule
    text: str
    remedy: str
    field: str = "content"
    line: int | None = None

    @property
    def stops(self) -> bool:
        return self.level is Level.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A document with its tags masked; `field` is the text it was written in."""

    field: str
    root: Any
    mask: Mask

    @classmethod
    def of(cls, text: str, *, field: str) -> Page | None:
        """Return the document in `text`, None if it is none; what is wrong with it is said by `check`."""
        mask = Mask()
        try:
            root = html.parse_document(mask.hide(text, field=field), field=field)
        except CompositionError:
            return None
        return cls(field=field, root=root, mask=mask)

    def plain(self, text: str) -> str:
        """Return `text` with its tags again, on one line."""
        return " ".join(self.mask.restore(text).split())


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A message to be looked at. Two are equal when all rules say the same about them.

    `html` and `text` are the template sources that are sent, empty where the message can't be; `files` are bytes.
    Without slots: documents are parsed when a rule first asks for them.
    """

    sources: tuple[Source, ...]
    html: str = ""
    text: str = ""
    files: int = 0

    @classmethod
    def of(cls, message: Message, prepared: Prepared | None) -> Draft:
        sources = tuple(sources_of(message))
        if prepared is None:
            return cls(sources=sources)
        files = sum(len(file.data) for file in prepared.files)
        return cls(sources=sources, html=prepared.html, text=prepared.text, files=files)

    @property
    def can_be_sent(self) -> bool:
        return bool(self.html)

    def source(self, field: str) -> str:
        """Return what was written in `field`."""
        return next((source.text for source in self.sources if source.field == field), "")

    @cached_property
    def pages(self) -> list[Page]:
        """The documents as they were written, which know their lines."""
        found = [Page.of(source.text, field=source.field) for source in self.sources if source.is_html]
        return [page for page in found if page is not None]

    @cached_property
    def composed(self) -> Page | None:
        """The document that is sent, its styles inlined."""
        return Page.of(self.html, field="content") if self.can_be_sent else None
