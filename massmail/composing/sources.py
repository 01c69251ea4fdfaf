"""The texts of an author, one by one: what each may hold before anything is made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.template.base import tag_re
from django.utils.translation import gettext as _

from massmail.choices import SignatureType
from massmail.composing import images
from massmail.composing.templates import UNSUBSCRIBE, SandboxTemplate, Use, compile_source
from massmail.exceptions import CompositionError
from massmail.models import Message

_LINE_END = re.compile(r"[\r\n\t\v\f\x85\u2028\u2029]")
_STRAY = re.compile(r"\{\{|\}\}|\{%|%\}")
# An element without its end goes on to the end of the text, as it does for an HTML parser.
_SHEET = re.compile(r"<(style|script)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One text of an author: the field it comes from, and whether HTML is made of it as it stands."""

    field: str
    text: str
    is_html: bool

    @property
    def has_images(self) -> bool:
        return self.field in ("content", "signature")

    def compiled(self) -> SandboxTemplate:
        """Return the text as a template, without its pictures; raise `CompositionError` where it is not one."""
        text = images.without_images(self.text) if self.has_images else self.text
        return compile_source(text, field=self.field)


class UnknownVariableError(CompositionError):
    """The message asks for a variable that its recipients do not have; it would stay empty."""


def sources_of(message: Message) -> list[Source]:
    """Return the texts of `message` and its signature with line ends as `\\n`; empty ones only where required."""
    signature = message.signature
    texts = {
        "subject": message.subject,
        "preheader": message.preheader,
        "content": message.content,
        "plain_text": message.plain_text,
        "signature": signature.content if signature else "",
    }
    html = {"content"} if signature and signature.type == SignatureType.PLAIN else {"content", "signature"}
    return [
        Source(
            field=field,
            text=text if field in ("subject", "preheader") else re.sub(r"\r\n?", "\n", text).removeprefix("\ufeff"),
            is_html=field in html,
        )
        for field, text in texts.items()
        if text or field in ("subject", "content")
    ]


def problems_of(message: Message, source: Source, variables: Iterable[str] | None = None) -> Iterator[CompositionError]:
    """Yield what is wrong with `source` by itself; with `variables` also the names that are not among them."""
    try:
        _check_line(source)
        wanted = images.image_names(source.text, field=source.field) if source.has_images else []
        template = source.compiled()
    except CompositionError as error:
        yield error
        return
    yield from _stray_braces(source)
    found = images.library_images(message, [name for name, _place in wanted])
    for name, place in wanted:
        if name not in found:
            yield images.missing_image(name, field=source.field, place=place)
    known = None if variables is None else {*variables, UNSUBSCRIBE}
    for use in template.uses:
        if known is not None and use.name not in known:
            yield _unknown(use, source, known)
        elif use.is_dotted:
            yield _dotted(use, source)


def _check_line(source: Source) -> None:
    """Subject and preheader are one line each: a second one would be another header (RFC 5322, 2.2)."""
    if source.field not in ("subject", "preheader"):
        return
    if _LINE_END.search(source.text):
        raise CompositionError(
            _("This must be one line. Delete the line ends and tabs in it."), field=source.field, line=1
        )
    if source.field == "subject" and not source.text.strip():
        raise CompositionError(_("Write a subject."), field="subject")


def _stray_braces(source: Source) -> Iterator[CompositionError]:
    """Half a placeholder would be sent as it stands. In style sheets and scripts, `}}` and `%}` are normal."""
    text = tag_re.sub(lambda tag: " " * len(tag[0]), source.text)
    if source.is_html:
        text = _SHEET.sub(lambda sheet: sheet[0].replace("}", " "), text)
    for number, line in enumerate(text.split("\n"), start=1):
        stray = _STRAY.search(line)
        if stray:
            yield CompositionError(
                _(
                    "“%(braces)s” is not part of a complete placeholder or tag here, and would be sent as it stands. "
                    "Write each of them on one line, with two braces around it: {{ name }}."
                )
                % {"braces": stray[0]},
                field=source.field,
                line=number,
                column=stray.start() + 1,
            )


def _unknown(use: Use, source: Source, known: set[str]) -> CompositionError:
    # With a dot, the message could not be sent if its recipients had the variable.
    error = CompositionError if use.is_dotted else UnknownVariableError
    return error(
        _("Unknown variable “%(name)s”. Known ones: %(known)s.")
        % {"name": use.name, "known": ", ".join(sorted(known))},
        field=source.field,
        line=use.line,
        column=use.column,
    )


def _dotted(use: Use, source: Source) -> CompositionError:
    return CompositionError(
        _(
            "“%(name)s” has nothing that could be taken out of it with a dot. Delete the dot and what follows. "
            "Dots can be used on the variables of loops only."
        )
        % {"name": use.name},
        field=source.field,
        line=use.line,
        column=use.column,
    )


def naming_signature(error: CompositionError, message: Message) -> CompositionError:
    """Return `error` saying in which signature it is, if it is in one: its author may have forgotten it."""
    if error.field != "signature" or not (message.signature and message.signature.name):
        return error
    text = _("In the signature “%(name)s”: %(error)s") % {"name": message.signature.name, "error": error}
    return type(error)(text, field=error.field, line=error.line, column=error.column)
