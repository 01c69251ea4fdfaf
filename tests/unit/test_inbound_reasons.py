"""What servers' words in a report say about the address."""

from __future__ import annotations

import pytest

from massmail.inbound.reasons import best_status, code_in, is_permanent, reason_for, status_in

WORDS = [
    ("5.1.1", "550 5.1.1 User unknown", "hard"),
    ("5.1.10", "550 5.1.10 Recipient not found", "hard"),
    ("5.2.1", "550 5.2.1 The email account that you tried to reach is disabled", "hard"),
    ("5.0.0", "550 Requested action not taken: mailbox unavailable", "hard"),
    ("", "554 delivery error: This user doesn't have a yahoo.example account", "hard"),
    ("", "Empfänger unbekannt", "hard"),
    ("5.1.2", "Host unknown (Name server: customer.example: host not found)", "hard"),
    ("5.4.4", "unable to route", "hard"),
    ("", "all relevant MX records point to non-existent hosts", "hard"),
    ("", "Host or domain name not found, try again", "soft"),
    ("4.4.7", "4.4.7 Message expired", "soft"),
    ("5.4.7", "550 5.4.7 Delivery expired (message too old)", "soft"),
    ("5.2.2", "552 5.2.2 Mailbox full", "soft"),
    ("", "The recipient's mailbox is over quota", "soft"),
    ("5.0.0", "552 sorry, that recipient's mailbox is full", "soft"),
    ("4.2.0", "450 4.2.0 Greylisted", "soft"),
    ("", "retry timeout exceeded", "soft"),
    ("5.7.1", "550 5.7.1 Message rejected due to content restrictions", "policy"),
    ("5.7.26", "550 5.7.26 This mail is unauthenticated (DMARC)", "policy"),
    ("", "554 Your message was blocked as spam", "policy"),
    ("5.3.4", "552 5.3.4 Message too big", "content"),
    ("", "552 Message size exceeds fixed maximum message size", "content"),
    ("5.6.0", "554 5.6.0 Invalid MIME", "content"),
    ("5.4.5", "550 5.4.5 Daily user sending limit exceeded", "sender"),
    ("5.7.1", "550 5.7.1 Relaying denied", "sender"),
    ("5.4.6", "554 5.4.6 Too many hops", "refused"),
    ("", "", "refused"),
]


@pytest.mark.parametrize(("status", "words", "reason"), WORDS)
def test_reason(status: str, words: str, reason: str) -> None:
    assert reason_for(status, words) == reason


@pytest.mark.parametrize(
    ("status", "words", "permanent"),
    [
        ("5.1.1", "550 5.1.1 User unknown", True),
        ("5.7.1", "550 5.7.1 Blocked by policy", True),
        ("5.2.2", "552 5.2.2 Mailbox full", False),
        ("4.4.7", "expired", False),
        ("5.4.5", "550 5.4.5 Daily sending limit exceeded", False),
        ("", "451 4.7.1 later", False),
    ],
)
def test_permanent(status: str, words: str, permanent: bool) -> None:
    assert is_permanent(reason_for(status, words), status, words) is permanent


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("550-5.1.1 no", "5.1.1"),
        ("(#5.7.26)", "5.7.26"),
        ("host 5.1.1.2 said", ""),
        ("Exchange 5.5.2653", ""),
        ("v4.9.0", ""),
        ("5.0.0 then 5.1.1", "5.1.1"),
        ("5.0.0 only.", "5.0.0"),
        ("in 5.4.310 form", "5.4.310"),
    ],
)
def test_status(text: str, status: str) -> None:
    assert status_in(text) == status


@pytest.mark.parametrize(
    ("text", "code"),
    [("said: 550 no", "550"), ("550-5.1.1", "550"), ("call (480) 624-2500", ""), ("in 553", "553"), ("port 587", "")],
)
def test_code(text: str, code: str) -> None:
    assert code_in(text) == code


@pytest.mark.parametrize(
    ("stated", "words", "status"),
    [
        ("5.0.0", "550 5.1.1 unknown", "5.1.1"),
        ("5.1.1 (bad)", "550 5.7.1", "5.1.1"),
        ("4.0.0", "550 5.1.1", "4.0.0"),
        ("", "452 4.2.2 full", "4.2.2"),
    ],
)
def test_the_more_telling_status_wins(stated: str, words: str, status: str) -> None:
    assert best_status(stated, words) == status
