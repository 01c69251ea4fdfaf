"""What a server's reply means: whose trouble it is and what happens next. Pure.

The first rule that fits decides, from the phase of the conversation, the reply code (RFC 5321, 4.2), the enhanced
status code (RFC 3463) and, where providers use their own words, the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from massmail.choices import AccountTrouble, Ending, Failure, Obstacle, Phase
from massmail.transport import Reply

#: Enhanced status codes that say: there is no such mailbox, and there will be none tomorrow (RFC 3463, 3.2 and 3.3;
#: RFC 7505).
DEAD = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
#: The sender is not accepted (RFC 3463, 3.2; Microsoft 365: "Client does not have permissions to send as this sender").
SENDER = frozenset({"5.1.7", "5.1.8", "5.2.252", "5.7.60"})
#: The provider's own sending limit: Gmail answers 550 5.4.5, Microsoft 365 550 5.1.90 and 5.7.705, all of
#: them although tomorrow will do.
LIMITED = frozenset({"5.4.5", "4.4.5", "5.1.90", "5.7.705"})
#: The message is too large (RFC 3463, 3.3 and 3.4), or its content is not understood (3.7).
TOO_LARGE = frozenset({"5.3.4", "5.2.3"})

_SIZE_WORDS = re.compile(r"\b(message|size)\b.{0,40}\b(size|too (big|large)|maximum)\b", re.I)
_FULL_WORDS = re.compile(
    r"\b(mail ?box|recipient|user|account|storage|over)\b.{0,40}"
    r"\b(full|over quota|quota|storage allocation|storage limit)",
    re.I,
)
_LIMIT_WORDS = re.compile(
    r"\b(daily|hourly|sending|per (hour|day)|rate)\b.{0,40}\b(limit|quota|threshold|activity)"
    r"|\b(limit|quota|max\w*|threshold)\b.{0,40}\b(per|an|each) (hour|day)|too many messages|RefuseQuota"
    r"|tenant.{0,20}threshold",
    re.I,
)
_SENDER_WORDS = re.compile(
    r"\bsender\b( address)?.{0,10}\b(rejected|denied|verify failed|unknown)|verification failed for|sender verify"
    r"|\bsend ?as|bad outbound sender|helo command rejected|client host rejected",
    re.I,
)
_RELAY_WORDS = re.compile(
    r"relay(ing)?\b.{0,20}\b(denied|not permitted|prohibited)|(unable|not permitted) to relay|rcpthosts"
    r"|authentication (is )?required",
    re.I,
)
_BUSY_WORDS = re.compile(r"receiving mail (at a rate|too quickly)", re.I)
_DEAD_WORDS = re.compile(
    r"\b(user|mailbox|recipient|address|account)\b.{0,60}"
    r"\b(unknown|not found|does ?n[o']t (exist|have)|invalid|no longer)"
    r"|\b(no such|unknown|invalid) (user|mailbox|recipient|address|person)",
    re.I,
)
_SPAM_WORDS = re.compile(r"\bspam\b|\bblocked\b|\bblacklist|\bpolicy\b|\breputation\b", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a reply means. `reason` says why a delivery fails or is in doubt; `suppress` that its address is dead."""

    ending: Ending
    reason: str = ""
    suppress: bool = False


_SENT = Verdict(ending=Ending.SENT)
_SERVER = Verdict(ending=Ending.SERVER)
_ACCOUNT = Verdict(ending=Ending.ACCOUNT)
_LIMIT = Verdict(ending=Ending.LIMIT)
_MESSAGE = Verdict(ending=Ending.MESSAGE, reason=Failure.MESSAGE)
_UNKNOWN = Verdict(ending=Ending.UNKNOWN, reason=Failure.NO_ANSWER)
_BAD_ADDRESS = Verdict(ending=Ending.REFUSED, reason=Failure.BAD_ADDRESS, suppress=True)
_POLICY = Verdict(ending=Ending.REFUSED, reason=Failure.POLICY)
_REFUSED = Verdict(ending=Ending.REFUSED, reason=Failure.REFUSED)
_MAILBOX_FULL = Verdict(ending=Ending.RETRY, reason=Failure.MAILBOX_FULL)
_RETRY = Verdict(ending=Ending.RETRY, reason=Failure.GAVE_UP)

#: What ends a login before a password is said: another one would not help. Many servers take them with TLS only.
_NO_SAFE_LOGIN = {Obstacle.CLEAR_TEXT, Obstacle.NO_LOGIN}


def classify(reply: Reply) -> Verdict:
    """Return what `reply` means. A reply without a code means that none came: the connection failed in that phase."""
    if reply.phase in {Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.AUTH}:
        return _before_mail(reply)
    if reply.code is None:
        return _UNKNOWN if reply.phase in {Phase.DOT, Phase.QUIT} else _SERVER
    if reply.code < 400:
        return _SENT if reply.phase is Phase.DOT else _SERVER
    if reply.phase is Phase.RCPT and reply.local:
        return _REFUSED
    return _of_whom(reply) or (_temporary(reply) if reply.code < 500 else _permanent(reply))


def trouble(reply: Reply, *, by_token: bool) -> AccountTrouble:
    """Return what kind of trouble puts an account on hold for `reply`; `by_token`: it logs in by OAuth2."""
    if classify(reply).ending is Ending.LIMIT:
        return AccountTrouble.LIMIT
    if reply.phase is Phase.STARTTLS or reply.obstacle in _NO_SAFE_LOGIN:
        return AccountTrouble.ENCRYPTION
    if reply.phase is Phase.AUTH or (reply.code == 530 and reply.phase is not Phase.RCPT):
        return AccountTrouble.CONNECTION if by_token else AccountTrouble.LOGIN
    if reply.phase in {Phase.CONNECT, Phase.BANNER, Phase.EHLO}:
        return AccountTrouble.SERVER
    return AccountTrouble.SENDER


def _before_mail(reply: Reply) -> Verdict:
    if reply.local:
        return _ACCOUNT
    permanent = reply.code is not None and reply.code >= 500
    return _ACCOUNT if permanent else _SERVER


def _of_whom(reply: Reply) -> Verdict | None:
    """Return the verdict on what is not the recipient's doing, in the order in which the words leave less doubt."""
    status, text, permanent = reply.status, reply.text, (reply.code or 0) >= 500
    if permanent and (status in TOO_LARGE or (reply.code == 552 and _SIZE_WORDS.search(text))):
        return _MESSAGE
    if status in LIMITED:
        return _LIMIT
    if status.endswith(".2.2") or (reply.phase is Phase.RCPT and _FULL_WORDS.search(text)):
        return _MAILBOX_FULL
    # Other servers' 4xx "rate limit" is greylisting by another name; "daily" and "per hour" speak of the account.
    if _LIMIT_WORDS.search(text) and (permanent or reply.code in {450, 451, 452}):
        return _LIMIT
    if reply.code == 421 or status.startswith("4.3."):
        return _SERVER
    if status in SENDER or reply.code == 530 or _SENDER_WORDS.search(text) or _RELAY_WORDS.search(text):
        return _ACCOUNT
    if reply.phase is Phase.MAIL:
        return _ACCOUNT if permanent else _SERVER
    return None


def _temporary(reply: Reply) -> Verdict:
    return _MAILBOX_FULL if reply.code == 452 and not reply.status else _RETRY


def _permanent(reply: Reply) -> Verdict:
    if _BUSY_WORDS.search(reply.text):
        return _RETRY
    if reply.status in DEAD or reply.code == 556:
        return _BAD_ADDRESS
    if reply.phase is not Phase.RCPT and reply.status.startswith("5.6."):
        return _MESSAGE
    if (not reply.status or reply.status == "5.4.1") and _DEAD_WORDS.search(reply.text):
        return _BAD_ADDRESS
    if reply.code == 552:
        return _MAILBOX_FULL
    if reply.status == "5.4.1":
        # Microsoft 365 says "Recipient address rejected: Access denied" of mailboxes that do not exist.
        return _BAD_ADDRESS
    if reply.status.startswith("5.7.") or reply.code == 554 or _SPAM_WORDS.search(reply.text):
        return _POLICY
    return _REFUSED
