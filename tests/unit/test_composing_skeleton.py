"""What is put together from ready pieces says the same as what the standard library builds with care."""

from __future__ import annotations

import email
import re
from email.header import decode_header, make_header
from email.message import EmailMessage, MIMEPart
from email.policy import SMTP
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from massmail.composing import File, Links, preview, render
from massmail.composing.preparing import compiled
from massmail.composing.skeleton import TextPart
from massmail.transport import wire

LINKS = Links(unsubscribe="https://news.example.com/massmail/u/" + "A" * 22, mailto="leave@acme.example")
SENDER = SimpleNamespace(from_email="ann@acme.example", from_name="Ann Lee, Acme", reply_to="office@acme.example")
MESSAGE_ID = "<abc@acme.example>"
PICTURE = File(name="logo.png", mime_type="image/png", content_id="logo@massmail", data=b"\x89PNG\r\n.\r\n" * 40)
OFFER = File(name="Angebot für März.pdf", mime_type="application/pdf", data=bytes(range(256)) * 5)

# Fixed texts of a template: nothing that Django would take for a tag.
FIXED = st.text(alphabet="ab .=_-\r\n\tя漢é😀<>&\"'", max_size=90)
VALUE = st.one_of(
    st.text(max_size=120),
    st.text(alphabet="абвгд ЕЖЗ\n", max_size=200),
    st.text(alphabet="客户通讯 ", max_size=200),
    st.text(alphabet="שלום \u200f", max_size=80),
    st.text(alphabet="👩\u200d💻😀 x", max_size=80),
    st.text(alphabet=".\r\n =\t", max_size=40),
    st.text(alphabet='ab" \\<>,;:@=?()[]&', max_size=120),
    st.text(alphabet="x", min_size=60, max_size=900),
)
SHAPES = [
    "{first}",
    "{first}{{{{ a }}}}{second}",
    "{first}{{{{ a }}}}{{{{ b }}}}{second}{{% if a %}}{first}{{% endif %}}",
]


def with_files(kind, body, files):
    if not files:
        return body
    outer = MIMEPart(policy=SMTP)
    outer["Content-Type"] = f"multipart/{kind}"
    outer.attach(body)
    for file in files:
        part = MIMEPart(policy=SMTP)
        part.set_content(file.data, *file.mime_type.split("/"), filename=file.name)
        if file.content_id:
            part["Content-ID"] = f"<{file.content_id}>"
        outer.attach(part)
    return outer


def careful(rendered, files) -> EmailMessage:
    """The same message by `email.message`, which takes about ten times as long."""
    text, page = MIMEPart(policy=SMTP), MIMEPart(policy=SMTP)
    text.set_content(rendered.text, cte="base64")
    page.set_content(rendered.html, subtype="html", cte="base64")
    page = with_files("related", page, [f for f in files if f.content_id])
    body = MIMEPart(policy=SMTP)
    body["Content-Type"] = "multipart/alternative"
    body.attach(text)
    body.attach(page)
    body = with_files("mixed", body, [f for f in files if not f.content_id])
    return email.message_from_bytes(body.as_bytes(), policy=SMTP)


def parts(message):
    """The parts that are no multiparts, with all that a reader's program sees of them."""
    return [
        (
            part.get_content_type(),
            part.get_filename(),
            part["Content-ID"],
            part.get_payload(decode=True) if part.get_content_maintype() != "text" else text_of(part),
        )
        for part in message.walk()
        if not part.is_multipart()
    ]


def text_of(part) -> str:
    """The text with its line ends as LF; the standard library ends the last line, too."""
    text = re.sub(r"\r\n|\r", "\n", part.get_payload(decode=True).decode())
    return text if text.endswith("\n") else text + "\n"


def compose(shape, first, second, values, files=()):
    source = shape.format(first=first, second=second)
    prepared = compiled(subject="{{ b }}", html=source, text=source, files=tuple(files))
    envelope = render(prepared, sender=SENDER, to="joe@example.com", values=values, message_id=MESSAGE_ID, links=LINKS)
    return envelope.data, preview(prepared, values=values, links=LINKS)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.sampled_from(SHAPES),
    first=FIXED,
    second=FIXED,
    a=VALUE,
    b=VALUE,
    files=st.sampled_from([(), (PICTURE,), (OFFER,), (PICTURE, OFFER)]),
)
@example(shape=SHAPES[1], first="x" * 75, second="x" * 76, a="x" * 75, b="", files=())
@example(shape=SHAPES[1], first="a ", second="\nb", a="\t ", b="", files=())
@example(shape=SHAPES[1], first="a\r", second="\nb", a="c\r", b="", files=())
@example(shape=SHAPES[2], first="", second="", a="\n.\n", b="..\n", files=(OFFER,))
@example(shape=SHAPES[1], first="\n\n", second="", a="\n\n.", b="\r\nBcc: eve@example.com\r\n\r\n", files=())
@example(shape=SHAPES[0], first="ж" * 300, second="", a="", b="", files=())
def test_pieces__make_the_message_that_care_makes(shape, first, second, a, b, files):
    data, rendered = compose(shape, first, second, {"a": a, "b": b}, files)
    fast = email.message_from_bytes(data, policy=SMTP)
    assert parts(fast) == parts(careful(rendered, files))
    assert [defect for part in fast.walk() for defect in part.defects] == []
    assert fast["Bcc"] is None
    head = email.message_from_bytes(data)
    assert str(make_header(decode_header(re.sub(r"\r\n(?=[ \t])", "", head["Subject"])))) == rendered.subject
    assert_travels(data)
    # The transport does not look through what is said to be ready.
    assert type(data) is wire.Ready
    assert wire.is_ready(bytes(data))


def assert_travels(data: bytes) -> None:
    """Any relay takes it: 7 bits, CRLF only, short lines in the bodies (RFC 2045, 6.7 and 6.8)."""
    assert data.isascii()
    assert data.endswith(b"\r\n")
    lines = data.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    body = data.partition(b"\r\n\r\n")[2].split(b"\r\n")
    assert max(map(len, body)) <= 78  # 76, and the head of a part with a long file name
    assert max(map(len, lines)) <= 998


ALTERNATIVE = ["multipart/alternative", "text/plain"]
RELATED = ["multipart/related", "text/html", "image/png"]


@pytest.mark.parametrize(
    ("files", "kinds"),
    [
        ((), [*ALTERNATIVE, "text/html"]),
        ((PICTURE,), [*ALTERNATIVE, *RELATED]),
        ((OFFER,), ["multipart/mixed", *ALTERNATIVE, "text/html", "application/pdf"]),
        ((PICTURE, OFFER), ["multipart/mixed", *ALTERNATIVE, *RELATED, "application/pdf"]),
    ],
)
def test_structure__levels_with_one_thing_are_left_out(files, kinds):
    data, _rendered = compose(SHAPES[1], "Dear ", ",\n", {"a": "Joe"}, files)
    message = email.message_from_bytes(data, policy=SMTP)
    assert [part.get_content_type() for part in message.walk()] == kinds
    boundaries = [part.get_boundary() for part in message.walk() if part.is_multipart()]
    assert len(set(boundaries)) == len(boundaries)


@pytest.mark.parametrize(
    "text", ["Dear ", "\n.x\n..y", "." * 200, "x" * 75 + ".", "x" * 75 + "...y", "ж" * 300 + "\n.x", "\n.\n"]
)
@pytest.mark.parametrize("value", ["Ann", ".", "..", "\n.x\n", "\r\n.x\r\n", "x" * 75 + ".", "." * 100])
def test_pieces__no_line_begins_with_a_dot(text, value):
    """Also where a soft line break brings one to the start of a line."""
    data, rendered = compose(SHAPES[1], text, ". And so on", {"a": value})
    assert type(data) is wire.Ready
    assert wire.is_ready(bytes(data))
    assert_travels(data)
    assert parts(email.message_from_bytes(data, policy=SMTP)) == parts(careful(rendered, ()))


def test_pieces__fixed_ones_are_encoded_once(monkeypatch):
    prepared = compiled(subject="Hi", html="é" * 500 + "{{ a }}", text="é" * 500 + "{{ a }}", files=(OFFER,))
    seen = []
    original = TextPart.of.__func__
    monkeypatch.setattr(TextPart, "of", classmethod(lambda cls, *args: seen.append(args) or original(cls, *args)))
    for name in ("Joe", "Zoë", "Ян"):
        render(prepared, sender=SENDER, to="a@b.example", values={"a": name}, message_id=MESSAGE_ID, links=LINKS)
    assert seen == []


def test_pieces__the_shorter_encoding_wins_whatever_is_filled_in():
    short, _ = compose(SHAPES[1], "a" * 200, "b", {"a": "Joe"})
    dense, _ = compose(SHAPES[1], "a" * 200, "b", {"a": "новости " * 300})
    assert short.count(b"Content-Transfer-Encoding: quoted-printable") == 2
    assert dense.count(b"Content-Transfer-Encoding: base64") == 2
