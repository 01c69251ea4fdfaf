"""What a server's reply means: whose trouble it is and what happens next. Pure.

The first rule that fits decides, from the phase of the conversation, the reply code (RFC 5321, 4.2), the enhanced
status code (RFC 3463) and, where providers use their own words, the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from massmail.choices import Ending, Failure, Phase
from massmail.transport import Reply

#: Enhanced status codes that say: there is no such mailbox, and there will be none tomorrow (RFC 3463, 3.2 and 3.3;
#: RFC 7505).
DEAD = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
#: The provider's own sending limit: Gmail answers 550 5.4.5, Microsoft 365 550 5.1.90, both although tomorrow will do.
LIMITED = frozenset({"5.4.5", "4.4.5", "5.1.90"})
_LIMIT_WORDS = re.compile(
    r"(daily|hourly|sending|message|recipient|rate)\b.{0,40}\b(limit|quota)|too many messages", re.I
)
_DEAD_WORDS = re.compile(
    r"(user|mailbox|recipient|address|account)\b.{0,60}\b(unknown|not found|does ?n[o']t exist|invalid|no longer)"
    r"|(no such|unknown|invalid) (user|mailbox|recipient|address|person)",
    re.I,
)
_RELAY_WORDS = re.compile(
    r"relay(ing)?\b.{0,20}\b(denied|not permitted|prohibited)|unable to relay|authentication required", re.I
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


def classify(reply: Reply) -> Verdict:
    """Return what `reply` means. A reply without a code means that none came: the connection failed in that phase."""
    if reply.phase in {Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.AUTH}:
        return _before_mail(reply)
    if reply.code is None:
        return _UNKNOWN if reply.phase in {Phase.DOT, Phase.QUIT} else _SERVER
    if reply.code < 400:
        return _SENT if reply.phase is Phase.DOT else _SERVER
    if _is_limit(reply):
        return _LIMIT
    if reply.code == 421:
        return _SERVER
    if reply.phase is Phase.MAIL:
        return _to_sender(reply)
    return _temporary(reply) if reply.code < 500 else _permanent(reply)


def _before_mail(reply: Reply) -> Verdict:
    if reply.local:
        return _ACCOUNT
    permanent = reply.code is not None and reply.code >= 500
    return _ACCOUNT if permanent else _SERVER


def _is_limit(reply: Reply) -> bool:
    if reply.status.endswith(".2.2"):
        return False  # the recipient's own mailbox is full
    if reply.status in LIMITED:
        return True
    # Other servers' 4xx "rate limit" is greylisting by another name; 452 and 5xx speak of the account.
    return (reply.code == 452 or (reply.code or 0) >= 500) and bool(_LIMIT_WORDS.search(reply.text))


def _to_sender(reply: Reply) -> Verdict:
    if reply.status == "5.3.4" or reply.code == 552:
        return _MESSAGE
    return _ACCOUNT if reply.code is not None and reply.code >= 500 else _SERVER


def _temporary(reply: Reply) -> Verdict:
    return _MAILBOX_FULL if reply.status == "4.2.2" else _RETRY


def _permanent(reply: Reply) -> Verdict:
    if reply.status == "5.2.2":
        return _MAILBOX_FULL
    if reply.code == 530 or _RELAY_WORDS.search(reply.text):
        return _ACCOUNT
    if reply.status in DEAD or reply.code == 556:
        return _BAD_ADDRESS
    if reply.phase is not Phase.RCPT and (reply.status in {"5.3.4", "5.2.3"} or reply.status.startswith("5.6.")):
        return _MESSAGE
    if reply.code == 552 and not reply.status:
        return _MAILBOX_FULL if reply.phase is Phase.RCPT else _MESSAGE
    if reply.status.startswith("5.7.") or reply.code == 554 or _SPAM_WORDS.search(reply.text):
        return _POLICY
    if not reply.status and reply.phase is Phase.RCPT and _DEAD_WORDS.search(reply.text):
        return _BAD_ADDRESS
    return _REFUSED
