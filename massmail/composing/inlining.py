"""The rules of a page's style sheets, worked into the style attributes of its elements by the order of the cascade.

Many mail programs read nothing else. What can't stand in an attribute stays in the sheet: `@media`, `:hover` and the
like, and rules for what mail programs put around a mail. There it is made important, since attributes would win against
it otherwise; and where an attribute shall win against it, that one is. So the page looks as it did before. Nothing is
fetched, and values are kept as they were written.

Sources: CSS Cascading and Inheritance 4, 6 (order); Selectors 4, 17 (specificity).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, NamedTuple

import tinycss2
from cssselect import HTMLTranslator, SelectorError, parse
from lxml import etree

#: Declarations for elements, each counted for each; 500,000 take a second.
MAX_MATCHES = 400_000
#: At-rules that hold rules for elements.
_GROUPS = {"media", "supports", "container", "layer"}
# Of these, what they match is known when a mail is written; of others (:hover, ::before) only when it is read.
_KNOWN_BEFORE = re.compile(r":(?:link|not|(?:first|last|only|nth|nth-last)-(?:child|of-type))(?:\([^()]*\))?")
_PSEUDO = re.compile(r":+[\w-]+(?:\([^()]*\))?")
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
# Whether an element is meant depends on what stands beside it.
_BESIDE, _POSITION = re.compile(r"[+~]"), re.compile(r":(?:first|last|only|nth)-")
# What mail programs put around or into a mail: Outlook.com and its dark mode, Gmail, Apple Mail, Samsung, Yahoo,
# Thunderbird. https://howtotarget.email/ lists them.
_OF_MAIL_PROGRAMS = re.compile(
    r"\.(?:ReadMsgBody|ExternalClass|yshortcuts|moz-text-html|gmail_\w+)|#(?:outlook|MessageViewBody|MessageWebViewDiv)"
    r"|\[(?:data-og\w+|x-apple-\S+|owa|office365|data-outlook-cycle)|\bu\s*[+~]",
    re.IGNORECASE,
)
_DOUBLE_QUOTES = re.compile(r'"([^"\'\\\n]*)"')
_CELLS = {"td", "th"}
_TABLES = {"table", "tr", *_CELLS}


class TooMuchError(Exception):
    """There are more declarations for the elements than can be weighed in time."""


@dataclass(frozen=True, slots=True)
class Declaration:
    name: str
    value: str
    important: bool

    def __str__(self) -> str:
        return f"{self.name}:{self.value}{' !important' if self.important else ''}"


class Weight(NamedTuple):
    """Of two declarations of a property, the one with the greater weight counts (a tuple: thousands are compared)."""

    important: bool
    own: bool
    specificity: tuple[int, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Rule:
    """What one selector says of `elements`, by weight: an important declaration has another one than a normal one."""

    elements: list[Any]
    declarations: tuple[tuple[Weight, Declaration], ...]


def inline_styles(root: Any, *, varies: bool) -> None:
    """Do it in place. `varies` tells that conditions or loops decide, for each recipient, which elements there are.

    Style elements with `data-premailer="ignore"` are left as they are.
    """
    sheets = Sheets(root, varies=varies)
    for element in list(root.iter("style")):
        if element.attrib.pop("data-premailer", None) != "ignore" and _is_for_screens(element):
            sheets.take(element)
    inlined, staying = _by_element(sheets.inlined), _by_element(sheets.staying)
    for element, weighed in inlined.items():
        _dress(element, weighed, staying.get(element, []))


def _is_for_screens(element: Any) -> bool:
    return element.get("media", "all").strip().lower() in ("", "all", "screen")


def _by_element(rules: list[Rule]) -> dict[Any, list[tuple[Weight, Declaration]]]:
    found: dict[Any, list[tuple[Weight, Declaration]]] = {}
    for rule in rules:
        for element in rule.elements:
            found.setdefault(element, []).extend(rule.declarations)
    return found


class Sheets:
    """The style sheets of a page, taken apart: the rules `inlined`, and those `staying` in the sheets."""

    def __init__(self, root: Any, *, varies: bool) -> None:
        self.inlined: list[Rule] = []
        self.staying: list[Rule] = []
        self._root = root
        self._unseen = {*root.xpath("head | head/*")}
        self._varies = varies
        self._position = 0
        self._matches = 0

    def take(self, element: Any) -> None:
        """Take the rules out of a style element, which disappears when nothing stays in it."""
        stays = "\n".join(self._texts(tinycss2.parse_stylesheet(element.text or "", True, True), stay=False))
        if stays:
            element.text = stays
        else:
            element.drop_tree()

    def _texts(self, nodes: Iterable[Any], *, stay: bool) -> Iterator[str]:
        """Yield the text of each rule that stays: of all of them with `stay`."""
        for node in nodes:
            if node.type == "at-rule" and node.lower_at_keyword != "charset":
                yield self._group(node) if node.lower_at_keyword in _GROUPS and node.content else node.serialize()
            elif node.type == "qualified-rule":
                self._position += 1
                declarations = declarations_in(node.content)
                selectors = [each for each in _selectors(node) if stay or not self._leaves(each, declarations)]
                if selectors and declarations:
                    yield self._stays(selectors, declarations)

    def _group(self, node: Any) -> str:
        inside = "\n".join(self._texts(tinycss2.parse_rule_list(node.content, True, True), stay=True))
        return f"@{node.at_keyword}{tinycss2.serialize(node.prelude)}{{\n{inside}\n}}"

    def _stays(self, selectors: list[str], declarations: list[Declaration]) -> str:
        for selector in selectors:
            # About whom it may be, whatever is beside them, and whatever the reader does.
            some = _BESIDE.split(_PSEUDO.sub("", _quiet(selector)))[-1].strip() or "*"
            self._add(self.staying, some, declarations, as_written=selector)
        if selectors != ["*"]:  # that one loses against every attribute anyway, and shall
            declarations = [replace(each, important=True) for each in declarations]
        return f"{', '.join(selectors)} {{ {'; '.join(map(str, declarations))} }}"

    def _leaves(self, selector: str, declarations: list[Declaration]) -> bool:
        """Return whether a rule may leave the sheet: it is inlined, or of no use to anybody."""
        bare = _BRACKETS.sub("", selector)
        if selector == "*" or not all(map(_KNOWN_BEFORE.fullmatch, _PSEUDO.findall(bare))):
            return False
        if self._varies and (_BESIDE.search(bare) or _POSITION.search(bare)):
            return False
        found = self._add(self.inlined, selector, declarations)
        return bool(found) or (found is not None and not _OF_MAIL_PROGRAMS.search(selector))

    def _add(
        self, rules: list[Rule], selector: str, declarations: list[Declaration], *, as_written: str = ""
    ) -> list[Any] | None:
        """Add a rule and return whom it is about; None if the selector can't be read."""
        try:
            [parsed] = parse(selector)
            specificity = _specificity(as_written) if as_written else parsed.specificity()
            found = etree.XPath(HTMLTranslator().selector_to_xpath(parsed))(self._root)
        except (SelectorError, ValueError, etree.XPathError):
            return None
        elements = [each for each in found if each not in self._unseen]
        self._matches += len(elements) * len(declarations)
        if self._matches > MAX_MATCHES:
            raise TooMuchError
        weighed = [(Weight(each.important, False, specificity, self._position), each) for each in declarations]
        rules.append(Rule(elements, tuple(weighed)))
        return elements


def _quiet(selector: str) -> str:
    """Return `selector` with what stands in brackets hidden from searches for `+`, `~` and `:`."""
    return _BRACKETS.sub(lambda found: "" if re.search(r"[+~:]", found[0]) else found[0], selector)


def _specificity(selector: str) -> tuple[int, ...]:
    """Return the specificity of any selector, also one with states that can't be looked for."""
    try:
        return parse(selector)[0].specificity()
    except SelectorError:
        return (0, selector.count(".") + selector.count(":"), 1)


def _selectors(rule: Any) -> Iterator[str]:
    """Yield the selectors of a rule."""
    tokens: list[Any] = []
    for token in (*rule.prelude, None):
        if token is None or (token.type == "literal" and token.value == ","):
            text = tinycss2.serialize([each for each in tokens if each.type != "comment"]).strip()
            if text:
                yield text
            tokens = []
        else:
            tokens.append(token)


def declarations_in(content: Any) -> list[Declaration]:
    """Return the declarations in a block or a style attribute; what is none is left out, as browsers do."""
    return [
        Declaration(
            # Single quotes, which need no escape in an attribute.
            name=each.name if each.name.startswith("--") else each.lower_name,
            value=_DOUBLE_QUOTES.sub(r"'\1'", tinycss2.serialize(each.value).strip()),
            important=each.important,
        )
        for each in tinycss2.parse_blocks_contents(content, True, True)
        if each.type == "declaration"
    ]


def _dress(element: Any, weighed: list[tuple[Weight, Declaration]], staying: list[tuple[Weight, Declaration]]) -> None:
    """Write into the style attribute what `weighed` and the attribute itself say, the weightiest last."""
    own = declarations_in(element.get("style", ""))
    weighed = weighed + [(Weight(each.important, True, (), 0), each) for each in own]
    final: dict[str, tuple[Weight, list[Declaration]]] = {}
    for weight, declaration in sorted(weighed, key=itemgetter(0)):
        name = declaration.name
        if name in final and final[name][0] == weight:
            final[name][1].append(declaration)  # twice in one rule: a fallback for those who do not know the second
        else:
            # A property set again counts where it was set last: margin after margin-bottom is not margin before it.
            final.pop(name, None)
            final[name] = weight, [declaration]
    rivals = Rivals(staying)
    winners = [_insisting(each, weight, rivals) for weight, declarations in final.values() for each in declarations]
    if winners:
        element.set("style", "; ".join(map(str, winners)))
    for name, value in _attributes(element, winners):
        if name not in element.attrib:
            element.set(name, value)


class Rivals:
    """How heavy the rules in the sheet are that say something of the same property, or of a part or whole of it."""

    def __init__(self, staying: list[tuple[Weight, Declaration]]) -> None:
        self._same: dict[str, Weight] = {}
        self._parts: dict[str, Weight] = {}
        for weight, declaration in staying:
            name = declaration.name
            self._same[name] = max(weight, self._same.get(name, weight))
            for whole in _wholes(name):
                self._parts[whole] = max(weight, self._parts.get(whole, weight))

    def heaviest(self, name: str) -> Weight | None:
        found = [self._same.get(each) for each in (name, *_wholes(name))] + [self._parts.get(name)]
        return max((each for each in found if each), default=None)


def _wholes(name: str) -> Iterator[str]:
    """Yield `margin` for `margin-left`."""
    while "-" in name:
        name = name.rpartition("-")[0]
        yield name


def _insisting(declaration: Declaration, weight: Weight, rivals: Rivals) -> Declaration:
    """Return it important if it shall win against all rules in the sheet about its property, not if one shall win."""
    heaviest = rivals.heaviest(declaration.name)
    return replace(declaration, important=heaviest < weight) if heaviest else declaration


def _attributes(element: Any, declarations: list[Declaration]) -> Iterator[tuple[str, str]]:
    """Yield the attributes that say the same to programs that know no styles for it, such as Outlook for images."""
    values = {each.name: each.value for each in declarations}
    for name in ("width", "height"):
        size = re.fullmatch(r"(\d+)(px|%)", values.get(name, ""))
        if size and element.tag in {"img", "table", *_CELLS} and (name, size[2]) != ("height", "%"):
            yield name, size[1] + size[2].removeprefix("px")
    colour = values.get("background-color", "")
    if element.tag in {"body", *_TABLES} and re.fullmatch(r"#[0-9a-f]{3}|#[0-9a-f]{6}", colour, re.IGNORECASE):
        yield "bgcolor", colour if len(colour) != 4 else "#" + "".join(2 * digit for digit in colour[1:])
    if element.tag in _CELLS and values.get("vertical-align") in ("top", "middle", "bottom", "baseline"):
        yield "valign", values["vertical-align"]
