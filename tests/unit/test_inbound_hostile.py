"""Mail that is damaged, hostile or huge: it never raises, and costs little time and memory (T38 to T40)."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from massmail.choices import InboundKind
from massmail.inbound import reading
from massmail.inbound.parse import classify
from massmail.inbound.replytext import reply_text
from tests.inbound_corpus import OWN, answers, bounces, others

#: Seconds of processor time and bytes of memory, over what the interpreter with Django takes, for one mail.
SECONDS, MEMORY = 5.0, 60 << 20

MAILS = [
    *(case.raw for case in bounces.BOUNCES + bounces.DELAYED + answers.AUTO_REPLIES + answers.REPLIES),
    *(case.raw for case in others.COMPLAINTS),
    *(raw for _name, raw in others.OTHERS),
]
DAEMON = b"From: MAILER-DAEMON@evil.example\nSubject: failure notice\n"


def _nested_multiparts() -> bytes:
    head = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(3000))
    return DAEMON + head + b"\ntext\n" + b"".join(b"--b%d--\n" % n for n in reversed(range(3000)))


def _nested_messages() -> bytes:
    return DAEMON + b"Content-Type: message/rfc822\n\n" * 3000 + b"From: a@b.example\n\ntext"


def _in_mixed(part: bytes) -> bytes:
    return DAEMON + b"Content-Type: multipart/mixed; boundary=x\n\n--x\n" + part + b"\n--x--\n"


HOSTILE: dict[str, Callable[[], bytes]] = {
    "multiparts 3,000 deep": _nested_multiparts,
    "messages 3,000 deep": _nested_messages,
    "the same boundary 3,000 deep": lambda: DAEMON + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" * 3000,
    "an encoded subject of 100 kB": lambda: b"Subject: " + b"=?utf-8?q?=C3=9C?= " * 5500 + b"\n\nx",
    "a subject of encoded words without a space": lambda: b"Subject: " + b"=?utf-8?q?a?=" * 8000 + b"\n\nx",
    "a subject of question marks": lambda: b"Subject: " + b"=?" * 50_000 + b"\n\nx",
    "100,000 headers": lambda: b"".join(b"X-%d: y\n" % n for n in range(100_000)) + b"\nx",
    "one header of 20 MB": lambda: b"X: " + b"a" * (20 << 20),
    "20 MB without a line end": lambda: b"a" * (20 << 20),
    "20 MB of line ends": lambda: b"\r\n" * (10 << 20),
    "10,000 parts": lambda: DAEMON + b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\nt\n" * 10_000,
    "10,000 recipients": lambda: _in_mixed(
        b"Content-Type: message/delivery-status\n\n"
        + b"".join(b"Final-Recipient: rfc822;a%d@b.example\nAction: failed\n\n" % n for n in range(10_000))
    ),
    "64,000 blank blocks": lambda: _in_mixed(b"Content-Type: message/delivery-status\n\n" + b"a:\n\n" * 16_000),
    "nothing but at signs": lambda: DAEMON + b"\n" + b"@" * (1 << 20),
    "commas and at signs, line by line": lambda: DAEMON + b"\n" + (b"," * 100 + b"a@" * 200 + b"\n") * 2000,
    "the words before an address, then none": lambda: (
        DAEMON + b"\nThe address to which the message has not yet been delivered is\n" + (b"x" * 998 + b"\n") * 1000
    ),
    "nested comments in addresses": lambda: b"From: " + b"(" * 50_000 + b"\nTo: " + b"<" * 50_000 + b"\n\nx",
    "references to no end": lambda: b"References: " + b"<" * 50_000 + b"\nIn-Reply-To: " + b"<a@b>" * 20_000 + b"\n\nx",
    "an unclosed parameter": lambda: b"Content-Type: text/plain" + b';boundary="a\\' * 10_000 + b"\n\nx",
    "HTML that never closes": lambda: DAEMON + b"Content-Type: text/html\n\n" + b"<style><head <" * 70_000,
    "HTML entities": lambda: DAEMON + b"Content-Type: text/html\n\n" + b"&amp" * 250_000,
    "punycode as a charset": lambda: DAEMON + b"Content-Type: text/plain; charset=punycode\n\n" + b"a-" * 500_000,
    "dashes": lambda: DAEMON + b"\n" + b"-" * (1 << 20),
    "quotations to no end": lambda: (
        b"Subject: Re: x\n\n" + b"On 1 Anna <anna.berg@acme.example> wrote:\n> x\n" * 20_000
    ),
    "short lines to no end": lambda: b"Subject: Re: x\n\n" + b"1\n" * 500_000,
    "dates to no end": lambda: (
        b"Subject: Automatic reply: x\nDate: Wed, 15 May 2024 10:00:00 +0200\n\n" + b"until 1. " * 99_999
    ),
    "original headers to no end": lambda: DAEMON + b"\n--- Original message follows\nTo: a@b.example\n" * 20_000,
    "an address of 1 MB": lambda: b"From: " + b"a" * 500_000 + b"@" + b"b" * 500_000 + b"\n\nx",
}

#: Runs in a process of its own: all mails one after the other, with the limits of the system behind ours.
_MEASURE = """
import json, resource
import django
django.setup()
from massmail.inbound.parse import classify
from massmail.inbound.replytext import reply_text
from tests.inbound_corpus.bounces import POSTFIX
from tests.unit.test_inbound_hostile import HOSTILE

def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10

classify(POSTFIX)
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
figures = {}
for name, make in HOSTILE.items():
    raw = make()
    before = used()
    event = classify(raw)
    reply_text(raw, "anna.berg@acme.example")
    seconds, memory = (now - then for now, then in zip(used(), before))
    longest = max(len(event.subject), len(event.diagnostic), *map(len, event.recipients), 0)
    figures[name] = [seconds, memory, len(event.recipients) + len(event.message_ids), longest]
print(json.dumps(figures))
"""


@pytest.fixture(scope="module")
def figures() -> dict[str, list[float]]:
    """What each hostile mail took: seconds, bytes, entries in the event, and characters of its longest text."""
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-c", _MEASURE]
    done = subprocess.run(
        command, env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_costs_little(name: str, figures: dict[str, list[float]]) -> None:
    seconds, memory, entries, longest = figures[name]

    assert seconds < SECONDS
    assert memory < MEMORY
    assert entries <= 150
    assert longest <= 1000


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=2000))
def test_any_bytes(raw: bytes) -> None:
    assert classify(raw).kind in InboundKind
    reply_text(raw, OWN)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(MAILS), st.randoms(use_true_random=False))
def test_damaged_mail(raw: bytes, chance: random.Random) -> None:
    event = classify(_damaged(raw, chance))

    assert event.kind in InboundKind
    for text in (event.subject, event.diagnostic, event.from_address, *event.recipients, *event.message_ids):
        assert {unicodedata.category(letter) for letter in text}.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
    reply_text(raw, OWN)


def _damaged(raw: bytes, chance: random.Random) -> bytes:
    """Return `raw` with pieces flipped, dropped, doubled, cut off, or replaced by what breaks parsers."""
    data = bytearray(raw)
    for _ in range(chance.randrange(1, 12)):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.randrange(40))
        poison = [b"", b"\x00", b"\r", b"\n\n", b"=?utf-8?b?!!?=", b"\xff\xfe", b'"', b"<>", bytes(data[start:end]) * 2]
        data[start:end] = chance.choice(poison)
    return bytes(data[: chance.randrange(len(data) + 1)]) if chance.random() < 0.2 else bytes(data)


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(
            ["From", "To", "Subject", "Date", "Content-Type", "References", "Received", "X-Failed-Recipients"]
        ),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=80),
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
)
def test_any_headers(headers: dict[str, str], body: str) -> None:
    raw = "\r\n".join([*(f"{name}: {value}" for name, value in headers.items()), "", body]).encode()

    assert classify(raw).kind in InboundKind


@pytest.mark.parametrize(
    "kind", ["utf-8", "no-such-charset", "", "undefined", "idna", "\x00", "utf-7", "base64", "iso-2022-jp"]
)
def test_charsets(kind: str) -> None:
    assert reading.decode("grüße".encode(), kind)


def test_bad_base64_is_read_as_far_as_it_goes() -> None:
    raw = b"Subject: Re: x\nIn-Reply-To: <1@a.example>\nContent-Transfer-Encoding: base64\n\nSGVs!bG8=\xff*"

    assert reply_text(raw, OWN) == "Hello"


def test_what_is_not_a_mail_at_all() -> None:
    for raw in (
        b"",
        b"\n",
        b"\r",
        b"\x00",
        b"\xff" * 100,
        b":",
        b"\n\n\n",
        b"From: ",
        b"Content-Type: multipart/mixed\n\n",
    ):
        event = classify(raw)
        assert (event.kind, event.recipients, event.message_ids) == (InboundKind.OTHER, (), ())


def test_attachments_and_returned_messages_are_not_opened() -> None:
    inner = (
        b"Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822;a@b.example\nAction: failed\nStatus: 5.1.1\n"
    )
    outer = b"From: jo@b.example\nSubject: look\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nhi\n--x\n"
    raw = outer + b"Content-Type: message/rfc822\n\nFrom: mailer-daemon@b.example\n" + inner + b"\n--x--\n"

    assert classify(raw).kind == InboundKind.OTHER
