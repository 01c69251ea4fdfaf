"""What a template does with its variables: which of them leave a hole when they are empty, and which conditions wait
for a certain value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.template import Node
from django.template.base import Variable, VariableNode
from django.template.defaulttags import FirstOfNode, ForNode, IfNode, TemplateLiteral, WithNode
from django.utils.translation import gettext as _

from massmail.choices import Level, Rule
from massmail.composing.linting.draft import Draft, Remark
from massmail.composing.metering import Metered
from massmail.composing.sources import Source, sources_of
from massmail.composing.templates import UNSUBSCRIBE, SandboxTemplate, fill, neutral_locale
from massmail.exceptions import CompositionError
from massmail.models import Message

#: Conditions that are tried; each takes filling in one text.
MOST_TRIED = 40

_DEFAULTS = re.compile(r"\|\s*(?:default|default_if_none|yesno|pluralize|length)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelter:
    """Names that need no value at some place: a condition or loop asks for them, or the template sets them itself."""

    names: frozenset[str] = frozenset()

    def with_names(self, names: set[str]) -> Shelter:
        return replace(self, names=self.names | names)


def variables_needed(message: Message) -> set[str]:
    """Return the names that leave a hole in `message` where they are empty: no condition or default stands before them.

    Raises `CompositionError` if the message can't be read.
    """
    needed: set[str] = set()
    for source in sources_of(message):
        template = source.compiled()
        outside = {use.name for use in template.uses}
        needed |= outside & set(_needed(template.nodelist, Shelter()))
    return needed - {UNSUBSCRIBE}


def _needed(nodes: Any, shelter: Shelter) -> Iterator[str]:
    for node in nodes:
        inner = node.node if isinstance(node, Metered) else node
        if isinstance(inner, VariableNode):
            name = _name(inner.filter_expression)
            if name and name not in shelter.names and not _DEFAULTS.search(inner.filter_expression.token):
                yield name
        elif not isinstance(inner, FirstOfNode):
            within = shelter.with_names(_sheltered(inner))
            for nodelist in _inside(inner):
                yield from _needed(nodelist, within)


def _inside(node: Node) -> Iterator[Any]:
    if isinstance(node, IfNode):
        for _condition, nodelist in node.conditions_nodelists:
            yield nodelist
        return
    for attribute in node.child_nodelists:
        yield getattr(node, attribute, ())


def _sheltered(node: Node) -> set[str]:
    """Return the names that the block `node` asks for, or sets."""
    if isinstance(node, IfNode):
        return {name for condition, _nodelist in node.conditions_nodelists for name in _names(condition)}
    if isinstance(node, ForNode):
        return {*node.loopvars, "forloop", _name(node.sequence)}
    if isinstance(node, WithNode):
        return set(node.extra_context)
    return set()


def _names(condition: Any) -> Iterator[str]:
    for literal in _literals(condition):
        yield _name(literal.value)


def _literals(condition: Any) -> Iterator[TemplateLiteral]:
    if isinstance(condition, TemplateLiteral):
        yield condition
    elif condition is not None:
        yield from _literals(getattr(condition, "first", None))
        yield from _literals(getattr(condition, "second", None))


def _name(expression: Any) -> str:
    """Return the variable that a filter expression begins with; empty for a constant."""
    variable = expression.var
    return variable.lookups[0] if isinstance(variable, Variable) and variable.lookups else ""


def _constant(expression: Any) -> str | int | float | None:
    """Return the text or number that a filter expression is."""
    value = expression.var.literal if isinstance(expression.var, Variable) else expression.var
    return value if isinstance(value, str | int | float) else None


def about_branches(draft: Draft) -> Iterator[Remark]:
    """Yield what fails only behind `{% if x == "y" %}`, where `check`, which knows no "y", does not come."""
    for source in draft.sources if draft.can_be_sent else ():
        yield from _failures(source)


def _failures(source: Source) -> Iterator[Remark]:
    template = source.compiled()
    names = {use.name: use.name for use in template.uses} | {UNSUBSCRIBE: "https://unsubscribe.invalid/"}
    failed = set()
    for name, value in list(dict.fromkeys(_comparisons(template.nodelist)))[:MOST_TRIED]:
        error = _failure(source, template, {**names, name: value})
        if error and str(error) not in failed:
            failed.add(str(error))
            yield Remark(
                level=Level.ERROR,
                rule=Rule.FAILING_BRANCH,
                text=_("Where %(name)s is “%(value)s”: %(error)s") % {"name": name, "value": value, "error": error},
                remedy=_("Correct what stands in that condition."),
                field=source.field,
                line=error.line,
            )


def _comparisons(nodes: Any) -> Iterator[tuple[str, Any]]:
    """Yield which variables are compared with which values."""
    for node in nodes:
        inner = node.node if isinstance(node, Metered) else node
        if isinstance(inner, IfNode):
            for condition, _nodelist in inner.conditions_nodelists:
                yield from _compared(condition)
        for nodelist in _inside(inner):
            yield from _comparisons(nodelist)


def _compared(condition: Any) -> Iterator[tuple[str, Any]]:
    first, second = getattr(condition, "first", None), getattr(condition, "second", None)
    if isinstance(first, TemplateLiteral) and isinstance(second, TemplateLiteral):
        for variable, constant in ((first, second), (second, first)):
            name, value = _name(variable.value), _constant(constant.value)
            if name and value is not None:
                yield name, value
    for part in (first, second):
        if part is not None and not isinstance(part, TemplateLiteral):
            yield from _compared(part)


def _failure(source: Source, template: SandboxTemplate, values: dict[str, Any]) -> CompositionError | None:
    try:
        with neutral_locale():
            fill(template, values, escape=source.is_html, field=source.field)
    except CompositionError as error:
        # A loop that takes its items apart fails with stand-ins, which have none.
        return None if isinstance(error.__cause__, ValueError) and template.unpacks else error
    return None
