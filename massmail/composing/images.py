"""`{% cid_media 'pics/logo.png' %}`: pictures of the library, found by name and sent along with the message."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from django.db.models import Q
from django.template.base import tag_re
from django.utils.translation import gettext as _

from massmail.composing.templates import Place, place_in
from massmail.composing.types import File
from massmail.exceptions import CompositionError
from massmail.models import Image, Message

_TAG = re.compile(r"\{%\s*cid_media\b(.*?)%\}")
_QUOTED = re.compile(r"\s*(?:'([^']*)'|\"([^\"]*)\")\s*")

_OWN = Path(__file__).with_name("starters")
#: What the app's own pictures are called in `cid_media`, before the name of their file.
OWN_PREFIX = "massmail/"
#: Pixels between the margins of most mails.
SHOWN_WIDTH = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPicture:
    """A picture that comes with the app, for the templates to start from."""

    name: str
    file: Path
    mime_type: str = "image/png"


Picture = Image | OwnPicture


def image_tag(image: Image) -> str:
    """Return the HTML that shows `image` in a message, at most at the 600 pixels that most mails are wide."""
    width = min(image.width, SHOWN_WIDTH)
    height = round(image.height * width / image.width) if image.width else 0
    source = f"{{% cid_media '{image.name}' %}}"
    return f'<img src="{source}" width="{width}" height="{height}" alt="" style="max-width: 100%; height: auto">'


def image_names(source: str, *, field: str) -> list[tuple[str, Place]]:
    """Return name and place of each picture `source` asks for; raise `CompositionError` for a tag without a name."""
    tags = [(match, _TAG.fullmatch(match[0])) for match in tag_re.finditer(source)]
    return [
        (_name(tag[1], field=field, place=place_in(source, match.start())), place_in(source, match.start()))
        for match, tag in tags
        if tag
    ]


def _name(argument: str, *, field: str, place: Place) -> str:
    quoted = _QUOTED.fullmatch(argument)
    if not quoted:
        raise CompositionError(
            _("Write the name of the image in quotation marks, as in cid_media 'pics/logo.png'."),
            field=field,
            **place.as_keywords(),
        )
    return quoted[1] or quoted[2] or ""


def library_images(message: Message, names: Iterable[str]) -> dict[str, Picture]:
    """Return the images of these names that the message's owner may use: own ones, then shared ones, then the app's."""
    allowed = Q(owner__isnull=True)
    if message.owner_id is not None:
        allowed |= Q(owner=message.owner_id)
    # A name with NUL never was one, and PostgreSQL does not take it as a parameter.
    names = {name for name in names if "\0" not in name}
    if not names:
        return {}
    rows = Image.objects.filter(allowed, name__in=names).defer("thumbnail")
    library = {image.name: image for image in sorted(rows, key=lambda image: image.owner_id is not None)}
    return {name: picture for name, picture in _own_pictures().items() if name in names} | library


def _own_pictures() -> dict[str, OwnPicture]:
    files = sorted(_OWN.glob("*.png"))
    return {OWN_PREFIX + file.name: OwnPicture(name=OWN_PREFIX + file.name, file=file) for file in files}


def missing_image(name: str, *, field: str, place: Place) -> CompositionError:
    return CompositionError(
        _("There is no image “%(name)s” in your library. Upload it there, or choose another name.") % {"name": name},
        field=field,
        **place.as_keywords(),
    )


def image_file(image: Picture) -> File:
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
    return _replaced(source, lambda name, tag: f"cid:{files[name].content_id}")


def without_images(source: str) -> str:
    """Return `source` without the tags that only this module knows; everything else stays where it is."""
    return tag_re.sub(lambda tag: "_" * len(tag[0]) if _TAG.fullmatch(tag[0]) else tag[0], source)


def renamed(source: str, names: Mapping[str, str]) -> str:
    """Return `source` with other pictures, by their old names."""
    tags = {name: f"{{% cid_media '{new}' %}}" for name, new in names.items()}
    return _replaced(source, lambda name, tag: tags.get(name, tag))


def _replaced(source: str, replacement: Callable[[str, str], str]) -> str:
    """Return `source` with each `cid_media` tag replaced by what `replacement` makes of its name and the tag itself."""

    def replace(match: re.Match[str]) -> str:
        tag = _TAG.fullmatch(match[0])
        if not tag:
            return match[0]
        return replacement(_name(tag[1], field="content", place=place_in(source, match.start())), match[0])

    return tag_re.sub(replace, source)
