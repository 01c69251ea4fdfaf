"""Authors' templates: an engine of their own, with plain values only and errors that name the line."""

from __future__ import annotations

import datetime
import html
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.template import Context, Engine, Library, Node, NodeList, Template, TemplateSyntaxError
from django.template.base import (
    DebugLexer,
    FilterExpression,
    Parser,
    TextNode,
    Token,
    Variable,
    VariableDoesNotExist,
    VariableNode,
)
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from massmail.composing.metering import MAX_SIZE, Metered, MeteredContext
from massmail.composing.skeleton import woven
from massmail.exceptions import CompositionError

#: How many blocks may stand in each other: rendering recurses.
MAX_DEPTH = 20
#: Placeholders and tags of one source, with the texts between them: each takes 50 microseconds to compile.
MAX_TAGS = 5000
#: The variable that the app itself fills in.
UNSUBSCRIBE = "unsubscribe_url"

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_BUILTINS = {"True", "False", "None"}
# What follows braces that were not closed: the next tag, or HTML.
_NEXT_TAG = re.compile(r"\{[{%]|</?[a-zA-Z]")
#: With these begin placeholders of Handlebars and Mustache.
_FOREIGN = ("#", "/", "^", ">", "&", "!", "{")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands in a source; both count from 1, the columns in characters."""

    line: int
    column: int

    def as_keywords(self) -> dict[str, int]:
        """Return what `CompositionError` takes."""
        return {"line": self.line, "column": self.column}


def place_in(source: str, position: int) -> Place:
    """Return the place of the character at the index `position`."""
    return Place(line=source.count("\n", 0, position) + 1, column=position - source.rfind("\n", 0, position))


def place_of(token: Token | None, source: str) -> Place | None:
    """Return where `token` begins, if it came with its position."""
    if token is None or not token.position or token.lineno is None:
        return None
    start = token.position[0]
    return Place(line=token.lineno, column=start - source.rfind("\n", 0, start))  # no counting: a source has thousands


def where(token: Token | None, source: str) -> dict[str, int]:
    """Return the place of `token` as keywords of `CompositionError`; empty where it is not known."""
    place = place_of(token, source)
    return place.as_keywords() if place else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A variable that a template takes from outside, at `line` and `column`; `is_dotted` if something of it only."""

    name: str
    line: int
    column: int
    is_dotted: bool


class PlainVariable(Variable):
    """A variable that reaches keys of mappings and indexes of lists. Nothing is ever an attribute, or called."""

    def _resolve_lookup(self, context: Any) -> Any:
        value = context
        for bit in self.lookups or ():
            try:
                if isinstance(value, list | tuple):
                    value = value[int(bit)]
                elif isinstance(value, Context | Mapping):
                    value = value[bit]
                else:
                    raise KeyError(bit)
            except (LookupError, ValueError) as error:
                raise VariableDoesNotExist("There is no %s.", (self.var,)) from error
        return value


class PlainArgument(PlainVariable):
    """A variable as a filter's argument: empty where there is none, as it would be elsewhere."""

    def resolve(self, context: Any) -> Any:
        try:
            return super().resolve(context)
        except VariableDoesNotExist:
            return ""


class SandboxEngine(Engine):
    default_builtins = ["massmail.composing.sandbox"]

    def __init__(self) -> None:
        super().__init__(loaders=[])


class SandboxParser(Parser):
    """A parser that meters every node and notes which variables come from outside."""

    def __init__(self, source: str, tokens: list[Token], builtins: list[Library]) -> None:
        super().__init__(tokens, {}, builtins)
        self._source = source
        self.uses: list[Use] = []
        self.unpacks = False
        self._scopes: list[set[str]] = [set(_BUILTINS)]
        self._place = Place(line=1, column=1)
        self._depth = 0

    def parse(self, parse_until: Any = None) -> NodeList:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TemplateSyntaxError(_("Too many tags stand inside each other."))
        nodelist = super().parse(parse_until)
        self._depth -= 1
        return nodelist

    def next_token(self) -> Token:
        token = super().next_token()
        self._place = place_of(token, self._source) or self._place
        return token

    def extend_nodelist(self, nodelist: NodeList, node: Node, token: Token) -> None:
        super().extend_nodelist(nodelist, Metered(node), token)

    def compile_filter(self, token: str) -> FilterExpression:
        try:
            expression = super().compile_filter(token)
        except TemplateSyntaxError as error:
            raise _in_plain_words(token, error) from error
        if isinstance(expression.var, Variable):
            expression.var = self._noted(PlainVariable(expression.var.var))
        for _function, arguments in expression.filters:
            arguments[:] = [
                (is_name, self._noted(PlainArgument(argument.var)) if is_name else argument)
                for is_name, argument in arguments
            ]
        return expression

    def _noted(self, variable: PlainVariable) -> PlainVariable:
        lookups = variable.lookups or ()
        if lookups and not any(lookups[0] in scope for scope in self._scopes):
            place = self._place
            self.uses.append(Use(name=lookups[0], line=place.line, column=place.column, is_dotted=len(lookups) > 1))
        return variable

    @contextmanager
    def bound(self, names: set[str]) -> Iterator[None]:
        """Within this block `names` are the template's own."""
        self._scopes.append(names)
        yield
        self._scopes.pop()

    def bind_result(self, token: Token) -> None:
        """Note the name after the `as` of a tag such as `{% firstof a b as c %}`."""
        bits = token.split_contents()
        if len(bits) > 2 and bits[-2] == "as":
            self._scopes[-1].add(bits[-1])

    def invalid_block_tag(self, token: Token, command: str, parse_until: Any = None) -> None:
        if command.startswith("end") or command in ("else", "elif", "empty"):
            text = _("The tag {%% %(tag)s %%} has no beginning, or another tag before it has no end.")
        else:
            text = _("The tag {%% %(tag)s %%} cannot be used in messages. Remove it.")
        raise self.error(token, text % {"tag": command})

    def find_filter(self, filter_name: str) -> Any:
        if filter_name not in self.filters:
            raise TemplateSyntaxError(
                _("The filter “%(filter)s” cannot be used in messages. Remove it.") % {"filter": filter_name}
            )
        return super().find_filter(filter_name)


def _in_plain_words(token: str, error: TemplateSyntaxError) -> TemplateSyntaxError:
    """Return what to do about an expression that Django can't parse; its other errors are plain enough."""
    if not str(error).startswith("Could not parse"):
        return error
    if found := _NEXT_TAG.search(token):
        text = _("The {{ before “%(words)s” has no }}. Close it.") % {"words": token[: found.start()].strip()[:40]}
    elif token.startswith(_FOREIGN):
        text = _("“{{%(token)s}}” is a placeholder of another program. Insert one from the list, or delete it.")
        text %= {"token": token}
    else:
        text = _(
            "“%(token)s” cannot be read. Write one name without spaces, with filters after it where needed, such as "
            'first_name|default:"customer".'
        ) % {"token": token}
    return TemplateSyntaxError(text)


class SandboxTemplate(Template):
    """A compiled source.

    `uses` are the variables it takes from outside, in their order. `unpacks` tells that a loop takes its items apart.
    `texts` are what every reader gets, with a gap between each two of them, `size` characters in all; `gaps` are the
    nodes that fill the gaps, and `names` the variables that stand there alone, None for any other gap.
    """

    uses: tuple[Use, ...]
    unpacks: bool
    texts: tuple[str, ...]
    size: int
    gaps: tuple[Node, ...]
    names: tuple[str | None, ...]

    def compile_nodelist(self) -> NodeList:
        # The lexer of Django's debug pages: it is the one that tells where a token stands in its line.
        tokens = DebugLexer(self.source).tokenize()
        if len(tokens) > 2 * MAX_TAGS + 1:
            raise TemplateSyntaxError(_("There are more than 5000 placeholders and tags in this text. Shorten it."))
        parser = SandboxParser(self.source, tokens, self.engine.template_builtins)
        nodelist = parser.parse()
        self.uses = tuple(parser.uses)
        self.unpacks = parser.unpacks
        self.texts, self.gaps = _taken_apart(nodelist)
        self.size = sum(map(len, self.texts))
        self.names = tuple(map(_name_in, self.gaps))
        return nodelist


def _taken_apart(nodelist: NodeList) -> tuple[tuple[str, ...], tuple[Node, ...]]:
    texts, gaps = [""], []
    for node in nodelist:
        inner = node.node if isinstance(node, Metered) else node
        if isinstance(inner, TextNode):
            texts[-1] += inner.s
        else:
            gaps.append(node)
            texts.append("")
    return tuple(texts), tuple(gaps)


def _name_in(gap: Node) -> str | None:
    """Return the name of the variable if `gap` is nothing but that, without filters or keys."""
    node = gap.node if isinstance(gap, Metered) else gap
    if type(node) is not VariableNode or node.filter_expression.filters:
        return None
    variable = node.filter_expression.var
    lookups = variable.lookups if type(variable) is PlainVariable and not variable.translate else None
    return str(lookups[0]) if lookups and len(lookups) == 1 else None


@lru_cache(maxsize=1)
def engine() -> SandboxEngine:
    return SandboxEngine()


def compile_source(source: str, *, field: str) -> SandboxTemplate:
    """Return `source` compiled; raise `CompositionError` with its line where it is not allowed or not well-formed."""
    if len(source) > MAX_SIZE:
        raise CompositionError(_("This text is longer than 1 MB. Shorten it."), field=field)
    control = _CONTROLS.search(source)
    if control:
        raise CompositionError(
            _("There is a control character (U+%(code)04X) in this text. Delete it.") % {"code": ord(control[0])},
            field=field,
            **place_in(source, control.start()).as_keywords(),
        )
    try:
        return SandboxTemplate(source, engine=engine())
    except TemplateSyntaxError as error:
        raise CompositionError(str(error), field=field, **where(getattr(error, "token", None), source)) from error


def plain(value: Any) -> Any:
    """Return `value` as data only: numbers, dates and clean text as they are, everything else as text.

    Model objects, lazy translations and texts marked as safe all end up as `str`: nothing of the host's can be called
    from a template, and everything is escaped.
    """
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN
    if value is None or isinstance(value, int | float | Decimal | datetime.date | datetime.time):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return clean(str(value))


def clean(text: str) -> str:
    """Return `text` as an exact `str` without control characters (but for tab and line ends) and lone surrogates."""
    return _CONTROLS.sub("", str.__str__(text))


def fill(template: SandboxTemplate, values: dict[str, Any], *, escape: bool, field: str = "content") -> str:
    """Return `template` with `values` (plain ones) filled in. Raises `CompositionError` as `fill_gaps` does."""
    return "".join(woven(template.texts, fill_gaps(template, values, escape=escape, field=field)))


def fill_gaps(template: SandboxTemplate, values: dict[str, Any], *, escape: bool, field: str = "content") -> list[str]:
    """Return what `values` (plain ones) put into the gaps of `template`.

    Raises `CompositionError` where that fails, with the place in the template's source.
    """
    fills = _texts_for(template, values, escape=escape)
    if fills is None:
        with neutral_locale():
            fills = _rendered(template, values, escape=escape, field=field)
    return fills


def _texts_for(template: SandboxTemplate, values: dict[str, Any], *, escape: bool) -> list[str] | None:
    """Return what `_rendered` does, for a tenth of the time, where only names of texts stand in the gaps; else None."""
    fills = []
    for name in template.names:
        value = values.get(name)  # type: ignore[arg-type]
        if type(value) is not str:
            return None
        fills.append(html.escape(value) if escape else value)
    return fills if template.size + sum(map(len, fills)) <= MAX_SIZE else None


def _rendered(template: SandboxTemplate, values: dict[str, Any], *, escape: bool, field: str) -> list[str]:
    context = MeteredContext(values, autoescape=escape)
    context.steps = len(template.gaps)
    try:
        context.spend(template.size)
        with context.render_context.push_state(template), context.bind_template(template):
            return [str.__str__(node.render_annotated(context)) for node in template.gaps]
    except CompositionError as error:
        raise CompositionError(str(error), field=field, **where(context.failed_at, str(template.source))) from error
    except (TemplateSyntaxError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise CompositionError(
            _("The message could not be filled in: %(error)s") % {"error": error},
            field=field,
            **where(context.failed_at, str(template.source)),
        ) from error


@contextmanager
def neutral_locale() -> Iterator[None]:
    """Format numbers and dates as the project's settings say: a preview must not follow the language of who looks."""
    with translation.override(settings.LANGUAGE_CODE), timezone.override(None):
        yield
