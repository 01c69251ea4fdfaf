"""The HTML of a message, once: one document of content, signature and preheader, with the CSS inlined."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.utils.html import escape, linebreaks
from django.utils.translation import gettext as _
from lxml import etree
from lxml import html as lxml_html

from massmail.composing import inlining
from massmail.composing.masking import Mask, Tag
from massmail.composing.stylecost import MAX_COST, cost_of, without_noise
from massmail.composing.templates import UNSUBSCRIBE
from massmail.exceptions import CompositionError

#: Characters of content with a style sheet.
MAX_STYLED = 200_000

_PAGE = '<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>%s</body></html>'
_PREHEADER = "display:none; max-height:0; overflow:hidden; mso-hide:all"
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
# A backslash may write any letter of "import" (CSS Syntax 3, 4.3.7).
_IMPORT = re.compile(r"@(?:import\b|[\w-]*\\)[\w\\-]*", re.IGNORECASE)


def parse_document(content: str, *, field: str) -> Any:
    """Return the root element of masked `content`, a fragment or a whole page; line numbers are kept.

    Raises `CompositionError` for what is not HTML, and for style sheets from elsewhere or that would be lost.
    """
    if not re.search(r"<(?:html|body)\b", content, re.IGNORECASE):
        # Without an explicit body the parser puts loose text, and tags with it, into paragraphs of its own.
        content = _PAGE % content
    # The parser drops what comes after these; without them it belongs to the body.
    content = re.sub(r"</(?:body|html)\s*>", "", content, flags=re.IGNORECASE)
    parser = lxml_html.HTMLParser(encoding="utf-8", default_doctype=False)
    root = lxml_html.document_fromstring(content.encode(), parser=parser)
    if root.find("body") is None or any(entry.level_name == "FATAL" for entry in parser.error_log):
        raise CompositionError(
            _("This is not a readable HTML page. Close its tags, and nest them less deeply."), field=field
        )
    _refuse_foreign_styles(root, field)
    for link in root.iter("a", "area"):
        if href := link.get("href"):
            link.set("href", href.strip())  # as browsers do; written out, a space would become %20
    return root


def _sheets(root: Any) -> list[Any]:
    """The style sheets to be inlined."""
    return [element for element in root.iter("style") if element.get("data-premailer") != "ignore"]


def _refuse_foreign_styles(root: Any, field: str) -> None:
    for element in root.iter("link"):
        if "stylesheet" in element.get("rel", "").lower():
            raise CompositionError(
                _("Style sheets cannot be loaded from elsewhere (<link>). Paste their rules into a <style> element."),
                field=field,
                line=element.sourceline,
            )
    for element in _sheets(root):
        rule = _IMPORT.search(without_noise(element.text or ""))
        if rule:
            raise CompositionError(
                _("The style rule %(rule)s cannot be worked in. Replace it by the rules that it imports.")
                % {"rule": rule[0]},
                field=field,
                line=element.sourceline,
            )


def add_signature(root: Any, signature: str) -> None:
    """Append masked HTML, and the style sheets that come with it, before the end of the body."""
    page = parse_document(signature, field="signature")
    frame = lxml_html.Element("div")
    frame.text = page.find("body").text
    frame.extend([*page.iterfind("head/style"), *page.find("body")])
    root.find("body").append(frame)


def plain_signature(text: str) -> str:
    """Return the masked plain text of a signature as HTML that looks the same."""
    return linebreaks(escape(text))


def add_preheader(root: Any, preheader: str) -> None:
    """Make masked text the first thing in the body, unseen: inboxes show it after the subject."""
    body = root.find("body")
    element = lxml_html.Element("div", style=_PREHEADER)
    element.text = preheader
    element.tail, body.text = body.text, None
    body.insert(0, element)


def inline_styles(root: Any, mask: Mask) -> None:
    """Move the rules of the style sheets into style attributes; what is for `@media` and `:hover` stays in the sheets.

    Raises `CompositionError` where that can't be done once for all recipients.
    """
    sheets = _sheets(root)
    if sheets:
        if len(etree.tostring(root, encoding="unicode")) > MAX_STYLED:
            raise CompositionError(
                _("Content with a style sheet may have 200 kB. Shorten it, or use style attributes.")
            )
        if cost_of(root, sheets) > MAX_COST:
            raise _too_many_rules(sheets)
        _refuse_conditional_classes(root, mask)
        try:
            inlining.inline_styles(root, varies=any(tag.depth > 0 for tag in mask.tags))
        except inlining.TooMuchError as error:
            raise _too_many_rules(sheets) from error
    else:
        for element in root.iter("style"):
            element.attrib.pop("data-premailer", None)


def _too_many_rules(sheets: list[Any]) -> CompositionError:
    return CompositionError(
        _(
            "The style sheet has too many rules for so many elements, or too complicated ones. "
            "Delete the rules that are not used, or shorten the content."
        ),
        line=sheets[0].sourceline,
    )


def _refuse_conditional_classes(root: Any, mask: Mask) -> None:
    """A class that a tag chooses for each recipient cannot be inlined once for all."""
    for element in root.iter(etree.Element):
        for name, value in element.attrib.items():
            if mask.pattern.sub("", name) not in ("class", "id"):
                continue
            for tag in mask.find(name + value):
                raise CompositionError(
                    _(
                        "The tag %(tag)s cannot choose a class or id. "
                        "Choose between whole elements, each with a class of its own."
                    )
                    % {"tag": tag.source},
                    field=tag.field,
                    line=tag.line,
                )


def is_hidden(element: Any) -> bool:
    return bool(_HIDDEN.search(element.get("style", "")))


def require_unsubscribe_link(root: Any, mask: Mask) -> None:
    """Raise `CompositionError` unless each recipient gets a visible link to the unsubscribe address itself."""
    near_misses: list[Tag] = []
    for link in root.iter("a", "area"):
        href = link.get("href", "").strip()
        tags = [tag for tag in mask.find(href) if UNSUBSCRIBE in tag.source]
        alone = mask.pattern.fullmatch(href) and any(tag.is_unsubscribe and tag.certain for tag in tags)
        if alone and not any(map(is_hidden, link.iterancestors())) and _is_visible(link, mask):
            return
        near_misses += tags
    raise CompositionError(
        _(
            "The message needs a visible link to unsubscribe that does not depend on a condition: "
            '<a href="{{ unsubscribe_url }}">Unsubscribe</a>. Nothing else may stand in its href, '
            "and there must be words in it, or an image with an alt text."
        ),
        field=near_misses[0].field if near_misses else "content",
        line=near_misses[0].line if near_misses else None,
    )


def _is_visible(link: Any, mask: Mask) -> bool:
    """Return whether there is something to click on, whatever the conditions and values."""
    if is_hidden(link):
        return False
    depth = 0
    for text in _texts(link):
        position = 0
        for match in mask.pattern.finditer(text):
            tag = mask.tags[int(match[1])]
            if depth == 0 and (tag.is_unsubscribe or _shows(text[position : match.start()])):
                return True
            depth += tag.depth
            position = match.end()
        if depth == 0 and _shows(text[position:]):
            return True
    return False


def _texts(element: Any) -> Iterator[str]:
    """Yield the visible texts in `element`, and its own `alt` text, in their order."""
    if isinstance(element.tag, str) and element.tag not in ("style", "script", "template") and not is_hidden(element):
        if element.tag in ("img", "area"):
            yield "" if _is_tiny(element) else element.get("alt", "")
        else:
            yield element.text or ""
        for child in element:
            yield from _texts(child)
            yield child.tail or ""


def _is_tiny(image: Any) -> bool:
    """Return whether nobody could hit `image` with a finger: it is there to count who reads."""
    return any(image.get(side, "").strip().removesuffix("px") in ("0", "1", "2") for side in ("width", "height"))


def _shows(text: str) -> bool:
    """Return whether `text` is more than spaces, such as those without width."""
    return any(character.isprintable() and not character.isspace() for character in text)


def to_source(root: Any, mask: Mask) -> str:
    """Return the document as a template source again."""
    source = etree.tostring(root.getroottree(), method="html", encoding="unicode")
    mask.verify(source)
    return mask.restore(source)
