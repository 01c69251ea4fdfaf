"""Delivery status notifications (RFC 3464, with addresses in UTF-8 RFC 6533), as servers really write them.

The machine-readable part is looked for wherever it stands: many gateways wrap it into `multipart/mixed` or leave the
blank lines between its blocks out, and some type it into the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from massmail.choices import BounceReason
from massmail.inbound import reading
from massmail.inbound.events import Result
from massmail.inbound.reading import Part
from massmail.inbound.reasons import best_status, is_permanent, reason_for

#: Recipients of one report that are listened to; ours have one.
MAX_RECIPIENTS = 100
MAX_DIAGNOSTIC = 1000
FAILED, DELAYED, DONE = "failed", "delayed", "delivered"

_STATUS_TYPES = {"message/delivery-status", "message/global-delivery-status"}
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,60})[ \t]*:[ \t]*(.*)")
_ESCAPED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_TYPED_IN = re.compile(r"^(final-recipient|action|status|diagnostic-code)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_START = {"final-recipient", "original-recipient", "action"}

Fields = dict[str, str]


def results(mail: Part, *, typed_in: bool = False) -> tuple[Result, ...]:
    """Return what the report in `mail` says of each recipient, nothing if there is no report.

    `typed_in` says that the fields count in the text as well: not where a person may have pasted them.
    """
    found: list[Result] = []
    for part in mail.walk():
        if part.content_type in _STATUS_TYPES or (typed_in and _is_typed_in(part)):
            found += _results(part.text())
    return tuple(found[:MAX_RECIPIENTS])


def _is_typed_in(part: Part) -> bool:
    """Return whether a text has the fields that the machine-readable part should have."""
    if part.content_type != "text/plain":
        return False
    return len({name.lower() for name in _TYPED_IN.findall(part.text())}) >= 3


def original_ids(mail: Part) -> list[str]:
    """Return the Message-IDs that the report itself names: Gmail does, though RFC 3464 has no field for it."""
    parts = [part for part in mail.walk() if part.content_type in _STATUS_TYPES]
    names = ("x-original-message-id", "original-message-id")
    values = [block.get(name, "") for part in parts for block in blocks(part.text())[:1] for name in names]
    return [each for value in values for each in reading.message_ids(value)]


def blocks(text: str) -> list[Fields]:
    """Return the groups of fields in `text`, names in lower case, continuation lines joined."""
    found: list[Fields] = [{}]
    name = ""
    for line in text.splitlines():
        field = _FIELD.match(line)
        if not line.strip():
            name = ""
            if found[-1]:
                found.append({})
        elif name and line[0] in " \t":
            found[-1][name] += " " + line.strip()
        elif field:
            name = field[1].lower()
            if name in _START and name in found[-1]:
                found.append({})  # the blank line was forgotten
            found[-1].setdefault(name, field[2].strip())
    return [block for block in found if block][: MAX_RECIPIENTS + 1]


def _results(text: str) -> Iterable[Result]:
    return [_result(block) for block in blocks(text) if not _START.isdisjoint(block)]


def _result(block: Fields) -> Result:
    words = diagnostic(block)
    status = best_status(block.get("status", ""), words)
    action = _action(block.get("action", ""), status)
    final = address_in(block.get("final-recipient", ""))
    address = address_in(block.get("original-recipient", "")) or final
    address = address or address_in(block.get("x-actual-recipient", ""))
    if action == DONE:
        return Result(address=address, final=final, action=action, status=status, diagnostic=words)
    reason = reason_for(status, words) if action == FAILED else BounceReason.SOFT
    return Result(
        address=address,
        final=final,
        action=action,
        status=status,
        diagnostic=words,
        permanent=action == FAILED and is_permanent(reason, status, words),
        reason=reason,
    )


def diagnostic(block: Fields) -> str:
    """Return the server's words, without the name of the protocol that spoke them."""
    words = block.get("diagnostic-code") or block.get("x-supplementary-info") or block.get("status", "")
    return reading.one_line(re.sub(r"^[\w.-]{1,20}\s*;\s*", "", words))[:MAX_DIAGNOSTIC]


def _action(stated: str, status: str) -> str:
    """Return what became of the recipient. Some write comments after the word, OpenSMTPD "error", some nothing."""
    word = stated.strip().lower()
    if word.startswith("delayed"):
        return DELAYED
    if word.startswith(("deliver", "relay", "expand", "transfer", "success")):
        return DONE
    if word.startswith(("fail", "error")):
        return FAILED
    return {"2": DONE, "4": DELAYED}.get(status[:1], FAILED)


def address_in(value: str) -> str:
    """Return the address of a field like `rfc822; anna@b.example`, normalised, or "" if it is no mail address."""
    kind, semicolon, rest = value.partition(";")
    if semicolon and kind.strip().lower() in {"x400", "x500", "fax"}:
        return ""
    text = _ESCAPED.sub(lambda found: _character(int(found[1], 16)), rest if semicolon else value)
    return next(iter(reading.addresses(text)), "")


def _character(number: int) -> str:
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else ""
