"""The bytes that are sent, read back with the standard library."""

import email
import email.policy
import re
from email.header import decode_header, make_header
from types import SimpleNamespace

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from massmail.composing import Links, new_message_id, prepare, preview, render
from massmail.composing.headers import bare_address, encoded, line, named_address, one_line
from massmail.composing.templates import clean
from massmail.exceptions import CompositionError
from massmail.models import Message

ONE_CLICK = "https://news.example.com/massmail/unsubscribe/" + "A" * 22 + "_" * 9
LINKS = Links(unsubscribe=ONE_CLICK, mailto="unsubscribe@acme.example")
CONTENT = (
    '<p>{{ first_name }}</p><pre>\n{{ note }}\n</pre><p>Grüße</p><p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>'
)
PREPARED = prepare(Message(subject="{{ first_name }}", content=CONTENT))

SCRIPTS = st.one_of(
    st.text(max_size=250),
    st.text(alphabet="абвгд ЕЖЗ", max_size=250),
    st.text(alphabet="客户通讯新闻 ", max_size=250),
    st.text(alphabet="שלום עולם\u200f", max_size=250),
    st.text(alphabet="नमस्ते \u200d", max_size=250),
    st.text(alphabet="👩‍💻😀 x", max_size=250),
    st.text(alphabet='ab" \\<>,;:@=?()[]', max_size=250),
)


def account(**fields):
    return SimpleNamespace(**{"from_email": "ann@acme.example", "from_name": "Ann", "reply_to": "", **fields})


def sent(values=None, *, to="joe@example.com", links=LINKS, prepared=PREPARED, **fields):
    return render(
        prepared,
        sender=account(**fields),
        to=to,
        values=values or {},
        message_id="<abc@acme.example>",
        links=links,
    )


def parsed(envelope):
    return email.message_from_bytes(envelope.data, policy=email.policy.default)


def decoded(envelope, name):
    """The header as a mail program shows it; the `email` package's new policies put spaces where none are."""
    raw = email.message_from_bytes(envelope.data)[name]
    return str(make_header(decode_header(re.sub(r"\r\n(?=[ \t])", "", raw))))


def assert_wire_format(data):
    lines = data.split(b"\r\n")
    assert all(len(line) <= 998 for line in lines)
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert data.isascii()


def test_headers__as_a_newsletter_needs_them():
    message = parsed(sent({"first_name": "Joe"}, reply_to="office@acme.example"))
    assert message["From"] == '"Ann" <ann@acme.example>'.replace('"', "")
    assert message["To"] == "joe@example.com"
    assert message["Reply-To"] == "office@acme.example"
    assert message["Subject"] == "Joe"
    assert message["Message-ID"] == "<abc@acme.example>"
    assert message["X-Massmail-ID"] == "abc@acme.example"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["List-Id"] == "<newsletter.acme.example>"
    assert message["Precedence"] == "bulk"
    assert re.fullmatch(r"[0-9a-f]{12}:[0-9a-f]{12}:newsletter:massmail", message["Feedback-ID"])
    assert message["MIME-Version"] == "1.0"
    assert message["Date"].datetime.tzinfo is not None
    assert message["Auto-Submitted"] is None
    assert len(set(map(str.lower, message.keys()))) == len(message.keys())
    assert "Reply-To" not in parsed(sent())


def test_one_click__is_never_encoded_nor_broken():
    assert len(ONE_CLICK) == 77
    data = sent().data
    unfolded = data.replace(b"\r\n ", b" ")
    assert b"\r\nList-Unsubscribe: <mailto:unsubscribe@acme.example>, <" + ONE_CLICK.encode() + b">\r\n" in unfolded
    assert max(map(len, data.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 98


def test_one_click__without_a_mail_address():
    data = sent(links=Links(unsubscribe=ONE_CLICK)).data
    assert b"\r\nList-Unsubscribe: <" + ONE_CLICK.encode() + b">\r\n" in data


def test_one_click__mailto_uri_and_long_addresses():
    url = "https://news.example.com/" + "x" * 900
    data = sent(links=Links(unsubscribe=url, mailto="mailto:u@acme.example?subject=unsubscribe")).data
    assert_wire_format(data)
    assert b"<mailto:u@acme.example?subject=unsubscribe>," in data
    assert f"<{url}>\r\n".encode() in data


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example/" + "x" * 1000,
        "https://x.example/ü",
        "https://x.example/a b",
        "https://x.example/\r\nBcc: a",
        "h>i",
    ],
)
def test_one_click__not_an_address(url):
    with pytest.raises(CompositionError):
        sent(links=Links(unsubscribe=url))


def test_structure__of_a_plain_newsletter():
    message = parsed(sent({"first_name": "<Joe>"}))
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    text, html = message.iter_parts()
    assert "<Joe>" in text.get_content()
    assert ONE_CLICK in text.get_content()
    assert "&lt;Joe&gt;" in html.get_content()
    assert {part.get_content_charset() for part in (text, html)} == {"utf-8"}


def test_structure__is_the_same_for_a_retry():
    first, second = (re.sub(rb"Date: [^\r]+", b"", sent({"first_name": "Joe"}).data) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("note", "encoding"), [("plain", "quoted-printable"), ("новости " * 300, "base64"), ("很长" * 3000, "base64")]
)
def test_encoding__is_the_shorter_one(note, encoding):
    envelope = sent({"note": note})
    assert_wire_format(envelope.data)
    assert parsed(envelope).get_body(("html",))["Content-Transfer-Encoding"] == encoding


def assert_comes_back(envelope, note):
    """Both parts hold what was filled in, to the byte; every line end has become CRLF."""
    assert re.sub(r"\r\n?", "\n", clean(note)).strip() in filled_in(envelope, "plain")
    seen = preview(PREPARED, values={"note": note}, links=LINKS)
    for part, text in (("plain", seen.text), ("html", seen.html)):
        assert filled_in(envelope, part) == re.sub(r"\r\n?", "\n", text)


def filled_in(envelope, subtype):
    part = parsed(envelope).get_body((subtype,))
    return part.get_payload(decode=True).decode().replace("\r\n", "\n")


BODIES = [
    "a\n.\nb",
    "a\r.\r\nb",
    "a\rb",
    "a\nb",
    ".",
    "..\n.\n",
    "x" * 5000,
    "From here\n",
    "a \t\n b\t",
    "--=_\n--",
    "=3D",
]


@pytest.mark.parametrize("note", BODIES)
def test_t28__dots_and_bare_line_ends(note):
    envelope = sent({"note": note})
    assert_wire_format(envelope.data)
    assert b"\r\n.\r\n" not in envelope.data
    assert_comes_back(envelope, note)


@settings(deadline=None)
@given(note=st.text(max_size=400))
@example(note="\r\r\n\n.")
def test_t28__any_body_comes_back(note):
    envelope = sent({"note": note})
    assert_wire_format(envelope.data)
    assert_comes_back(envelope, note)


@pytest.mark.parametrize("bad", ["\r", "\n", "\r\n", "\0", "\r\nBcc: eve@example.com", "\n\nbody"])
@pytest.mark.parametrize("field", ["from_name", "from_email", "reply_to"])
def test_t27__injection_by_the_account(field, bad):
    with pytest.raises(CompositionError):
        sent(**{field: f"ann@acme.example{bad}"})


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\r\nBcc: eve@example.com", "> SIZE=1", ",eve@example.com", " x"])
def test_t27__injection_by_the_address(bad):
    with pytest.raises(CompositionError):
        sent(to=f"joe@example.com{bad}x")


def test_t27__injection_by_values_in_the_subject():
    envelope = sent({"first_name": "Joe\r\nBcc: eve@example.com\n\nbody\0"})
    assert parsed(envelope)["Bcc"] is None
    assert decoded(envelope, "Subject") == "Joe Bcc: eve@example.com body"


@pytest.mark.parametrize("message_id", ["abc@acme.example", "<a b@c>", "<abc@acme.example>\r\nBcc: x", "<abc>", ""])
def test_t27__message_ids(message_id):
    with pytest.raises(CompositionError):
        render(PREPARED, sender=account(), to="a@b.example", values={}, message_id=message_id, links=LINKS)


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\n", "a\0", "ü", "\x7f"])
def test_t27__a_header_takes_ascii_on_one_line_only(value):
    with pytest.raises(ValueError, match="Not a header value"):
        line("X-Massmail-ID", value)


def test_t27__a_word_longer_than_a_line():
    with pytest.raises(ValueError, match="longer than a line"):
        line("X-Massmail-ID", "x" * 1000)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ann\u202egpj.exe", "Anngpj.exe"),
        ("\u200bA\ufeffn\u2060n", "Ann"),
        ("Ann\x07 \x1b[31mLee", "Ann [31mLee"),
        ("A\u2066nn\u2069", "Ann"),
        ("Anna\u2028Lee\u2029", "Anna Lee"),
        ("نرم\u200cنویس", "نرم\u200cنویس"),
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_t29__disguises_are_stripped_and_spelling_is_kept(name, shown):
    assert decoded(sent(from_name=name), "From") in (f"{shown} <ann@acme.example>", f'"{shown}" <ann@acme.example>')
    assert decoded(sent({"first_name": name}), "Subject") == shown


@settings(deadline=None)
@given(text=SCRIPTS)
@example(text="=?utf-8?q?x?=")
@example(text="x" * 250)
def test_subjects_of_many_scripts_come_back(text):
    envelope = sent({"first_name": text})
    assert_wire_format(envelope.data)
    assert decoded(envelope, "Subject") == one_line(clean(text))
    head = envelope.data.partition(b"\r\n\r\n")[0]
    assert all(len(word) <= 75 for word in re.findall(rb"=\?utf-8\?[^ \r]*", head))


@settings(deadline=None)
@given(name=SCRIPTS)
@example(name='O"Neil \\ <x@y>, Inc.')
def test_names_of_many_scripts_come_back(name):
    assume(not re.search(r"[\r\n\x00]", name))
    envelope = sent(from_name=name)
    assert_wire_format(envelope.data)
    ((shown, address),) = email.utils.getaddresses([email.message_from_bytes(envelope.data)["From"]])
    assert address == "ann@acme.example"
    unquoted = re.sub(r"\\(.)", r"\1", shown) if "=?" not in shown and '"' not in shown else shown
    assert str(make_header(decode_header(shown))) == one_line(name) or unquoted == one_line(name)


@settings(deadline=None)
@given(text=SCRIPTS)
def test_encoded__is_ascii_on_one_line(text):
    result = encoded(one_line(text), header="Subject")
    assert result.isascii()
    assert "\n" not in result


def test_named_address__without_a_name():
    assert named_address(" \u200b", "a@b.example", header="From") == "a@b.example"


@pytest.mark.parametrize(
    ("typed", "bare"),
    [
        ("Joe.Doe@Example.COM", "Joe.Doe@Example.COM"),
        (" joe+tag@bücher.example ", "joe+tag@xn--bcher-kva.example"),
        ("joe@Straße.example", "joe@xn--strae-oqa.example"),
        ('"joe doe"@example.com', '"joe doe"@example.com'),
        ("joe@[192.0.2.1]", "joe@[192.0.2.1]"),
    ],
)
def test_address__as_typed(typed, bare):
    assert bare_address(typed) == bare
    envelope = sent(to=typed)
    assert envelope.to == bare
    assert parsed(envelope)["To"].addresses[0].addr_spec == bare


@pytest.mark.parametrize(
    "address", ["", "joe", "@example.com", "joe@", "jöe@example.com", "a@b@c.example", "a..b@c.example", "a@-\u2260.x"]
)
def test_address__that_cannot_be_sent_to(address):
    with pytest.raises(CompositionError) as caught:
        sent(to=address)
    assert caught.value.field == "address"


def test_envelope__of_an_international_domain():
    envelope = sent(from_email="ann@bücher.example", from_name="Zoë")
    assert envelope.sender == "ann@xn--bcher-kva.example"
    assert envelope.message_id == "<abc@acme.example>"
    assert parsed(envelope)["List-Id"] == "<newsletter.xn--bcher-kva.example>"
    assert decoded(envelope, "From") == "Zoë <ann@xn--bcher-kva.example>"


def test_new_message_id__is_unique_and_ascii():
    first, second = new_message_id("bücher.example"), new_message_id("bücher.example")
    assert first != second
    assert re.fullmatch(r"<[0-9a-f]{32}@xn--bcher-kva\.example>", first)


GOLDEN = """\
From: =?utf-8?q?Zo=C3=AB?= <ann@acme.example>\r
To: joe@example.com\r
Subject: =?utf-8?b?0J3QvtCy0L7RgdGC0Lgg0LTQu9GPIEpvZQ==?=\r
Date: -\r
Message-ID: <abc@acme.example>\r
List-Unsubscribe: <https://news.example.com/u/abc>\r
List-Unsubscribe-Post: List-Unsubscribe=One-Click\r
List-Id: <newsletter.acme.example>\r
Precedence: bulk\r
Feedback-ID: 5bbca4d41eec:b759382850d6:newsletter:massmail\r
X-Massmail-ID: abc@acme.example\r
MIME-Version: 1.0\r
Content-Type: multipart/alternative;\r
 boundary="=_a36c204923d2b40f8c99db6913bb.1"\r
\r
--=_a36c204923d2b40f8c99db6913bb.1\r
Content-Type: text/plain; charset="utf-8"\r
Content-Transfer-Encoding: quoted-printable\r
\r
Stop <=\r
https://news.example.com/u/abc=\r
>\r
\r
--=_a36c204923d2b40f8c99db6913bb.1\r
Content-Type: text/html; charset="utf-8"\r
Content-Transfer-Encoding: quoted-printable\r
\r
<!DOCTYPE html>\r
<html><head><meta charset=3D"utf-8"></head><body><a href=3D"=\r
https://news.example.com/u/abc=\r
">Stop</a></body></html>\r
--=_a36c204923d2b40f8c99db6913bb.1--\r
"""


def test_bytes__are_the_same_on_every_version_of_python_and_django():
    prepared = prepare(Message(subject="Новости для {{ name }}", content='<a href="{{ unsubscribe_url }}">Stop</a>'))
    links = Links(unsubscribe="https://news.example.com/u/abc")
    data = sent({"name": "Joe"}, prepared=prepared, links=links, from_name="Zoë").data.decode()
    assert re.sub(r"\nDate: [^\r]+", "\nDate: -", data) == GOLDEN
