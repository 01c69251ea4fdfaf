"""The text alternative, once: a template like the HTML it comes from.

Tags stay where they are. The line breaks before a block belong to the block, so that a loop over list items gives one
line for each, and what is left out by a condition leaves no empty lines behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from massmail.composing.html import is_hidden
from massmail.composing.masking import Mask, Tag

#: Line ends around an element: 2 leave an empty line.
BREAKS = {
    **dict.fromkeys(("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "hr"), 2),
    **dict.fromkeys(("div", "li", "dt", "dd", "tr", "caption", "section", "article", "header", "footer", "center"), 1),
}
SKIPPED = {"head", "style", "script", "title", "template", "noscript"}
#: White space directly in these is layout of the source only.
FRAMES = {"ul", "ol", "dl", "table", "thead", "tbody", "tfoot", "tr"}
RULE = "-" * 40


def to_text(root: Any, mask: Mask) -> str:
    """Return the body of the masked document `root` as the template source of a plain text."""
    writer = _Writer(mask)
    writer.walk(root.find("body"))
    return mask.restore(_joined(writer.items, mask)).strip() + "\n"


class _Writer:
    """Collects texts (`str`), wished line ends (`int`) and silent tags (`Tag`) in document order."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.items: list[str | int | Tag] = []
        self.lists = 0
        self.verbatim = 0

    def walk(self, element: Any) -> None:
        if not isinstance(element.tag, str) or element.tag in SKIPPED or is_hidden(element):
            return
        self._break(BREAKS.get(element.tag, 0))
        begin = len(self.items)
        self._enter(element)
        self._text(element.text, element)
        for child in element:
            self.walk(child)
            self._text(child.tail, element)
        self._leave(element, begin)
        self._break(BREAKS.get(element.tag, 0))

    def _enter(self, element: Any) -> None:
        if element.tag in ("ul", "ol"):
            self.lists += 1
        elif element.tag == "pre":
            self.verbatim += 1
        elif element.tag == "li":
            self.items.append("  " * max(self.lists - 1, 0) + self._bullet(element))
        elif element.tag in ("td", "th") and any(True for _ in element.itersiblings("td", "th", preceding=True)):
            self._cell(element)
        elif element.tag == "br":
            self.items.append("\n")
        elif element.tag == "hr":
            self.items.append(RULE)
        elif element.tag == "img" and element.get("alt", "").strip():
            self._words(element.get("alt"))

    def _leave(self, element: Any, begin: int) -> None:
        if element.tag in ("ul", "ol"):
            self.lists -= 1
        elif element.tag == "pre":
            self.verbatim -= 1
        elif element.tag == "a":
            self._link(element.get("href", "").strip(), begin)

    def _bullet(self, element: Any) -> str:
        parent = element.getparent()
        loops = self.mask.pattern.search("".join(parent.xpath("text()")))
        if parent.tag != "ol" or loops:
            return "- "
        return f"{sum(1 for _ in element.itersiblings('li', preceding=True)) + 1}. "

    def _cell(self, element: Any) -> None:
        table = next(element.iterancestors("table"), element)
        if not self._at_line_start():
            self.items.append(" | " if table.find(".//th") is not None else "  ")

    def _link(self, href: str, begin: int) -> None:
        """Add the address of a link after its text, unless that is the address itself."""
        text = "".join(item for item in self.items[begin:] if isinstance(item, str)).strip()
        address = href.removeprefix("mailto:").partition("?")[0] if href.startswith("mailto:") else href
        address = address.replace(" ", "%20")  # or it would end there
        if not href or href.startswith("#") or text in (href, address):
            return
        self.items.append(f" <{address}>" if text else f"<{address}>")

    def _text(self, text: str | None, parent: Any) -> None:
        if not text or (parent.tag in FRAMES and not text.strip()):
            return
        position = 0
        for match in self.mask.pattern.finditer(text):
            tag = self.mask.tags[int(match[1])]
            if not tag.prints:
                self._words(text[position : match.start()])
                self.items.append(tag)
                position = match.end()
        self._words(text[position:])

    def _words(self, text: str) -> None:
        if not self.verbatim:
            text = re.sub(r"\s+", " ", text)
            if self._at_line_start() or self._after_space():
                text = text.lstrip()
        if text:
            self.items.append(text)

    def _break(self, count: int) -> None:
        if count and not self._after_bullet():
            self.items.append(count)

    def _before(self) -> str | int | Tag:
        """The last item that shows, or a tag after which something else may come before."""
        for item in reversed(self.items):
            if not isinstance(item, Tag) or item.closes:
                return item
        return 2

    def _at_line_start(self) -> bool:
        last = self._before()
        return isinstance(last, int) or (isinstance(last, str) and last.endswith("\n"))

    def _after_space(self) -> bool:
        last = self._before()
        return isinstance(last, str) and last.endswith(" ")

    def _after_bullet(self) -> bool:
        last = self._before()
        return isinstance(last, str) and bool(re.fullmatch(r" *(?:-|\d+\.) ", last))


def _joined(items: list[str | int | Tag], mask: Mask) -> str:
    """Return the text of the items; between two texts the longest wished break counts."""
    pieces: list[str] = []
    run: list[int | Tag] = [2]
    for item in items:
        if isinstance(item, str):
            pieces.extend(_settled(run, mask))
            pieces.append(item)
            run = []
        else:
            run.append(item)
    pieces.extend(mask.word(item) for item in run if isinstance(item, Tag))
    text = re.sub(r"[ \t]+\n", "\n", "".join(pieces))
    return re.sub(r"\n{3,}", "\n\n", text)


def _settled(run: list[int | Tag], mask: Mask) -> Iterator[str]:
    """Yield the tags and line ends between two texts.

    The breaks after the last tag stay next to the text that follows. What is missing to the longest break of the run
    goes before the tags that open, where it does not depend on them.
    """
    closers = [index for index, item in enumerate(run) if isinstance(item, Tag) and item.closes]
    split = closers[-1] + 1 if closers else 0
    last_tag = max((index for index, item in enumerate(run) if isinstance(item, Tag)), default=-1)
    longest = max((item for item in run if isinstance(item, int)), default=0)
    after = max((item for item in run[last_tag + 1 :] if isinstance(item, int)), default=0)
    yield from (mask.word(item) for item in run[:split] if isinstance(item, Tag))
    yield "\n" * (longest - after)
    yield from (mask.word(item) for item in run[split:] if isinstance(item, Tag))
    yield "\n" * after
