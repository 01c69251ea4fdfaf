"""Once per message: checks, one document, inlined CSS, text alternative, files, compiled templates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _

from massmail.choices import SignatureType
from massmail.composing import html, images, mime
from massmail.composing.masking import Mask
from massmail.composing.plaintext import to_text
from massmail.composing.templates import UNSUBSCRIBE, compile_source
from massmail.composing.types import File, Prepared
from massmail.exceptions import CompositionError
from massmail.models import Message

#: Bytes of attachments and images together: base64 adds a third, and many servers stop at 20 MB.
MAX_FILES = 10 * 1024 * 1024

#: Sources in which pictures may stand.
_WITH_IMAGES = ("content", "signature")
_LINE_END = re.compile(r"[\r\n\t\v\f\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One text of an author: the field it comes from, and the text."""

    field: str
    text: str


def sources_of(message: Message) -> list[Source]:
    """Return the texts of `message` and its signature with line ends as `\\n`; empty ones only where required."""
    texts = {
        "subject": message.subject,
        "preheader": message.preheader,
        "content": message.content,
        "plain_text": message.plain_text,
        "signature": message.signature.content if message.signature else "",
    }
    return [
        Source(field=field, text=text if field in ("subject", "preheader") else re.sub(r"\r\n?", "\n", text))
        for field, text in texts.items()
        if text or field in ("subject", "content")
    ]


def check(message: Message, variables: Iterable[str] | None = None) -> list[CompositionError]:
    """Return all that is wrong with `message`, saved or not; empty when it can be sent.

    With `variables`, the names the recipient type hands out, unknown ones are reported too. For the `clean()` of forms.
    """
    problems: list[CompositionError] = []
    for source in sources_of(message):
        problems.extend(_source_problems(message, source, variables))
    if all(isinstance(problem, UnknownVariableError) for problem in problems):
        try:
            prepare(message)
        except CompositionError as error:
            problems.append(error)
    return problems


class UnknownVariableError(CompositionError):
    """The message asks for a variable that its recipients do not have; it would stay empty."""


def _source_problems(
    message: Message, source: Source, variables: Iterable[str] | None = None
) -> Iterator[CompositionError]:
    try:
        _check_line(source)
        wanted = images.image_names(source.text, field=source.field) if source.field in _WITH_IMAGES else []
        template = compile_source(_without_images(source), field=source.field)
    except CompositionError as error:
        yield error
        return
    found = images.library_images(message, [name for name, _line in wanted])
    for name, line in wanted:
        if name not in found:
            yield images.missing_image(name, field=source.field, line=line)
    if variables is None:
        return
    known = {*variables, UNSUBSCRIBE}
    for use in template.uses:
        if use.name not in known:
            yield UnknownVariableError(
                _("Unknown variable “%(name)s”. Known ones: %(known)s.")
                % {"name": use.name, "known": ", ".join(sorted(known))},
                field=source.field,
                line=use.line,
            )


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


def _without_images(source: Source) -> str:
    return images.without_images(source.text) if source.field in _WITH_IMAGES else source.text


def variables_used(message: Message) -> set[str]:
    """Return the names that `message` takes from its recipients (so without `unsubscribe_url`).

    Raises `CompositionError` if it can't be read.
    """
    names: set[str] = set()
    for source in sources_of(message):
        template = compile_source(_without_images(source), field=source.field)
        names.update(use.name for use in template.uses)
    return names - {UNSUBSCRIBE}


def prepare(message: Message) -> Prepared:
    """Return `message`, saved or not, ready to be filled in for its recipients.

    Raises `CompositionError` with field and line for the first thing that is wrong.
    """
    sources = {source.field: source for source in sources_of(message)}
    for source in sources.values():
        for problem in _source_problems(message, source):
            raise problem
    pictures = _pictures(message, sources)
    files = (*_distinct(pictures.values()), *_attachments(message))
    if sum(len(file.data) for file in files) > MAX_FILES:
        raise CompositionError(_("Attachments and images are larger than 10 MB together. Remove some."))
    page, text = _alternatives(message, sources, pictures)
    return compiled(subject=message.subject.strip(), html=page, text=text, files=files)


def compiled(*, subject: str, html: str, text: str, files: tuple[File, ...]) -> Prepared:
    """Return these template sources, which passed `prepare` before, with what is made of them."""
    return Prepared(
        subject=subject,
        html=html,
        text=text,
        files=files,
        subject_template=compile_source(subject, field="subject"),
        html_template=compile_source(html, field="content"),
        text_template=compile_source(text, field="plain_text"),
        images=tuple(mime.file_part(file) for file in files if file.content_id),
        attachments=tuple(mime.file_part(file) for file in files if not file.content_id),
    )


def _pictures(message: Message, sources: dict[str, Source]) -> dict[str, File]:
    names = {
        name
        for field in _WITH_IMAGES
        if field in sources
        for name, _line in images.image_names(sources[field].text, field=field)
    }
    found = images.library_images(message, names)
    return {name: images.image_file(found[name]) for name in sorted(names)}


def _distinct(pictures: Iterable[File]) -> list[File]:
    return list({file.content_id: file for file in pictures}.values())


def _attachments(message: Message) -> list[File]:
    if message._state.adding:
        return []
    return [
        File(name=attachment.name, mime_type=attachment.mime_type, data=images.read(attachment.file))
        for attachment in message.attachments.all()
    ]


def _alternatives(message: Message, sources: dict[str, Source], pictures: dict[str, File]) -> tuple[str, str]:
    """Return the template sources of the HTML and the text part."""
    mask = Mask()
    hidden = {
        field: mask.hide(images.with_content_ids(source.text, pictures), field=field)
        for field, source in sources.items()
        if field in ("content", "signature", "preheader")
    }
    root = html.parse_document(hidden["content"], field="content")
    if message.signature and "signature" in hidden:
        is_plain = message.signature.type == SignatureType.PLAIN
        html.add_signature(root, html.plain_signature(hidden["signature"]) if is_plain else hidden["signature"])
    if "preheader" in hidden:
        html.add_preheader(root, hidden["preheader"])
    html.inline_styles(root, mask)
    if not html.has_unsubscribe_link(root, mask):
        raise CompositionError(
            _(
                "The message needs a visible link to unsubscribe that does not depend on a condition: "
                '<a href="{{ unsubscribe_url }}">Unsubscribe</a>.'
            )
        )
    page = html.to_source(root, mask)
    text = sources["plain_text"].text if "plain_text" in sources else to_text(root, mask)
    return page, _with_unsubscribe(text)


def _with_unsubscribe(text: str) -> str:
    """Return `text` with the link at its end, where it has none outside conditions."""
    mask = Mask()
    mask.hide(text, field="plain_text")
    if any(tag.is_unsubscribe and tag.certain for tag in mask.tags):
        return text
    with translation.override(settings.LANGUAGE_CODE):
        label = _("Unsubscribe")
    return f"{text.rstrip()}\n\n{label}: {{{{ {UNSUBSCRIBE} }}}}\n"
