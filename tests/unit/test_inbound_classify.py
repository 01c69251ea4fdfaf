"""Incoming mail told apart: each mail of the corpus is what it is, and tells what it is about."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime

import pytest

from massmail.choices import InboundKind
from massmail.inbound.parse import classify
from tests.inbound_corpus import GONE, MESSAGE_ID, ORIGINAL, Case, answers, bounces, mail, notification, others


def _named(cases: Iterable[Case]) -> list[object]:
    return [pytest.param(case, id=case.name) for case in cases]


def test_the_corpus_is_large_enough() -> None:
    assert len(bounces.BOUNCES) >= 40
    assert len(answers.AUTO_REPLIES) >= 15
    assert len(answers.REPLIES) >= 10
    assert len(others.OTHERS) >= 10


@pytest.mark.parametrize("case", _named(bounces.BOUNCES))
def test_bounce(case: Case) -> None:
    event = classify(case.raw)

    assert event.kind == InboundKind.BOUNCE
    assert event.recipients == case.recipients
    assert (event.status, event.permanent, event.reason) == (case.status, case.permanent, case.reason)
    assert case.words in {"", event.diagnostic}
    assert event.message_ids[:1] == ((MESSAGE_ID,) if case.known else event.message_ids[:1])


@pytest.mark.parametrize("case", _named(bounces.DELAYED))
def test_delay(case: Case) -> None:
    event = classify(case.raw)

    assert event.kind == InboundKind.DELAYED
    assert event.recipients == case.recipients
    assert (event.status, event.permanent, event.reason) == (case.status, False, "soft")
    assert MESSAGE_ID in event.message_ids


@pytest.mark.parametrize("case", _named(others.COMPLAINTS))
def test_complaint(case: Case) -> None:
    event = classify(case.raw)

    assert event.kind == InboundKind.COMPLAINT
    assert event.recipients == case.recipients
    assert event.diagnostic == case.words
    assert event.message_ids[0] == MESSAGE_ID


@pytest.mark.parametrize("case", _named(answers.AUTO_REPLIES))
def test_automatic_reply(case: Case) -> None:
    event = classify(case.raw)

    assert (event.kind, event.recipients) == (InboundKind.AUTO_REPLY, (GONE,))
    assert event.message_ids[:1] == ((MESSAGE_ID,) if case.known else event.message_ids[:1])
    assert event.permanent is None


@pytest.mark.parametrize("case", _named(answers.REPLIES))
def test_reply(case: Case) -> None:
    event = classify(case.raw)

    assert (event.kind, event.recipients) == (InboundKind.REPLY, (GONE,))
    assert event.message_ids[:1] == ((MESSAGE_ID,) if case.known else ())


@pytest.mark.parametrize(
    ("raw", "token"), [pytest.param(raw, token, id=name) for name, raw, token in others.UNSUBSCRIBES]
)
def test_unsubscribe(raw: bytes, token: str) -> None:
    event = classify(raw)

    assert (event.kind, event.token, event.recipients) == (InboundKind.UNSUBSCRIBE, token, (GONE,))


@pytest.mark.parametrize("raw", [pytest.param(raw, id=name) for name, raw in others.OTHERS])
def test_anything_else(raw: bytes) -> None:
    assert classify(raw).kind == InboundKind.OTHER


def test_an_absence_from_the_unsubscribe_address_unsubscribes_nobody() -> None:
    raw = mail(f"From: {GONE}\nTo: unsubscribe+{others.TOKEN}@acme.example\nSubject: x\nAuto-Submitted: auto-replied")

    assert classify(raw).kind == InboundKind.AUTO_REPLY


def test_what_every_event_tells() -> None:
    event = classify(
        mail(f"From: Jo <Jo.Doe@CUSTOMER.example>\nIn-Reply-To: {MESSAGE_ID}\nSubject: =?utf-8?q?=C3=9Cber?= uns")
    )

    assert (event.from_address, event.subject) == (GONE, "Über uns")
    assert event.date == datetime(2024, 5, 15, 8, 0, tzinfo=UTC)


def test_absence_tells_when_it_ends() -> None:
    assert classify(answers.AUTO_REPLIES[0].raw).returns == date(2024, 6, 3)


def test_each_recipient_of_a_report_has_its_own_result() -> None:
    case = next(case for case in bounces.REPORTS if case.name.startswith("two recipients"))

    results = classify(case.raw).results

    assert [(each.address, each.action, each.status, each.permanent, each.reason) for each in results] == [
        (GONE, "failed", "4.2.2", False, "soft"),
        ("fine@customer.example", "delivered", "2.0.0", None, None),
        ("gone@customer.example", "failed", "5.1.1", True, "hard"),
    ]


def test_the_address_we_wrote_to_counts_not_where_it_was_forwarded() -> None:
    raw = notification(
        "Reporting-MTA: dns; mx",
        f"Original-Recipient: rfc822;{GONE}\nFinal-Recipient: rfc822;jo@home.example\nAction: failed\nStatus: 5.1.1",
    )

    [result] = classify(raw).results

    assert (result.address, result.final) == (GONE, "jo@home.example")


def test_message_ids_come_in_the_order_of_trust() -> None:
    other = ORIGINAL.replace(f"Message-ID: {MESSAGE_ID}", "Message-ID: <new@ses.example>")
    raw = notification("Reporting-MTA: dns; mx", f"Final-Recipient: rfc822;{GONE}\nAction: failed\nStatus: 5.1.1")
    raw = raw.replace(ORIGINAL.replace("\n", "\r\n").encode(), other.replace("\n", "\r\n").encode())
    raw = b"In-Reply-To: <in@reply.example>\r\nReferences: <first@x.example> <last@x.example>\r\n" + raw

    assert classify(raw).message_ids == (
        "<new@ses.example>",
        MESSAGE_ID,
        "<in@reply.example>",
        "<last@x.example>",
        "<first@x.example>",
    )


@pytest.mark.parametrize("prefix", ["Re: ", "AW: ", "Fwd: ", "WG: ", "Ответ: ", "RE[3]: "])
def test_a_person_who_quotes_a_bounce_is_no_bounce(prefix: str) -> None:
    body = "What is this?\n\n" + bounces.FREE_FORM[0].raw.decode().replace("\r", "").partition("\n\n")[2]

    event = classify(mail(f"From: Jo <{GONE}>\nSubject: {prefix}failure notice", body))

    assert event.kind in {InboundKind.REPLY, InboundKind.OTHER}
