"""`{% cid_media 'pics/logo.png' %}`: pictures of the library, found by name and sent along with the message."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping

from django.db.models import Q
from django.template.base import tag_re
from django.utils.translation import gettext as _

from massmail.composing.types import File
from massmail.exceptions import CompositionError
from massmail.models import Image, Message

_TAG = re.compile(r"\{%\s*cid_media\b(.*?)%\}")
_QUOTED = re.compile(r"\s*(?:'([^']*)'|\"([^\"]*)\")\s*")


def image_names(source: str, *, field: str) -> list[tuple[str, int]]:
    """Return name and line of each picture `source` asks for; raise `CompositionError` for a tag without a name."""
    found, line = [], 1
    for piece in tag_re.split(source):
        tag = _TAG.fullmatch(piece)
        if tag:
            found.append((_name(tag[1], field=field, line=line), line))
        line += piece.count("\n")
    return found


def _name(argument: str, *, field: str, line: int) -> str:
    quoted = _QUOTED.fullmatch(argument)
    if not quoted:
        raise CompositionError(
            _("Write the name of the image in quotation marks, as in cid_media 'pics/logo.png'."),
            field=field,
            line=line,
        )
    return quoted[1] or quoted[2] or ""


def library_images(message: Message, names: Iterable[str]) -> dict[str, Image]:
    """Return the images of these names that the message's owner may use: own ones first, then shared ones."""
    allowed = Q(owner__isnull=True)
    if message.owner_id is not None:
        allowed |= Q(owner=message.owner_id)
    # A name with NUL never was one, and PostgreSQL does not take it as a parameter.
    names = {name for name in names if "\0" not in name}
    if not names:
        return {}
    rows = Image.objects.filter(allowed, name__in=names)
    return {image.name: image for image in sorted(rows, key=lambda image: image.owner_id is not None)}


def missing_image(name: str, *, field: str, line: int) -> CompositionError:
    return CompositionError(
        _("There is no image “%(name)s” in your library. Upload it there, or choose another name.") % {"name": name},
        field=field,
        line=line,
    )


def image_file(image: Image) -> File:
    """Return the picture with a content id made of its bytes (RFC 2392), so that a picture used twice travels once."""
    data = read(image.file)
    digest = hashlib.sha256(data).hexdigest()
    return File(
        name=image.name.rpartition("/")[2], mime_type=image.mime_type, content_id=f"{digest[:32]}@massmail", data=data
    )


def read(stored: object) -> bytes:
    """Return the bytes of an uploaded file; raise `CompositionError` if the storage has lost it."""
    try:
        with stored.open("rb") as stream:  # type: ignore[attr-defined]
            return stream.read()
    except (OSError, ValueError) as error:
        raise CompositionError(
            _("The file “%(name)s” cannot be read. Upload it again.") % {"name": getattr(stored, "name", "")}
        ) from error


def with_content_ids(source: str, files: Mapping[str, File]) -> str:
    """Return `source` with each `cid_media` tag replaced by the `cid:` address of its picture."""
    return _replaced(source, lambda name: f"cid:{files[name].content_id}")


def without_images(source: str) -> str:
    """Return `source` without the tags that only this module knows, on the same lines."""
    return _replaced(source, lambda name: "cid:")


def _replaced(source: str, address: Callable[[str], str]) -> str:
    pieces = tag_re.split(source)
    tags = [_TAG.fullmatch(piece) for piece in pieces]
    return "".join(
        address(_name(tag[1], field="content", line=1)) if tag else piece
        for piece, tag in zip(pieces, tags, strict=True)
    )
