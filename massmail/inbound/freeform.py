"""Bounces without a machine-readable part: who sends them, which address they mean, what they give as the reason.

Addresses come from headers made for it, from the detectors of flufl.bounce, which know dozens of servers' texts, from
the returned message (ours have one recipient each), and last from the text. A mail that only looks like a bounce, as
spam and questions about bounces do, must not become one: it has to come from a mail server's own address, or have a
subject that only such mail has, and must show a reply code, a returned message or a known text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.message import Message

from flufl.bounce import all_failures

from massmail.choices import BounceReason
from massmail.inbound import dsn, phrases, reading, returned
from massmail.inbound.events import Result
from massmail.inbound.reading import Part
from massmail.inbound.reasons import STATUS, best_status, code_in, is_permanent, reason_for, status_in

#: What the detectors get to see: their patterns need up to cubic time for a hostile line.
MAX_LINES, MAX_LINE, MAX_AT_SIGNS = 400, 200, 8

_DAEMON = re.compile(
    r"^(?:mailer[-_.]?daemon|mail[-_.]?daemon|daemon|post[-_]?master|mdaemon|mailadm(?:in)?|ndr|bounces?"
    r"|mail[-_.]?delivery(?:[-_.]?(?:sub)?system)?|microsoftexchange[0-9a-f]+|imss|\w*smtp_mail_service\w*)$",
    re.IGNORECASE,
)
_DAEMON_NAME = re.compile(
    r"mail(er)?[- ]daemon|(mail|message|internet mail)? ?deliver[a-z]* (sub)?-?system|mail delivery"
    r"|^\"?post ?master\b"
    r"|system administrator|mail administrator|mail system|jetmail system|delivery subsystem",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"unknown|not (be )?(found|deliver|exist|recogni|accept)|no such|does ?n[o']t|quota|full|reject|refus|denied"
    r"|disabled"
    r"|invalid|expired|timed out|unreachable|unable|error|fail|exceed",
    re.IGNORECASE,
)
#: Lines of a report that are not the server's words: headers of the original, and what all reports say.
_HEADER = re.compile(
    r"[ \t]*(?:subject|x-[\w-]+|received|user-agent|message-id|mime-version|content-[\w-]+|date|from|to"
    r"|list-\w+)[ \t]*:",
    re.IGNORECASE,
)
_COMMON = re.compile(
    r"(?:could not be delivered (?:to|for)|this is a permanent error|delivery to the following|that you sent"
    r"|(?:the|following) (?:address|recipient|mail|message)(?:\(e?s\)|e?s)?\b.{0,20}(?:failed|could not|has been|had)"
    r"|please contact|feel this message|message not delivered to|error detail|did not reach the following)",
    re.IGNORECASE,
)
_FOR = re.compile(r"\bfor <([^<>\s]+@[^<>\s]+)>")


def results(mail: Part) -> tuple[Result, ...]:
    """Return what a bounce in free form says of its recipients, nothing if `mail` is none."""
    certain = comes_from_daemon(mail)
    if not certain and not _subject_tells(mail):
        return ()
    text = returned.report_text(mail)
    back = returned.original(mail)
    temporary, permanent = _detected(mail)
    ids = {each.strip("<>").lower() for each in returned.ids(mail)}
    found = _named(mail) or [address for address in (*permanent, *temporary) if address not in ids]
    if not found and not (_shows_refusal(text) if certain else phrases.says_failed(text)):
        return ()
    if not found and back is None and not code_in(text):
        return ()
    found = found or _from_original(back) or [address for address in _from_text(mail, text) if address not in ids]
    late = bool(temporary and not permanent) or phrases.is_delay(reading.decode_words(mail.header("subject")), text)
    return tuple(_result(address, text, late=late) for address in found[: dsn.MAX_RECIPIENTS])


def _shows_refusal(text: str) -> bool:
    return bool(code_in(text) or STATUS.search(text) or _REASON.search(text))


def comes_from_daemon(mail: Part) -> bool:
    """Return whether `mail` claims to come from a mail server itself."""
    if mail.has("x-failed-recipients"):
        return True
    if mail.content_type == "multipart/report" and mail.parameter("report-type").lower() == "delivery-status":
        return True
    sender = mail.header("from")
    local = next(iter(reading.ADDRESS.findall(sender)), sender.strip(" <>")).partition("@")[0]
    name = reading.decode_words(sender)
    return "<>" in sender.replace(" ", "") or bool(_DAEMON.match(local.strip("'\"\\")) or _DAEMON_NAME.search(name))


def _subject_tells(mail: Part) -> bool:
    """Return whether the subject is one that only bounces have; those of answers to a bounce are none."""
    subject = reading.decode_words(mail.header("subject"))
    return phrases.is_bounce_subject(subject) and not mail.has("in-reply-to", "references")


def _named(mail: Part) -> list[str]:
    """Return the addresses in headers made for it: Exim's, and those of gateways that imitate it."""
    return [address for value in mail.all("x-failed-recipients") for address in reading.addresses(value)]


def _detected(mail: Part) -> tuple[list[str], list[str]]:
    """Return the addresses that flufl.bounce finds: those that are late, and those that failed."""
    try:
        temporary, permanent = all_failures(_as_message(mail))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return [], []  # its detectors assume more order than hostile mail has
    return _tidied(temporary), _tidied(permanent)


def _tidied(found: frozenset[bytes]) -> list[str]:
    return sorted({each for address in found for each in reading.addresses(reading.decode(address, ""))})


def _as_message(part: Part) -> Message:
    """Return `part` for flufl.bounce: text parts decoded and cut to size, returned messages left out."""
    message = Message()
    # Some detectors fail where they find no address.
    message["From"] = _ascii(next(iter(reading.ADDRESS.findall(part.header("from"))), "nobody@localhost"))
    for name, value in part.headers:
        if name not in {"from", "content-transfer-encoding"}:
            message[name] = _ascii(value)
    if part.parts:
        message.set_payload([_as_message(each) for each in part.parts])
    elif part.content_type == "text/html":
        message.set_payload(_cut(part.text()))
    elif part.content_type not in returned.RETURNED:
        message.set_payload(_cut(reading.clean(reading.decode(part.decoded()[: reading.MAX_TEXT], ""))))
    else:
        message.set_payload("")
    return message


def _ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode("ascii")


def _cut(text: str) -> str:
    lines = (line[:MAX_LINE] for line in text.splitlines()[:MAX_LINES])
    return "\n".join("" if line.count("@") > MAX_AT_SIGNS else line for line in lines) + "\n"


def _from_original(back: Part | None) -> list[str]:
    """Return whom the returned message was for: by its envelope as the servers noted it, or else by its header."""
    if back is None:
        return []
    noted = _FOR.findall(" ".join(back.all("received")))[:1] + back.all("x-envelope-to", "envelope-to")[:1]
    found = [address for value in noted[:1] or back.all("to")[:1] for address in reading.addresses(value)]
    return found[:3]


def _from_text(mail: Part, text: str) -> list[str]:
    """Return the addresses in the text but for those of the two who correspond here."""
    ours = {address for value in mail.all("from", "to", "sender", "reply-to") for address in reading.addresses(value)}
    found: list[str] = []
    for line in text.splitlines():
        if re.match(r"[ \t]*(mail )?from\b", line, re.IGNORECASE):
            continue
        found += [each for each in reading.addresses(line[:500]) if each not in ours and each not in found]
        if len(found) >= 3:
            break
    return found[:3]


def _result(address: str, text: str, *, late: bool) -> Result:
    words = _words_about(address, text)
    status = best_status("", words)
    if late:
        return Result(
            address=address,
            action=dsn.DELAYED,
            status=status if status.startswith("4") else "",
            diagnostic=words,
            permanent=False,
            reason=BounceReason.SOFT,
        )
    reason = reason_for(status, words)
    if reason is BounceReason.REFUSED:
        reason = reason_for(status, reading.one_line(text[:2000]))
    return Result(
        address=address,
        action=dsn.FAILED,
        status=status,
        diagnostic=words,
        permanent=is_permanent(reason, status, words),
        reason=reason,
    )


def _words_about(address: str, text: str) -> str:
    """Return the server's words: from the lines after the address, the first with a code, or else with a reason."""
    lines = text.splitlines()
    start = next((n for n, line in enumerate(lines) if address in line.lower()), 0)
    for tells in (_has_code, _has_reason, _has_more_than(address)):
        for part in (lines[start:], lines[:start]):
            for number, line in enumerate(part):
                if tells(line[:500]):
                    return _paragraph(part[number : number + 4])
    return ""


def _has_code(line: str) -> bool:
    return bool(not _HEADER.match(line) and (status_in(line) or code_in(line)))


def _has_reason(line: str) -> bool:
    return bool(_REASON.search(line) and not _HEADER.match(line) and not _COMMON.search(line))


def _has_more_than(address: str) -> Callable[[str], bool]:
    """Return whether a line has the address and says something about it."""
    return lambda line: address in line.lower() and ":" in line and not _COMMON.search(line)


def _paragraph(lines: list[str]) -> str:
    rest = []
    for line in lines:
        if not line.strip():
            break
        rest.append(line)
    return reading.one_line(" ".join(rest))[: dsn.MAX_DIAGNOSTIC]
