"""Whether the link to unsubscribe can be seen, by the styles that are sent along with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _

from massmail.choices import Level, Rule
from massmail.composing.linting.draft import Draft, Remark
from massmail.composing.templates import UNSUBSCRIBE

#: Contrast (WCAG 2.2, 1.4.3) below which a text is not seen but guessed; readable texts have 4.5.
MIN_CONTRAST = 1.3
#: Pixels or points.
MIN_FONT = 1.0
MIN_OPACITY = 0.1

_NAMES = {"black": "000000", "white": "ffffff", "gray": "808080", "grey": "808080", "silver": "c0c0c0"}
_HEX = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})\b")
_RGB = re.compile(r"rgba?\(\s*(\d{1,3})\s*[, ]\s*(\d{1,3})\s*[, ]\s*(\d{1,3})\s*(?:[,/]\s*([\d.]+)(%?)\s*)?\)")
_SIZE = re.compile(r"([\d.]+)\s*(px|pt|)")

Colour = tuple[int, int, int]


def about_unsubscribing(draft: Draft) -> Iterator[Remark]:
    """Yield why nobody sees the link to unsubscribe, if it is so of every one there is."""
    page = draft.composed
    if page is None:
        return
    reasons: list[str] = []
    for link in page.root.iter("a", "area"):
        if not any(tag.is_unsubscribe for tag in page.mask.find(link.get("href", ""))):
            continue
        reason = _hiding(link)
        if reason is None:
            return
        reasons.append(reason)
    for reason in reasons[:1]:
        yield Remark(
            level=Level.ERROR,
            rule=Rule.HIDDEN_UNSUBSCRIBE,
            text=_("Nobody sees the link to unsubscribe: %(reason)s.") % {"reason": reason},
            remedy=_("Show it, readable, in a colour that differs from what is behind it."),
            **_place(draft),
        )


def _place(draft: Draft) -> dict[str, Any]:
    for source in draft.sources:
        at = source.text.find(UNSUBSCRIBE)
        if source.is_html and at >= 0:
            return {"field": source.field, "line": source.text.count("\n", 0, at) + 1}
    return {}


def _hiding(link: Any) -> str | None:
    """Return what hides all words of `link`, None if some of them can be seen."""
    reason = _("there is nothing in it")
    for element in link.iter():
        if not isinstance(element.tag, str):
            continue
        has_words = (element.text or "").strip() or any((child.tail or "").strip() for child in element)
        if has_words or element.get("alt", "").strip():
            found = _hidden_by(element)
            if found is None:
                return None
            reason = found
    return reason


def _hidden_by(element: Any) -> str | None:
    chain = [element, *element.iterancestors()]
    styles = [style_of(each) for each in chain]
    if any(style.get("display") == "none" for style in styles):
        return "display: none"
    if _nearest(styles, "visibility") in ("hidden", "collapse"):
        return "visibility: hidden"
    for style in styles:
        opacity = _number(style.get("opacity", ""))
        if opacity is not None and opacity <= MIN_OPACITY:
            return f"opacity: {style['opacity']}"
        if style.get("overflow") == "hidden" and any(_size(style.get(n, "")) == 0 for n in ("height", "max-height")):
            return "height: 0"
    font = _nearest(styles, "font-size")
    size = _size(font)
    if size is not None and size <= MIN_FONT:
        return f"font-size: {font}"
    if element.tag not in ("img", "area"):
        return _faded(chain, styles)
    return None


def _faded(chain: list[Any], styles: list[dict[str, str]]) -> str | None:
    colour, behind = _front(styles), _background(chain, styles)
    if colour is None or behind is None or _contrast(colour, behind) >= MIN_CONTRAST:
        return None
    return _("its colour is that of the background")


def style_of(element: Any) -> dict[str, str]:
    """Return the declarations of an element's style attribute, in lower case."""
    found = {}
    for declaration in element.get("style", "").lower().split(";"):
        name, _colon, value = declaration.partition(":")
        found[name.strip()] = value.replace("!important", "").strip()
    return found


def _nearest(styles: list[dict[str, str]], name: str) -> str:
    return next((style[name] for style in styles if style.get(name) not in (None, "", "inherit")), "")


def _front(styles: list[dict[str, str]]) -> Colour | None:
    """Return the colour of the text; None where it is not known: links without one are blue or so."""
    return _colour(_nearest(styles, "color"))


def _background(chain: list[Any], styles: list[dict[str, str]]) -> Colour | None:
    """Return the colour behind an element, None where there is a picture or it is not known."""
    for element, style in zip(chain, styles, strict=True):
        if "url(" in style.get("background", "") + style.get("background-image", "") or element.get("background"):
            return None
        for value in (style.get("background-color"), style.get("background"), element.get("bgcolor", "").lower()):
            if value and value not in ("none", "transparent", "inherit", "initial"):
                return _colour(value)
    return (255, 255, 255)


def _colour(value: str) -> Colour | None:
    digits = _NAMES.get(value) or (found[1] if (found := _HEX.search(value)) else "")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    if digits:
        return (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16))
    rgb = _RGB.search(value)
    return (int(rgb[1]), int(rgb[2]), int(rgb[3])) if rgb else None


def _contrast(one: Colour, other: Colour) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    parts = [min(part, 255) / 255 for part in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _size(value: str) -> float | None:
    """Return pixels or points; None for other units, and for what a tag fills in."""
    found = _SIZE.fullmatch(value)
    return _number(found[1]) if found else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
