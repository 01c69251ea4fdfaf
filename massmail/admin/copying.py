"""Copies of messages, one's own and colleagues'."""

from __future__ import annotations

import hashlib
from itertools import count
from typing import Any

from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models import Q

from massmail.composing.images import image_names, library_images, read, renamed
from massmail.exceptions import CompositionError
from massmail.models import Attachment, Image, Message, Signature


@transaction.atomic
def copy_message(message: Message, *, owner: Any) -> Message:
    """Return a saved copy of `message` that belongs to `owner`, with attachments and files of its own.

    A colleague's signature stays with the colleague: the copy gets the owner's default one. So do the colleague's
    pictures: those in the content are copied into the owner's library, under another name where theirs is taken.
    """
    own = message.owner_id == owner.pk
    copy = Message(owner=owner, subject=message.subject, preheader=message.preheader, plain_text=message.plain_text)
    copy.content = message.content if own else _with_own_pictures(message, owner)
    copy.signature = message.signature if own else Signature.objects.filter(owner=owner, default=True).first()
    copy.save()
    for attachment in message.attachments.all():
        _copy_attachment(attachment, copy)
    return copy


def _copy_attachment(attachment: Attachment, message: Message) -> None:
    try:
        data = read(attachment.file)
    except CompositionError:
        return  # the storage has lost it; the original can't be sent either
    copy = Attachment(message=message, name=attachment.name, mime_type=attachment.mime_type)
    copy.file.save(attachment.name, ContentFile(data))


def _with_own_pictures(message: Message, owner: Any) -> str:
    """Return the content with pictures that `owner` may use. A picture that is nowhere is left for `check` to tell."""
    try:
        names = {name for name, _place in image_names(message.content, field="content")}
    except CompositionError:
        return message.content
    pictures = library_images(message, names).items()
    foreign = {name: image for name, image in pictures if isinstance(image, Image) and image.owner_id is not None}
    return renamed(message.content, {name: _own_copy(image, owner) for name, image in foreign.items()})


def _own_copy(image: Image, owner: Any) -> str:
    """Return the name of a picture of the owner's with the same content, made if there is none."""
    data = read(image.file)
    digest = hashlib.sha256(data).digest()
    same_size = Image.objects.filter(owner=owner, width=image.width, height=image.height).defer("thumbnail")
    for each in same_size:
        if hashlib.sha256(read(each.file)).digest() == digest:
            return each.name
    copy = Image(
        owner=owner,
        name=_free_name(image.name, owner),
        mime_type=image.mime_type,
        width=image.width,
        height=image.height,
        thumbnail=image.thumbnail,
    )
    copy.file = ContentFile(data, name="picture")
    copy.save()
    return copy.name


def _free_name(name: str, owner: Any) -> str:
    """Return `name`, numbered if the owner or everybody has a picture of that name: it would hide the other."""
    stem, dot, ending = name.rpartition(".") if "." in name else (name, "", "")
    names = (name if number == 1 else f"{stem}-{number}{dot}{ending}" for number in count(1))
    taken = set(Image.objects.filter(Q(owner=owner) | Q(owner=None)).values_list("name", flat=True))
    return next(each for each in names if each not in taken)
