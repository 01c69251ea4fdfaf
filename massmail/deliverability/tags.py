"""Lists of `tag=value;` as DKIM and DMARC records write them (RFC 6376, 3.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

_NAME = re.compile(r"[a-z][a-z0-9_]*", re.I | re.A)
_SPACE = " \t\r\n"


def strict_tags(text: str) -> dict[str, str] | None:
    """Return the tags of `text` by name in their order, or None if it is no such list, or names a tag twice."""
    pairs = list(_pairs(text))
    tags = dict(pair for pair in pairs if pair)
    return tags if len(tags) == len(pairs) else None


def lenient_tags(text: str) -> dict[str, str]:
    """Return the tags of `text` by name in small letters, without what can't be read; the first of a name counts."""
    tags: dict[str, str] = {}
    for pair in _pairs(text):
        if pair:
            tags.setdefault(pair[0].lower(), pair[1])
    return tags


def _pairs(text: str) -> Iterator[tuple[str, str] | None]:
    """Yield name and value of each part, None for one that is no tag; the last semicolon may end the text."""
    parts = text.split(";")
    if not parts[-1].strip(_SPACE):
        parts.pop()
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(_SPACE)
        yield (name, value.strip(_SPACE)) if equals and _NAME.fullmatch(name) else None
