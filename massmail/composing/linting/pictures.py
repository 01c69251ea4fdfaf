"""Rules about images and what else stands in the HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _

from massmail.choices import Level, Rule
from massmail.composing.linting.draft import Draft, Page, Remark
from massmail.composing.linting.visibility import style_of

#: What Gmail, Outlook and others remove from every mail, often with a worse opinion of its sender.
ACTIVE = ("script", "iframe", "frame", "object", "embed", "applet", "form", "input", "button", "select", "textarea")


def about_pictures(draft: Draft) -> Iterator[Remark]:
    """Yield images that say nothing where they are not shown, or whose place is not kept for them."""
    for page in draft.pages:
        for image in page.root.iter("img"):
            yield from _without_alt(page, image)
            yield from _without_size(page, image)
            if image.get("src", "").strip().lower().startswith("data:"):
                text = _("An image is written into the HTML, as a data: address. Gmail and Outlook do not show it.")
                remedy = _("Upload it to the library and insert it from there.")
                yield _remark(page, image, Rule.EMBEDDED_IMAGE, text, remedy)


def _without_alt(page: Page, image: Any) -> Iterator[Remark]:
    # An empty text is right for mere decoration (HTML standard, 4.8.4.4), but not for all there is in a link.
    if image.get("alt") is None:
        text = _("The image %(image)s has no alt text, which is read where images are not shown.")
        remedy = _('Say in alt="…" what is to be seen, or write alt="" if it only decorates.')
        yield _remark(page, image, Rule.NO_ALT, text % {"image": _name(page, image)}, remedy)
    elif not image.get("alt", "").strip() and _is_all_of_a_link(image):
        text = _("The image %(image)s is a link without words: where images are not shown, there is nothing to click.")
        remedy = _('Say in alt="…" where it leads.')
        yield _remark(page, image, Rule.NO_ALT, text % {"image": _name(page, image)}, remedy)


def _is_all_of_a_link(image: Any) -> bool:
    link = next(image.iterancestors("a"), None)
    if link is None or link.text_content().strip():
        return False
    return not any(other.get("alt", "").strip() for other in link.iter("img"))


def _without_size(page: Page, image: Any) -> Iterator[Remark]:
    style = style_of(image)
    # With one of the two, a mail program keeps the proportions as soon as it has the image.
    if not any(image.get(name) or style.get(name) not in (None, "", "auto") for name in ("width", "height")):
        text = _("The image %(image)s has no width and height: Outlook shows it in its full size.")
        remedy = _('Write both, in pixels: width="600" height="200".')
        yield _remark(page, image, Rule.NO_SIZE, text % {"image": _name(page, image)}, remedy)


def about_active_content(draft: Draft) -> Iterator[Remark]:
    """Yield what works on websites only."""
    for page in draft.pages:
        for element in page.root.iter(*ACTIVE):
            text = _("Mail programs remove <%(tag)s>.") % {"tag": element.tag}
            remedy = _("Write a link to a page of your website instead.")
            yield _remark(page, element, Rule.ACTIVE_CONTENT, text, remedy)


def _name(page: Page, image: Any) -> str:
    source = page.plain(image.get("src", ""))
    named = re.search(r"cid_media\s+['\"]([^'\"]*)", source)
    name = named[1] if named else source.partition("?")[0].rstrip("/").rpartition("/")[2]
    return f"“{name[:60]}”" if name and not source.startswith("data:") else ""


def _remark(page: Page, element: Any, rule: Rule, text: str, remedy: str) -> Remark:
    text = " ".join(text.split())
    return Remark(level=Level.WARNING, rule=rule, text=text, remedy=remedy, field=page.field, line=element.sourceline)
