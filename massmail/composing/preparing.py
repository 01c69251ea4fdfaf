"""Once per message: checks, one document, inlined CSS, text alternative, files, compiled templates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _

from massmail.choices import SignatureType
from massmail.composing import html, images, mime
from massmail.composing.masking import Mask
from massmail.composing.plaintext import to_text
from massmail.composing.sources import Source, naming_signature, problems_of, sources_of
from massmail.composing.templates import UNSUBSCRIBE, compile_source
from massmail.composing.types import File, Prepared
from massmail.exceptions import CompositionError
from massmail.models import Message

#: Bytes of attachments and images together: base64 adds a third, and many servers stop at 20 MB.
MAX_FILES = 10 * 1024 * 1024


def variables_used(message: Message) -> set[str]:
    """Return the names that `message` takes from its recipients (so without `unsubscribe_url`).

    Raises `CompositionError` if it can't be read.
    """
    names: set[str] = set()
    for source in sources_of(message):
        names.update(use.name for use in source.compiled().uses)
    return names - {UNSUBSCRIBE}


def prepare(message: Message) -> Prepared:
    """Return `message`, saved or not, ready to be filled in for its recipients.

    Raises `CompositionError` with field and line for the first thing that is wrong.
    """
    try:
        return _prepared(message)
    except CompositionError as error:
        raise naming_signature(error, message) from error


def _prepared(message: Message) -> Prepared:
    sources = {source.field: source for source in sources_of(message)}
    for source in sources.values():
        for problem in problems_of(message, source):
            raise problem
    pictures = _pictures(message, sources)
    files = (*_distinct(pictures.values()), *_attachments(message))
    if sum(len(file.data) for file in files) > MAX_FILES:
        raise CompositionError(_("Attachments and images are larger than 10 MB together. Remove some."))
    page, text = _alternatives(message, sources, pictures)
    if "plain_text" in sources:
        text = sources["plain_text"].text
    return compiled(subject=message.subject.strip(), html=page, text=_with_unsubscribe(text), files=files)


def compiled(*, subject: str, html: str, text: str, files: tuple[File, ...]) -> Prepared:
    """Return these template sources, which passed `prepare` before, with what is made of them."""
    text = text.lstrip("\n")
    html_template = compile_source(html, field="content")
    text_template = compile_source(text, field="plain_text")
    return Prepared(
        subject=subject,
        html=html,
        text=text,
        files=files,
        subject_template=compile_source(subject, field="subject"),
        html_template=html_template,
        text_template=text_template,
        skeleton=mime.skeleton(text=text_template.texts, html=html_template.texts, files=files),
        campaign=hashlib.sha256(f"{subject}\0{html}\0{text}".encode()).hexdigest()[:12],
    )


def _pictures(message: Message, sources: dict[str, Source]) -> dict[str, File]:
    names = {
        name
        for source in sources.values()
        if source.has_images
        for name, _place in images.image_names(source.text, field=source.field)
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
    """Return the template sources of the HTML, and of the text part that follows from it."""
    texts = {
        field: images.with_content_ids(sources[field].text, pictures) if field in sources else ""
        for field in ("preheader", "content", "signature")
    }
    is_plain = message.signature is not None and message.signature.type == SignatureType.PLAIN
    return _composed(**texts, plain_signature=is_plain)


# Up to a second of work for the largest style sheets, and one page view checks, shows and saves the same texts.
@lru_cache(maxsize=8)
def _composed(*, preheader: str, content: str, signature: str, plain_signature: bool) -> tuple[str, str]:
    mask = Mask()
    # In the order of the page, by which the mask tells displaced tags.
    preheader = mask.hide(preheader, field="preheader")
    content = mask.hide(content, field="content")
    signature = mask.hide(signature, field="signature")
    root = html.parse_document(content, field="content")
    if signature:
        html.add_signature(root, html.plain_signature(signature) if plain_signature else signature)
    if preheader:
        html.add_preheader(root, preheader)
    html.inline_styles(root, mask)
    html.require_unsubscribe_link(root, mask)
    return html.to_source(root, mask), to_text(root, mask)


def _with_unsubscribe(text: str) -> str:
    """Return `text` with the link at its end, where it has none outside conditions."""
    mask = Mask()
    mask.hide(text, field="plain_text")
    if any(tag.is_unsubscribe and tag.certain for tag in mask.tags):
        return text
    with translation.override(settings.LANGUAGE_CODE):
        label = _("Unsubscribe")
    return f"{text.rstrip()}\n\n{label}: {{{{ {UNSUBSCRIBE} }}}}\n"
