"""What the words of a report say about the address it is about. Pure.

A report tells less than a conversation: the step in which the server refused is unknown, and its words went through
several hands. What bounces know and conversations don't (a queue that ran out of time, a domain without a server) is
decided here, all the rest by the rules for replies, so that a refusal means the same whether it comes at once or later.
"""

from __future__ import annotations

import re

from massmail.choices import BounceReason, Ending, Failure, Phase
from massmail.outcomes import classify
from massmail.transport import Reply

STATUS = re.compile(r"(?<![\w.])([245]\.[0-7]\.\d{1,3})(?!\.?\d)")
_CODE = re.compile(r"(?<![\w.(/])(4[2-5]\d|5[0-7]\d)(?=[ \-#:;,\])]|$)(?!-\d{3})")
_SIZE = re.compile(
    r"(message|mail|e-?mail|attachment)s?\b.{0,30}\b(too (big|large)|size (limit|exceed)|larger than)"
    r"|exceed\w*.{0,20}(message|mail) size|message size exceed|max\w* (message )?size|size limit exceeded",
    re.I,
)
_FULL = re.compile(
    r"over ?-?quota|quota (is )?(exceed|full)|exceed\w*.{0,40}\b(quota|storage|space)"
    r"|insufficient (disk )?(quota|storage)"
    r"|(mail)?(box|folder)\b.{0,40}\b(full|too large|size limit|local limit)|\bfull (mail)?box"
    r"|out of (storage|disk) ?space|disk quota|not enough (storage|space)|user is over"
    r"|postfach.{0,20}voll|bo[iî]te.{0,20}pleine|buz[oó]n.{0,20}lleno|переполнен",
    re.I,
)
_EXPIRED = re.compile(
    r"expired|(retry|delivery) time(out)? (not reached|exceeded)|timed? ?out|could not send for"
    r"|cannot send message for"
    r"|(too long|for \d+ days?).{0,30}queue|in the queue too long|connection (refused|reset|lost)|greylist"
    r"|try again later"
    r"|temporar(y|ily)|host (is )?unreachable|no route to host|deferred",
    re.I,
)
_NO_DOMAIN = re.compile(
    r"(host|domain)( name)? ?(or domain name )?(not found|unknown|does ?n[o']t exist|is invalid)|no such (host"
    r"|domain)"
    r"|unknown (host|domain)|unrouteable (mail )?(address|domain)|name (or )?service not known"
    r"|host or domain name not found"
    r"|(mx|dns)\b.{0,40}\b(non-?existent|does not exist|nxdomain)|nullmx|null mx|illegal host/domain|no (mx"
    r"|mail server)"
    r"|DNS (type|domain).{0,40}(not exist|no results)",
    re.I,
)
_NO_MAILBOX = re.compile(
    r"no (such )?(mail)?box|mailbox.{0,30}(unavailable|not available|inactive|disabled|suspended|closed)"
    r"|(user|account|recipient|address|mailbox|id|person)s?\b.{0,60}"
    r"(\bnot? (be )?(found|known|recogni[sz]ed|listed|exist|have)|does ?n[o']t|unknown|invalid|no longer|inactive"
    r"|disabled|closed|terminated|discontinued|rejected: access denied)"
    r"|(no such|unknown|invalid|illegal|bad|non-?existent|inactive)\b.{0,20}"
    r"(user|mailbox|recipient|address|local ?part|account|person|alias)|recipnotfound|recipientnotfound|user_unknown"
    r"|not (our|a|listed in).{0,20}(customer|directory|domino)|not listed in.{0,40}(address book|directory)"
    r"|have a \S+ account|no longer (valid|works|employed|with)|is not a(ny)? valid"
    r"|unbekannt|existiert nicht|n'existe pas|inconnue?|no existe|desconocid[oa]|sconosciut[oa]|non esiste|não existe"
    r"|onbekend|не (существует|найден)|неизвестн|存在しません|ありません|不存在|okänd|ukendt|nieznan",
    re.I,
)
_SPAM = re.compile(
    r"\bspam|\bvirus|blocked|black ?list|block ?list|\bpolicy\b|\breputation|dmarc|\bspf\b|dkim|spamhaus"
    r"|barracuda|unsolicited"
    r"|content (was )?(rejected|refused)|suspicious|malware|not (allowed|permitted|authori[sz]ed) to (send|post)"
    r"|bulk mail",
    re.I,
)

_OF_FAILURE: dict[str, BounceReason] = {
    Failure.BAD_ADDRESS: BounceReason.HARD,
    Failure.POLICY: BounceReason.POLICY,
    Failure.MESSAGE: BounceReason.CONTENT,
}
_OF_ENDING = {
    Ending.ACCOUNT: BounceReason.SENDER,
    Ending.LIMIT: BounceReason.SENDER,
    Ending.RETRY: BounceReason.SOFT,
    Ending.SERVER: BounceReason.SOFT,
}


def status_in(text: str) -> str:
    """Return the first enhanced status code (RFC 3463) in `text` that says more than its class, or else any, or ""."""
    found: list[str] = STATUS.findall(text)
    return next((status for status in found if not status.endswith(".0.0")), next(iter(found), ""))


def code_in(text: str) -> str:
    """Return the first SMTP reply code in `text` like "550", or ""."""
    found = _CODE.search(text)
    return found[1] if found else ""


def best_status(stated: str, words: str) -> str:
    """Return the more telling of a report's own status and the one in the server's words; never of another class."""
    stated, spoken = status_in(stated), status_in(words)
    if not stated:
        return spoken
    return spoken if stated.endswith(".0.0") and spoken[:1] == stated[0] else stated


def reason_for(status: str, words: str) -> BounceReason:
    """Return what a failure with this status ("" if unknown) and in these words says about the address."""
    code = code_in(words)
    temporary = (status or code).startswith("4")
    if _FULL.search(words) or status.endswith(".2.2"):
        return BounceReason.SOFT
    if _SIZE.search(words) or status in {"5.3.4", "5.2.3"} or status.startswith("5.6."):
        return BounceReason.CONTENT
    if temporary or status.endswith(".4.7"):
        return BounceReason.SOFT
    if status in {"5.4.4", "5.4.310"} or _NO_DOMAIN.search(words):
        return BounceReason.SOFT if "try again" in words.lower() else BounceReason.HARD
    if not status and not code:
        return _by_words(words)
    reply = Reply(phase=Phase.RCPT, code=int(code) if code[:1] == "5" else 550, text=f"{status} {words}")
    verdict = classify(reply)
    reason = _OF_FAILURE.get(verdict.reason) or _OF_ENDING.get(verdict.ending, BounceReason.REFUSED)
    if reason is BounceReason.REFUSED or (reason is BounceReason.POLICY and not status.startswith("5.7.")):
        return _by_words(words) if not _SPAM.search(words) else BounceReason.POLICY
    return reason


def _by_words(words: str) -> BounceReason:
    for pattern, reason in (
        (_SPAM, BounceReason.POLICY),
        (_NO_MAILBOX, BounceReason.HARD),
        (_EXPIRED, BounceReason.SOFT),
    ):
        if pattern.search(words):
            return reason
    return BounceReason.REFUSED


def is_permanent(reason: BounceReason, status: str, words: str) -> bool:
    """Return whether trying again is useless: by the reason, and else by the class of the status or code."""
    if reason is BounceReason.SOFT or reason is BounceReason.SENDER:
        return False
    return not (status or code_in(words)).startswith("4")
