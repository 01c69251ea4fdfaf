"""Mail as it is kept with a conversation: pure, whatever the bytes."""

from __future__ import annotations

import tracemalloc
from email.message import EmailMessage

import pytest

from massmail.conversations import ALPHABET, new_ticket
from massmail.inbound.conversations.letters import MAX_FILES, MAX_MAIL, Letter, letter, untagged

TICKET = "abcdefgh23456789"


def read(text: str | bytes, **options) -> Letter:
    raw = text if isinstance(text, bytes) else text.encode()
    return letter(raw, **{"size": len(raw), "own_address": "alice@acme.example"} | options)


def test_tickets_are_random_letters_and_digits():
    tickets = {new_ticket() for _ in range(100)}
    assert len(tickets) == 100
    assert all(len(ticket) == 16 and set(ticket) <= set(ALPHABET) for ticket in tickets)


@pytest.mark.parametrize(
    "head",
    [
        f"Subject: Re: Offer [ticket:{TICKET}]",
        f"Subject: AW: [TICKET: {TICKET.upper()}] Offer",
        f"Subject: Re: a long subject that\n  is folded [ticket:\n {TICKET}]",
        f"Subject: =?utf-8?q?R=C3=BCckfrage_=5Bticket=3A{TICKET}=5D?=",
        f"X-Massmail-Ticket: {TICKET}",
    ],
)
def test_ticket_is_found(head):
    assert read(f"From: a@b.example\n{head}\n\nx").tickets == (TICKET,)


@pytest.mark.parametrize(
    "text",
    [
        f"Subject: ticket:{TICKET}\n\nx",
        "Subject: [ticket:short]\n\nx",
        f"Subject: [ticket:{TICKET}0]\n\nx",
        f"X-Massmail-Ticket: {TICKET} {TICKET}\n\nx",
        f"Subject: x\n\n[ticket:{TICKET}]",  # quoted in the text of any mail
    ],
)
def test_what_is_no_ticket(text):
    assert read(text).tickets == ()


def test_untagged():
    assert untagged(f"Re: Offer [ticket:{TICKET}] [Ticket:{TICKET.upper()}]") == "Re: Offer"


def test_identity_is_that_of_the_mail_however_much_is_read():
    head = "From: a@b.example\nDate: Mon, 23 Nov 2026 10:30:00 +0100\nSubject: x\n"
    for more in ("Message-ID: <1@b.example>\n", "Received: from x by y; 1\n"):
        text = f"{head}{more}\n" + "line\n" * 100
        whole, part = read(text), read(text[:200], size=len(text))
        assert whole.identity == part.identity
        assert (whole.whole, part.whole) == (True, False)
    assert (
        read(head + "Received: from x by y; 2\n\nx").identity != read(head + "Received: from x by y; 3\n\nx").identity
    )


def test_what_a_mail_refers_to():
    found = read(
        "From: a@b.example\nMessage-ID: <own@b.example>\nX-Massmail-ID: ours@acme.example\n"
        "In-Reply-To: <3@x>\nReferences: <1@x> <2@x> <3@x>\n\nx"
    )
    assert found.refers_to == ("<3@x>", "<2@x>", "<1@x>")
    assert found.ids == ("<own@b.example>", "<ours@acme.example>")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\evil.exe", "evil.exe"),
        (".htaccess", "htaccess"),
        ("a\x00b\x1f\u202egpj.exe", "ab gpj.exe"),
        ("…", "…"),
        ("/", "attachment"),
        ("x" * 300 + ".pdf", "x" * 120 + "x" * 26 + ".pdf"),
    ],
)
def test_file_names_are_harmless(given, kept):
    message = EmailMessage()
    message["From"] = "a@b.example"
    message.set_content("x")
    message.add_attachment(b"x", maintype="application", subtype="x", filename="name")
    head = message.as_string().replace('filename="name"', 'filename="' + given.replace("\\", "\\\\") + '"')
    [file] = read(head.encode("utf-8", "surrogateescape")).files
    assert file.name == kept


def test_files_are_all_but_the_text():
    message = EmailMessage()
    message.set_content("Text")
    message.add_alternative("<p>HTML</p>", subtype="html")
    message.add_attachment("a,b", subtype="csv", filename="list.csv")
    forwarded = EmailMessage()
    forwarded["Subject"] = "Before"
    forwarded.set_content("Old")
    message.add_attachment(forwarded)
    found = read(message.as_bytes())
    assert found.text == "Text"
    assert [file.name for file in found.files] == ["list.csv", "message.eml"]
    many = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\nContent-Type: image/png\n\nx\n" * 500
    assert len(read(many).files) == MAX_FILES


def test_memory_for_the_largest_mail_is_bounded():
    line = b"QUJD" * 19 + b"\r\n"
    raw = b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png\r\n"
    raw += b"Content-Transfer-Encoding: base64\r\n\r\n"
    raw = (raw + line * (MAX_MAIL // len(line)))[: MAX_MAIL - 20] + b"\r\n--b--\r\n"
    tracemalloc.start()
    found = read(raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.files) == 1
    assert peak < 75 << 20
