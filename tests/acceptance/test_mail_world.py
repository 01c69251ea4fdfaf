"""What arrives: read back from a real mail server, signed by a real signer, judged by a real spam filter."""

from __future__ import annotations

import email
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.header import decode_header, make_header
from email.message import Message as Mail
from email.utils import format_datetime, localtime, parseaddr
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from massmail.choices import Security
from massmail.composing import File, Links, new_message_id, prepare, preview, render
from massmail.composing.preparing import compiled
from massmail.models import Message
from massmail.transport import Endpoint
from massmail.transport.smtp import SMTPConnection
from tests.conftest import unavailable
from tests.mailstack import Stack, mail_stack
from tests.servers import Unavailable, answers, eventually, free_port, private_directory, running

pytestmark = [pytest.mark.mailstack, pytest.mark.django_db]

LETTERS = 500
CHECKS = list(HealthCheck)
LINK = "https://news.acme.example/massmail/u/0123456789abcdef/0"
MAILTO = "mailto:alice@example.test?subject=unsubscribe%20abc"
SCRIPTS = [
    "Müller & Söhne",
    "Ольга Йовович",
    "田中さん、こんにちは",
    "שלום עולם",
    "مرحبا، كيف الحال؟",
    "👩‍👩‍👧‍👦 🎉 🇩🇪",
    '"quoted", comma; semi:colon <angle>',
    "O'Brien \\ back",
    "=?utf-8?q?not_encoded?=",
    ".\n..\n.dots at the start",
    "e\u0301 combining",
    "a" * 300,
    "long " * 60,
]
ANYTHING = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp", "Co"]), max_size=60)
WORDS = st.one_of(st.sampled_from(SCRIPTS), ANYTHING)
ONE_LINE = WORDS.map(lambda text: " ".join(text.split())[:200].strip())


@contextmanager
def available(context: Any) -> Iterator[Any]:
    try:
        with context as value:
            yield value
    except Unavailable as missing:
        unavailable(str(missing))


@pytest.fixture
def stack() -> Iterator[Stack]:
    with available(mail_stack()) as servers:
        yield servers


def sender(name: str = "Alice Müller") -> Any:
    return SimpleNamespace(from_email="alice@example.test", from_name=name, reply_to="sales@example.test")


def connection(stack: Stack) -> SMTPConnection:
    return SMTPConnection(Endpoint(host="127.0.0.1", port=stack.smtp, security=Security.NONE))


def mailbox(stack: Stack, user: str, number: int) -> list[Mail]:
    """Return the user's mail, once there are `number` of them."""
    assert eventually(lambda: stack.count(user) >= number, patience=120)
    with stack.mailbox(user) as session:
        session.select("INBOX", readonly=True)
        _status, parts = session.fetch("1:*", "(BODY.PEEK[])")
    return [email.message_from_bytes(part[1]) for part in parts if isinstance(part, tuple)]


def text_of(mail: Mail, kind: str) -> str:
    part = next(part for part in mail.walk() if part.get_content_type() == kind)
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode(part.get_content_charset() or "ascii").replace("\r\n", "\n")


def decoded(value: str) -> str:
    return str(make_header(decode_header(value)))


def normal(text: str) -> str:
    return re.sub(r"\r\n|\r", "\n", text).rstrip("\n")


def test_500_letters__are_stored_as_they_were_meant(stack: Stack) -> None:
    meant: dict[str, tuple[str, str, Any]] = {}
    message = Message(
        subject="{{ subject }}",
        preheader="{{ name }}, news",
        content='<p title="x">Dear {{ name }},</p><p>{{ words }}</p><a href="{{ unsubscribe_url }}">Unsubscribe</a>',
    )
    prepared, links = prepare(message), Links(unsubscribe=LINK, mailto=MAILTO)
    with closing(connection(stack)) as server:
        server.open()

        @settings(
            max_examples=LETTERS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(name=ONE_LINE, subject=ONE_LINE.filter(bool), words=WORDS, sender_name=ONE_LINE)
        def send(name: str, subject: str, words: str, sender_name: str) -> None:
            values = {"name": name, "subject": subject, "words": words}
            letter = render(
                prepared,
                sender=sender(sender_name),
                to="inbox@example.test",
                values=values,
                message_id=new_message_id("example.test"),
                links=links,
            )
            assert server.deliver(sender=letter.sender, to=letter.to, data=letter.data).accepted
            meant[letter.message_id] = sender_name, subject, preview(prepared, values=values, links=links)

        send()
    arrived = mailbox(stack, "inbox@example.test", len(meant))
    assert len(arrived) == len(meant) >= LETTERS * 0.9
    for mail in arrived:
        sender_name, subject, rendered = meant.pop(mail["Message-ID"])
        assert " ".join(decoded(mail["Subject"]).split()) == rendered.subject == " ".join(subject.split())
        name, address = parseaddr(re.sub(r"\r?\n", "", mail["From"]))
        assert (decoded(name), address) == (sender_name, "alice@example.test")
        assert normal(text_of(mail, "text/plain")) == normal(rendered.text)
        assert normal(text_of(mail, "text/html")) == normal(rendered.html)
        assert re.findall(r"<[^>]+>", mail["List-Unsubscribe"]) == [f"<{MAILTO}>", f"<{LINK}>"]
    assert not meant


def picture() -> bytes:
    data = BytesIO()
    Picture.new("RGB", (40, 20), "navy").save(data, "PNG")
    return data.getvalue()


def whole_letter() -> bytes:
    """Return a letter with everything: two texts, a picture inside, a file attached."""
    prepared = prepare(
        Message(
            subject="Autumn catalogue for {{ first_name }}",
            preheader="What is new",
            content=NEWSLETTER,
        )
    )
    files = (
        File(name="logo.png", mime_type="image/png", content_id="logo@massmail", data=picture()),
        File(name="Preisliste März.pdf", mime_type="application/pdf", data=b"%PDF-1.4 nothing"),
    )
    html = prepared.html.replace("<p>Dear", '<img src="cid:logo@massmail" width="40" height="20" alt="Acme"><p>Dear', 1)
    whole = compiled(subject=prepared.subject, html=html, text=prepared.text, files=files)
    return render(
        whole,
        sender=sender(),
        to="ann@example.test",
        values={"first_name": "Ann"},
        message_id=new_message_id("example.test"),
        links=Links(unsubscribe=LINK, mailto=MAILTO),
    ).data


NEWSLETTER = """<html><head><title>Autumn catalogue</title></head><body>
<p>Dear {{ first_name }},</p>
<p>the leaves turn yellow, and our new catalogue has arrived from the printer's. On sixty pages you find the sheet metal
that you know, and for the first time profiles made of aluminium. We keep the prices of last year until the end of
November. If you would like to see samples, write back to me, and I will bring them along on my next visit.</p>
<p>Kind regards<br>Alice Müller, Acme Metall GmbH, Lindenstraße 5, 10969 Berlin</p>
<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>"""


def test_structure__a_parser_of_another_make_reads_all_parts(stack: Stack) -> None:
    """Dovecot's own MIME parser: mixed > alternative > plain, related > html, picture; and the attachment."""
    with closing(connection(stack)) as server:
        server.open()
        assert server.deliver(sender="alice@example.test", to="ann@example.test", data=whole_letter()).accepted
    mailbox(stack, "ann@example.test", 1)
    with stack.mailbox("ann@example.test") as session:
        session.select("INBOX", readonly=True)
        _status, [structure] = session.fetch("1", "(BODYSTRUCTURE)")
    kinds = re.findall(rb'\("?(text|image|application)"? "(\w+)"', structure, re.IGNORECASE)
    assert [b"/".join(kind).lower() for kind in kinds] == [
        b"text/plain",
        b"text/html",
        b"image/png",
        b"application/pdf",
    ]
    containers = [
        kind.lower() for kind in re.findall(rb'\) "(related|alternative|mixed)" \(', structure, re.IGNORECASE)
    ]
    assert containers == [b"related", b"alternative", b"mixed"]


@contextmanager
def signer(home: Path, port: int, headers: str = "*,+list-unsubscribe,+list-unsubscribe-post") -> Iterator[bytes]:
    """Run OpenDKIM, told to sign both unsubscribe headers as well, or just `headers`; give the record of its key."""
    program = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
    if program is None:
        raise Unavailable("opendkim is not installed (Debian: apt-get install opendkim)")
    key = home / "s1.private"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    public = subprocess.run(
        ["openssl", "rsa", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True
    ).stdout
    config = home / "opendkim.conf"
    config.write_text(
        f"Domain example.test\nSelector s1\nKeyFile {key}\nSocket inet:{port}@127.0.0.1\nMode s\n"
        "InternalHosts 127.0.0.1\nRequireSafeKeys no\nBackground no\nUserID nobody\nPidFile none\n"
        f"SignHeaders {headers}\nOversignHeaders From\n"
    )
    home.chmod(0o755)
    key.chmod(0o644)
    with running([program, "-f", "-x", config], home, ready=lambda: answers(port), stop=signal.SIGTERM):
        yield (
            b"v=DKIM1; k=rsa; p="
            + subprocess.run(["openssl", "base64", "-A"], input=public, check=True, capture_output=True).stdout
        )


def test_signature__covers_both_unsubscribe_headers() -> None:
    """RFC 8058, 4: a one-click link counts only if the signature covers both headers."""
    import dkim

    port = free_port()
    with (
        available(private_directory()) as home,
        available(signer(home, port)) as record,
        available(mail_stack(milters=[port])) as stack,
    ):
        with closing(connection(stack)) as server:
            server.open()
            assert server.deliver(sender="alice@example.test", to="ann@example.test", data=whole_letter()).accepted
        mailbox(stack, "ann@example.test", 1)
        with stack.mailbox("ann@example.test") as session:
            session.select("INBOX", readonly=True)
            _status, [(_head, raw), *_rest] = session.fetch("1", "(BODY.PEEK[])")
    signed = re.sub(r"\s", "", str(email.message_from_bytes(raw)["DKIM-Signature"]).lower())
    covered = re.search(r"(?:^|;)h=([^;]+);", signed)
    assert covered
    assert {"list-unsubscribe", "list-unsubscribe-post", "from", "subject"} <= set(covered[1].split(":"))
    assert dkim.verify(raw, dnsfunc=lambda name, timeout=5: record)


def test_spam_filter__less_than_3_points() -> None:
    program = shutil.which("spamassassin")
    if program is None:
        unavailable("spamassassin is not installed (Debian: apt-get install spamassassin)")
    now = format_datetime(localtime())
    received = f"Received: from mail.acme.com ([23.192.228.80]) by mx.customer.com with ESMTPS;\r\n\t{now}\r\n"
    verdict = subprocess.run(
        [program, "--local", "--test-mode"],
        input=received.encode() + whole_letter(),
        check=True,
        capture_output=True,
        timeout=120,
    ).stdout.decode("utf-8", "replace")
    score = re.search(r"X-Spam-Status: \w+, score=(-?[\d.]+)", verdict)
    assert score, verdict[:2000]
    assert float(score[1]) < 3, verdict[verdict.find("Content analysis") :]
