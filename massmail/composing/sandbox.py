"""The tags and filters authors may use; others do not exist for them.

Left out on purpose: whatever loads code or files, `safe` and `autoescape` (a customer's name is never HTML), and what
makes much out of little (`center`, `ljust`, `rjust`, `lorem`). In the subject and the text part autoescaping is off;
the filters that make HTML return plain text there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.template import Library, Node, defaultfilters, defaulttags
from django.template.base import TextNode, Token
from django.utils.html import conditional_escape
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _

from massmail.composing.metering import MAX_VALUE, Metered
from massmail.exceptions import CompositionError

if TYPE_CHECKING:
    from massmail.composing.templates import SandboxParser

register = Library()

#: Decimal places that `floatformat` may be asked for.
MAX_PLACES = 20

FILTERS = (
    "add",
    "capfirst",
    "cut",
    "date",
    "default",
    "default_if_none",
    "first",
    "last",
    "length",
    "lower",
    "pluralize",
    "striptags",
    "time",
    "title",
    "truncatechars",
    "truncatewords",
    "upper",
    "urlencode",
    "yesno",
)


def too_long() -> CompositionError:
    return CompositionError(_("A value of the message grows too long when it is filled in."))


def capped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the filter `function` with a limit to the length of what it returns."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if isinstance(result, str) and len(result) > MAX_VALUE:
            raise too_long()
        return result

    return wrapper


for name in FILTERS:
    register.filter(name, capped(defaultfilters.register.filters[name]))


@register.filter(is_safe=True, needs_autoescape=True)
def escape(value: Any, autoescape: bool = True) -> Any:
    return conditional_escape(value) if autoescape else value


@register.filter(is_safe=True, needs_autoescape=True)
@capped
def linebreaks(value: Any, autoescape: bool = True) -> Any:
    return defaultfilters.linebreaks_filter(value, autoescape) if autoescape else value


@register.filter(is_safe=True, needs_autoescape=True)
@capped
def linebreaksbr(value: Any, autoescape: bool = True) -> Any:
    return defaultfilters.linebreaksbr(value, autoescape) if autoescape else value


@register.filter(is_safe=True)
def floatformat(number: Any, places: Any = -1) -> Any:
    digits = re.search(r"\d+", str(places))
    if digits and (len(digits[0]) > 3 or int(digits[0]) > MAX_PLACES):
        raise CompositionError(_("“floatformat” gives at most 20 decimal places."))
    return defaultfilters.floatformat(number, places)


@register.filter(needs_autoescape=True)
def join(items: Any, separator: str, autoescape: bool = True) -> Any:
    """Join with the separator, which the text part takes without its `<br>`s."""
    if not isinstance(items, Iterable):
        return items
    texts = [str(item) for item in items]
    separator = separator if autoescape else re.sub(r"<br\s*/?>", "\n", separator)
    if sum(map(len, texts)) + len(texts) * len(separator) > MAX_VALUE:
        raise too_long()
    if not autoescape:
        return separator.join(texts)
    return mark_safe(conditional_escape(separator).join(map(conditional_escape, texts)))  # noqa: S308 - all escaped


register.tag("if", defaulttags.do_if)
register.tag("comment", defaulttags.comment)


@register.tag("for")
def for_(parser: SandboxParser, token: Token) -> defaulttags.ForNode:
    """A loop in which an empty round is counted, too."""
    names = re.split(r"[\s,]+", token.contents.partition(" in ")[0])[1:]
    with parser.bound({*names, "forloop"}):
        node = defaulttags.do_for(parser, token)
    parser.unpacks = parser.unpacks or len(node.loopvars) > 1
    body: Any = node.nodelist_loop
    body.append(Metered(TextNode("")))
    return node


@register.tag("with")
def with_(parser: SandboxParser, token: Token) -> Node:
    bits = token.split_contents()[1:]
    names = {bit.partition("=")[0] for bit in bits if "=" in bit} | set(bits[-1:] if "as" in bits else ())
    with parser.bound(names):
        return defaulttags.do_with(parser, token)


@register.tag
def firstof(parser: SandboxParser, token: Token) -> Node:
    parser.bind_result(token)
    return defaulttags.firstof(parser, token)


@register.tag
def now(parser: SandboxParser, token: Token) -> Node:
    parser.bind_result(token)
    return defaulttags.now(parser, token)
