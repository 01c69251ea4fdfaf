"""Uploaded pictures: what is taken, and what is left of it."""

from __future__ import annotations

import io
import zlib
from struct import pack
from typing import Any

import pytest
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from massmail.composing import pictures
from massmail.composing.pictures import MAX_WIDTH, THUMBNAIL, read_picture
from massmail.exceptions import PictureError

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def file_of(kind: str, *, size: tuple[int, int] = (40, 20), mode: str = "RGB", **options: Any) -> bytes:
    image, out = Image.new("RGB", size, "red").convert(mode), io.BytesIO()
    if mode == "RGBA":
        image.putalpha(200)
    image.save(out, kind, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("kind", "mode", "mime_type"),
    [
        ("PNG", "RGB", "image/png"),
        ("PNG", "RGBA", "image/png"),
        ("JPEG", "RGB", "image/jpeg"),
        ("JPEG", "CMYK", "image/jpeg"),
        ("GIF", "P", "image/png"),
        ("WEBP", "RGB", "image/jpeg"),
        ("WEBP", "RGBA", "image/png"),
    ],
)
def test_kinds_that_mail_programs_show(kind, mode, mime_type):
    picture = read_picture(file_of(kind, mode=mode))
    assert (picture.mime_type, picture.width, picture.height) == (mime_type, 40, 20)
    assert opened(picture.data).format == mime_type.removeprefix("image/").upper()
    assert opened(picture.data).convert("RGB").getpixel((0, 0))[0] > 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        SVG,
        b"<!doctype html><script>alert(1)</script>",
        b"%PDF-1.4",
        file_of("BMP"),
        file_of("TIFF"),
        file_of("PNG")[:-20],
        file_of("JPEG", size=(400, 400))[:300],
        file_of("PNG").replace(b"IDAT", b"IDAX"),
    ],
    ids=["empty", "head only", "svg", "html", "pdf", "bmp", "tiff", "cut png", "cut jpeg", "broken png"],
)
def test_anything_else_is_refused(data):
    with pytest.raises(PictureError, match="not a readable picture"):
        read_picture(data)


def test_size_is_capped(monkeypatch):
    with pytest.raises(PictureError, match="5 MB"):
        read_picture(b"\0" * (pictures.MAX_UPLOAD + 1))
    monkeypatch.setattr(pictures, "MAX_PIXELS", 40 * 20)
    assert read_picture(file_of("PNG")).width == 40
    with pytest.raises(PictureError, match="pixels"):
        read_picture(file_of("PNG", size=(41, 20)))


def chunk(name: bytes, data: bytes) -> bytes:
    return pack(">I", len(data)) + name + data + pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize("side", [8_000, 12_000, 30_000, 2**31 - 1])
def test_pixel_bomb_is_not_unpacked(side):
    """A few bytes that claim to be a huge picture: refused by what the head says."""
    head = chunk(b"IHDR", pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(PictureError):
        read_picture(bomb)


def test_pixels_are_counted_over_all_frames(monkeypatch):
    """A picture without any fault but its size; of one that moves, all frames count."""
    monkeypatch.setattr("massmail.composing.pictures.MAX_PIXELS", 2000)
    read_picture(moving(2))
    with pytest.raises(PictureError, match="million pixels"):
        read_picture(moving(3))


def moving(frames: int, *, size: tuple[int, int] = (40, 20)) -> bytes:
    images = [Image.new("RGB", size, (n * 10, 0, 0)) for n in range(frames)]
    for number, image in enumerate(images):
        ImageDraw.Draw(image).rectangle((number, 0, number + 3, 9), fill="white")
    out = io.BytesIO()
    images[0].save(out, "GIF", save_all=True, append_images=images[1:], duration=[120] * frames, loop=0)
    return out.getvalue()


def test_moving_picture_goes_on_moving(monkeypatch):
    picture = read_picture(moving(5))
    again = opened(picture.data)
    assert picture.mime_type == "image/gif"
    assert (again.n_frames, again.info["duration"]) == (5, 120)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 4 * 40 * 20)
    with pytest.raises(PictureError, match="pixels"):
        read_picture(moving(5))


def test_camera_data_and_whatever_follows_is_left_behind():
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    exif[0x0112] = 6  # lies on its side
    data = file_of("JPEG", size=(60, 20), exif=exif) + b"<script>alert(1)</script>"
    picture = read_picture(data)
    assert (picture.width, picture.height) == (20, 60)
    for needle in (b"Maker of cameras", b"<script>", b"Exif"):
        assert needle not in picture.data + picture.thumbnail


def test_png_texts_are_left_behind():
    info = PngInfo()
    info.add_text("Comment", "secret place")
    assert b"secret place" not in read_picture(file_of("PNG", pnginfo=info)).data


def test_wide_pictures_are_scaled_down():
    picture = read_picture(file_of("PNG", size=(MAX_WIDTH * 2, 400)))
    assert (picture.width, picture.height) == (MAX_WIDTH, 200)
    assert opened(picture.data).size == (MAX_WIDTH, 200)


def test_thumbnail():
    small = opened(read_picture(file_of("PNG", mode="RGBA", size=(960, 320))).thumbnail)
    assert (small.format, small.size) == ("WEBP", (THUMBNAIL[0], 80))
    assert opened(read_picture(file_of("PNG")).thumbnail).size == (40, 20)
