"""Template tags as words that HTML and CSS parsers leave alone, and back again."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import cached_property

from django.template.base import tag_re
from django.utils.translation import gettext as _

from massmail.composing.templates import UNSUBSCRIBE
from massmail.exceptions import CompositionError

MIDDLES = {"elif", "else", "empty"}
PRINTERS = {"now", "firstof"}
#: What stands in one of these may be left out when the message is filled in.
CONDITIONS = {"if", "for"}


_COMMENT = re.compile(r"\{%\s*comment\b[^\n]*?%\}.*?\{%\s*endcomment\s*%\}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """One tag of a source. `certain` tells that it stands outside every condition and loop."""

    number: int
    source: str
    field: str
    line: int
    certain: bool

    @property
    def word(self) -> str:
        """`if` of `{% if x %}`; empty for variables and comments."""
        return self.source[2:-2].split(maxsplit=1)[0] if self.is_block and self.source[2:-2].strip() else ""

    @property
    def is_block(self) -> bool:
        return self.source.startswith("{%")

    @property
    def prints(self) -> bool:
        """Whether text comes out where the tag stands."""
        return self.source.startswith("{{") or (self.word in PRINTERS and " as " not in self.source)

    @property
    def closes(self) -> bool:
        return self.word in MIDDLES or self.word.startswith("end")

    @property
    def depth(self) -> int:
        """By how much the tag changes in how many conditions and loops the text after it stands."""
        if self.word in CONDITIONS:
            return 1
        return -1 if self.closes and self.word.removeprefix("end") in CONDITIONS else 0

    @property
    def is_unsubscribe(self) -> bool:
        """Whether this is the address itself, with no filter that might make something else of it."""
        return self.source.startswith("{{") and self.source[2:-2].strip() == UNSUBSCRIBE


class Mask:
    """Replaces the tags of several sources by words nobody else uses, and restores them."""

    def __init__(self) -> None:
        self.tags: list[Tag] = []
        self.nonce = f"mm{secrets.token_hex(5)}x"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """A masked tag; parsers may have changed its case."""
        return re.compile(self.nonce + r"(\d+)z", re.IGNORECASE)

    @cached_property
    def _lookalikes(self) -> re.Pattern[str]:
        """Braces that are text (written as entities, say) and must not become a tag."""
        return re.compile(r"\{+(?:[{%#]|(?=" + self.nonce + "))", re.IGNORECASE)

    def hide(self, source: str, *, field: str) -> str:
        """Return `source` with each tag replaced by a word, and without what stands in comments but for its lines."""
        source = _COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), source)
        pieces, line, depth = [], 1, 0
        for position, piece in enumerate(tag_re.split(source)):
            if position % 2:
                depth = self._add(piece, field, line, depth)
                pieces.append(self.word(self.tags[-1]))
            else:
                pieces.append(piece)
            line += piece.count("\n")
        return "".join(pieces)

    def _add(self, source: str, field: str, line: int, depth: int) -> int:
        tag = Tag(number=len(self.tags), source=source, field=field, line=line, certain=depth == 0)
        self.tags.append(tag)
        return depth + tag.depth

    def word(self, tag: Tag) -> str:
        """Return what stands for `tag` in masked texts."""
        return f"{self.nonce}{tag.number}z"

    def find(self, text: str) -> list[Tag]:
        """Return the masked tags of `text` in their order."""
        return [self.tags[int(number)] for number in self.pattern.findall(text)]

    def restore(self, text: str) -> str:
        """Return `text` with its tags again; other braces that look like a tag are kept as text."""
        text = self._lookalikes.sub(lambda match: '{{ "' + match[0] + '" }}', text)
        return self.pattern.sub(lambda match: self.tags[int(match[1])].source, text)

    def verify(self, text: str) -> None:
        """Raise `CompositionError` unless `text` has every tag, and each block tag once and in its old place."""
        found = [int(number) for number in self.pattern.findall(text)]
        missing = set(range(len(self.tags))) - set(found)
        blocks = [number for number in found if self.tags[number].is_block]
        displaced = [left for left, right in zip(blocks, sorted(set(blocks)), strict=False) if left != right]
        displaced = displaced or blocks[len(set(blocks)) :]
        for number in (*sorted(missing), *displaced):
            tag = self.tags[number]
            raise CompositionError(
                _(
                    "The tag %(tag)s stands where the styles cannot be worked in. "
                    "Use it in texts or as a value, such as color: {{ colour }}, or write it outside the style sheet."
                )
                % {"tag": tag.source},
                field=tag.field,
                line=tag.line,
            )
