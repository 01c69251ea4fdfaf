"""Uploaded pictures: judged by their content, never by their name, and written anew.

Only pixels get through: what else a file may carry (the camera's place and number, scripts, a second file behind the
first) is left behind.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.utils.translation import gettext as _
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from massmail.exceptions import PictureError

#: Bytes of an upload.
MAX_UPLOAD = 5 * 1024 * 1024
#: Pixels of a picture, of all its frames together if it moves: 160 MB of memory at most.
MAX_PIXELS = 40_000_000
#: Mails are read at widths of 600 to 800 pixels, and screens have two dots for each; wider pictures are scaled down.
MAX_WIDTH = 1600
#: What a list shows of a picture fits into this.
THUMBNAIL = (240, 160)

_READ = ("PNG", "JPEG", "GIF", "WEBP")
# What the libraries behind Pillow raise on files that are broken, cut off or made to harm.
_BROKEN = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture as it is kept; `thumbnail` is a small WebP."""

    mime_type: str
    width: int
    height: int
    data: bytes = field(repr=False)
    thumbnail: bytes = field(repr=False)


def read_picture(data: bytes) -> Picture:
    """Return the PNG, JPEG, GIF or WebP picture in `data`, written anew, upright and at most `MAX_WIDTH` wide.

    WebP becomes PNG, JPEG or GIF: Outlook does not show it. Raises `PictureError` for anything else.
    """
    if len(data) > MAX_UPLOAD:
        raise PictureError(_("The picture is larger than 5 MB. Make it smaller first."))
    try:
        return _read(data)
    except _BROKEN as error:
        raise PictureError(_("This is not a readable picture. PNG, JPEG, GIF and WebP can be used.")) from error


def _read(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data), formats=_READ) as image:
        image.verify()
    # After verify() a file has to be opened again.
    with Image.open(io.BytesIO(data), formats=_READ) as image:
        kind = image.format
        frames = [_fitted(frame) for frame in _frames(image)]
        durations = _durations(image) if len(frames) > 1 else []
    first = frames[0]
    mime_type, written = _moving(frames, durations) if len(frames) > 1 else _still(first, kind)
    return Picture(
        mime_type=mime_type, width=first.width, height=first.height, data=written, thumbnail=_thumbnail(first)
    )


def _frames(image: Image.Image) -> Iterator[Image.Image]:
    """Yield the frames; raise `PictureError` before more is unpacked than the memory should hold."""
    pixels = 0
    for frame in ImageSequence.Iterator(image):
        pixels += frame.width * frame.height
        if pixels > MAX_PIXELS:
            raise PictureError(_("The picture has more than 40 million pixels. Make it smaller first."))
        yield frame.copy()


def _durations(image: Image.Image) -> list[int]:
    """Return how long each frame is shown, in milliseconds."""
    return [int(frame.info.get("duration", 100)) for frame in ImageSequence.Iterator(image)]


def _fitted(frame: Image.Image) -> Image.Image:
    """Return the frame upright, in one of the two modes every format takes, and no wider than is of use."""
    upright = ImageOps.exif_transpose(frame)
    plain = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    if plain.width > MAX_WIDTH:
        height = max(1, round(plain.height * MAX_WIDTH / plain.width))
        plain = plain.resize((MAX_WIDTH, height), Image.Resampling.LANCZOS)
    plain.info.clear()
    return plain


def _still(image: Image.Image, kind: str | None) -> tuple[str, bytes]:
    out = io.BytesIO()
    if kind in ("JPEG", "WEBP") and image.mode == "RGB":
        image.save(out, "JPEG", quality=88, optimize=True, progressive=True)
        return "image/jpeg", out.getvalue()
    if kind == "GIF":
        image = image.quantize(256)  # it had no more colours
    image.save(out, "PNG", optimize=True)
    return "image/png", out.getvalue()


def _moving(frames: list[Image.Image], durations: list[int]) -> tuple[str, bytes]:
    out = io.BytesIO()
    first, *others = frames
    first.save(out, "GIF", save_all=True, append_images=others, duration=durations, loop=0, disposal=2)
    return "image/gif", out.getvalue()


def _thumbnail(image: Image.Image) -> bytes:
    small, out = image.copy(), io.BytesIO()
    small.thumbnail(THUMBNAIL)
    small.save(out, "WEBP", quality=75)
    return out.getvalue()
