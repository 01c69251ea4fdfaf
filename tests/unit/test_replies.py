"""What servers say, and what it means. The replies are those that providers document or were seen to give."""

from __future__ import annotations

import pytest

from massmail.choices import AccountTrouble, Ending, Failure, Phase
from massmail.outcomes import classify, trouble
from massmail.transport import Reply

CASES = [
    # Nobody there, or not now: the server's trouble.
    (Phase.CONNECT, None, "connection refused", Ending.SERVER, ""),
    (Phase.BANNER, 421, "4.7.0 Try again later", Ending.SERVER, ""),
    (Phase.BANNER, 450, "4.3.2 System not accepting", Ending.SERVER, ""),
    (Phase.EHLO, None, "timed out", Ending.SERVER, ""),
    (Phase.STARTTLS, None, "connection reset in the handshake", Ending.SERVER, ""),
    (Phase.AUTH, None, "connection lost", Ending.SERVER, ""),
    (Phase.AUTH, 454, "4.7.0 Temporary authentication failure", Ending.SERVER, ""),
    (Phase.AUTH, 432, "4.3.2 Concurrent connections limit exceeded", Ending.SERVER, ""),
    (Phase.MAIL, 451, "4.3.0 Try later", Ending.SERVER, ""),
    (Phase.RCPT, 421, "4.7.0 Closing connection", Ending.SERVER, ""),
    (Phase.RCPT, None, "connection lost", Ending.SERVER, ""),
    (Phase.DATA, None, "connection lost in the body", Ending.SERVER, ""),
    (Phase.DOT, 421, "4.3.2 Shutting down", Ending.SERVER, ""),
    # The account is not accepted.
    (Phase.BANNER, 554, "5.7.1 No SMTP service here", Ending.ACCOUNT, ""),
    (Phase.AUTH, 535, "5.7.8 Username and Password not accepted", Ending.ACCOUNT, ""),
    (Phase.AUTH, 534, "5.7.9 Application-specific password required", Ending.ACCOUNT, ""),
    (Phase.AUTH, 530, "5.7.0 Authentication Required", Ending.ACCOUNT, ""),
    (Phase.AUTH, 538, "5.7.11 Encryption required", Ending.ACCOUNT, ""),
    (Phase.MAIL, 550, "5.7.60 Client does not have permissions to send as this sender", Ending.ACCOUNT, ""),
    (Phase.MAIL, 553, "5.7.1 Sender address rejected: not owned by user", Ending.ACCOUNT, ""),
    (Phase.MAIL, 501, "5.1.7 Bad sender address syntax", Ending.ACCOUNT, ""),
    (Phase.RCPT, 554, "5.7.1 <a@b.example>: Relay access denied", Ending.ACCOUNT, ""),
    (Phase.RCPT, 530, "5.7.0 Must issue a STARTTLS command first", Ending.ACCOUNT, ""),
    # The provider's limit, though some of it is said with 5xx.
    (Phase.RCPT, 550, "5.4.5 Daily user sending limit exceeded", Ending.LIMIT, ""),
    (Phase.DOT, 550, "5.4.5 Daily SMTP relay sending limit exceeded for user", Ending.LIMIT, ""),
    (Phase.RCPT, 550, "5.1.90 Your message can't be sent because you've reached your daily limit", Ending.LIMIT, ""),
    (Phase.MAIL, 452, "4.5.3 Your message rate limit is exceeded", Ending.LIMIT, ""),
    (Phase.RCPT, 554, "Sending quota exceeded", Ending.LIMIT, ""),
    (Phase.RCPT, 550, "5.4.6 Unusual sending activity detected", Ending.LIMIT, ""),
    (Phase.RCPT, 550, "Domain acme.example has exceeded the max emails per hour (200/200)", Ending.LIMIT, ""),
    (Phase.RCPT, 451, "Domain acme.example has exceeded the max emails per hour", Ending.LIMIT, ""),
    (Phase.RCPT, 450, "You have exceeded your daily sending limit", Ending.LIMIT, ""),
    (Phase.DOT, 550, "5.7.705 Access denied, tenant has exceeded threshold", Ending.LIMIT, ""),
    # What Postfix and others say of the sender, but only when the recipient is named.
    (Phase.RCPT, 553, "5.7.1 <a@b.example>: Sender address rejected: not owned by user x", Ending.ACCOUNT, ""),
    (Phase.RCPT, 550, "5.1.8 <a@b.example>: Sender address rejected: Domain not found", Ending.ACCOUNT, ""),
    (
        Phase.RCPT,
        550,
        "Verification failed for <a@b.example> No Such User Here Sender verify failed",
        Ending.ACCOUNT,
        "",
    ),
    (Phase.RCPT, 550, "sender address unknown", Ending.ACCOUNT, ""),
    (Phase.RCPT, 504, "5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname", Ending.ACCOUNT, ""),
    (Phase.RCPT, 554, "5.7.1 <unknown[1.2.3.4]>: Client host rejected: Access denied", Ending.ACCOUNT, ""),
    (Phase.RCPT, 454, "4.7.1 <a@b.example>: Relay access denied", Ending.ACCOUNT, ""),
    (Phase.RCPT, 550, "not permitted to relay through this server without authentication", Ending.ACCOUNT, ""),
    (Phase.RCPT, 553, "sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", Ending.ACCOUNT, ""),
    (Phase.DOT, 554, "5.2.252 SendAsDenied; a@b.example not allowed to send as c@d.example", Ending.ACCOUNT, ""),
    (Phase.DOT, 550, "5.7.60 SMTP; Client does not have permissions to send as this sender", Ending.ACCOUNT, ""),
    (Phase.DOT, 550, "5.1.8 Access denied, bad outbound sender", Ending.ACCOUNT, ""),
    # The server is short of something itself.
    (Phase.RCPT, 452, "4.3.1 Insufficient system storage", Ending.SERVER, ""),
    (Phase.DOT, 432, "4.3.2 Concurrent connections limit exceeded", Ending.SERVER, ""),
    # The recipient does not exist.
    (Phase.RCPT, 550, "5.4.1 Recipient address rejected: Access denied", Ending.REFUSED, Failure.BAD_ADDRESS),
    (
        Phase.DOT,
        554,
        "delivery error: dd This user doesn't have a yahoo.com account",
        Ending.REFUSED,
        Failure.BAD_ADDRESS,
    ),
    (Phase.RCPT, 550, "5.1.1 User unknown", Ending.REFUSED, Failure.BAD_ADDRESS),
    (Phase.RCPT, 553, "5.1.2 We weren't able to find the recipient domain", Ending.REFUSED, Failure.BAD_ADDRESS),
    (Phase.RCPT, 550, "5.1.10 RESOLVER.ADR.RecipientNotFound", Ending.REFUSED, Failure.BAD_ADDRESS),
    (Phase.RCPT, 550, "5.2.1 Mailbox disabled", Ending.REFUSED, Failure.BAD_ADDRESS),
    (Phase.RCPT, 556, "5.1.10 Domain has null MX", Ending.REFUSED, Failure.BAD_ADDRESS),
    (Phase.RCPT, 550, "No such user here", Ending.REFUSED, Failure.BAD_ADDRESS),
    (
        Phase.DOT,
        550,
        "5.1.1 The email account that you tried to reach does not exist",
        Ending.REFUSED,
        Failure.BAD_ADDRESS,
    ),
    # The recipient's mailbox can't take it now.
    (Phase.RCPT, 450, "4.2.0 Greylisted, try again later", Ending.RETRY, Failure.GAVE_UP),
    (Phase.RCPT, 451, "4.7.1 Please try again later", Ending.RETRY, Failure.GAVE_UP),
    (Phase.RCPT, 452, "4.2.2 Mailbox full, over quota", Ending.RETRY, Failure.MAILBOX_FULL),
    (Phase.RCPT, 552, "5.2.2 Mailbox over its storage limit", Ending.RETRY, Failure.MAILBOX_FULL),
    (Phase.RCPT, 552, "Mailbox full", Ending.RETRY, Failure.MAILBOX_FULL),
    (Phase.DOT, 451, "4.7.500 Server busy", Ending.RETRY, Failure.GAVE_UP),
    (Phase.RCPT, 552, "Message for <x@y.example> would exceed mailbox quota", Ending.RETRY, Failure.MAILBOX_FULL),
    (Phase.RCPT, 550, "Recipient's mailbox is over quota", Ending.RETRY, Failure.MAILBOX_FULL),
    (Phase.RCPT, 552, "Requested mail action aborted: exceeded storage allocation", Ending.RETRY, Failure.MAILBOX_FULL),
    (
        Phase.RCPT,
        550,
        "5.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages",
        Ending.RETRY,
        Failure.GAVE_UP,
    ),
    # The sender's standing.
    (Phase.RCPT, 550, "5.7.1 Blocked by policy", Ending.REFUSED, Failure.POLICY),
    (Phase.DOT, 554, "5.7.1 Message rejected as spam", Ending.REFUSED, Failure.POLICY),
    (Phase.DOT, 550, "Message classified as spam", Ending.REFUSED, Failure.POLICY),
    # The message itself.
    (Phase.MAIL, 552, "5.3.4 Message size exceeds fixed maximum", Ending.MESSAGE, Failure.MESSAGE),
    (Phase.DOT, 552, "5.3.4 Message too big", Ending.MESSAGE, Failure.MESSAGE),
    (Phase.MAIL, 552, "5.3.4 Message size exceeds fixed limit", Ending.MESSAGE, Failure.MESSAGE),
    (Phase.DOT, 552, "5.3.4 Your message exceeded Google's message size limits", Ending.MESSAGE, Failure.MESSAGE),
    (Phase.DOT, 554, "5.6.0 Invalid header found", Ending.MESSAGE, Failure.MESSAGE),
    # It has it, or it may have it.
    (Phase.DOT, 250, "2.0.0 OK queued as 12345", Ending.SENT, ""),
    (Phase.DOT, None, "connection lost", Ending.UNKNOWN, Failure.NO_ANSWER),
    # Anything else: the first digit rules.
    (Phase.RCPT, 550, "Go away", Ending.REFUSED, Failure.REFUSED),
    (Phase.DOT, 571, "Whatever", Ending.REFUSED, Failure.REFUSED),
    (Phase.RCPT, 499, "Whatever", Ending.RETRY, Failure.GAVE_UP),
]


@pytest.mark.parametrize(("phase", "code", "text", "ending", "reason"), CASES)
def test_classify(phase, code, text, ending, reason):
    verdict = classify(Reply(phase=phase, code=code, text=text))
    assert (verdict.ending, verdict.reason) == (ending, reason)
    assert verdict.suppress == (reason == Failure.BAD_ADDRESS)


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.STARTTLS, Phase.AUTH])
def test_classify__what_this_side_refuses_is_the_accounts_configuration(phase):
    reply = Reply(phase=phase, code=None, text="The certificate is not trusted.", local=True)
    assert classify(reply).ending == Ending.ACCOUNT


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("code", [None, 250, 354, 421, 450, 500, 599])
def test_classify__every_reply_means_something(phase, code):
    assert classify(Reply(phase=phase, code=code, text="")).ending in Ending


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in {Phase.DOT, Phase.QUIT}])
def test_classify__nothing_counts_as_sent_before_the_final_dot(phase):
    for code in (200, 250, 354, 399):
        assert classify(Reply(phase=phase, code=code, text="ok")).ending != Ending.SENT


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(phase=Phase.AUTH, code=535, text="5.7.8 Username and Password not accepted"), AccountTrouble.LOGIN),
        (Reply(phase=Phase.MAIL, code=530, text="5.7.0 Authentication Required"), AccountTrouble.LOGIN),
        (Reply(phase=Phase.STARTTLS, code=None, text="self-signed", local=True), AccountTrouble.ENCRYPTION),
        (Reply(phase=Phase.CONNECT, code=None, text="a private network", local=True), AccountTrouble.SERVER),
        (Reply(phase=Phase.MAIL, code=550, text="5.7.60 SendAs denied"), AccountTrouble.SENDER),
        (Reply(phase=Phase.RCPT, code=550, text="5.7.1 Relaying denied"), AccountTrouble.SENDER),
        (Reply(phase=Phase.DOT, code=550, text="5.4.5 Daily user sending limit exceeded"), AccountTrouble.LIMIT),
    ],
)
def test_trouble__says_what_the_owner_has_to_mend(reply, expected):
    assert trouble(reply, by_token=False) == expected


def test_trouble__a_refused_token_wants_a_new_connection():
    refused = Reply(phase=Phase.AUTH, code=None, text="invalid_grant", local=True)
    assert trouble(refused, by_token=True) == AccountTrouble.CONNECTION
