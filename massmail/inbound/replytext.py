"""What a person wrote in an answer, without the message it answers."""
# The letters of all languages are meant as they are.
# ruff: noqa: RUF001

from __future__ import annotations

import re

from massmail.inbound import reading, returned

#: Lines and characters of an attribution: mail programs break it where it gets long.
_ATTRIBUTION, _LONGEST = 3, 400
#: Lines of a mail in which a quotation is looked for.
MAX_LINES = 2000
_SEPARATOR = re.compile(
    r"^[ \t>]*(?:-{2,}|_{5,}) ?(?:original|ursprüngliche|forwarded|message d'origine|mensaje original"
    r"|messaggio originale"
    r"|mensagem original|oorspronkelijk|исходное|пересылаемое|original-nachricht|ursprungligt|oprindelig|wiadomość)",
    re.IGNORECASE,
)
_RULE = re.compile(r"^[ \t]*(?:_{20,}|-{20,}|\*{20,})[ \t]*$")
#: The first line of the block of headers that Outlook puts above: "From:", "Von:", "De:", "Da:", "От:" …
_FROM = re.compile(
    r"^[ \t>*]*(?:from|von|de|da|van|från|fra|lähettäjä|od|от|від|kimden|expéditeur|feladó|από|差出人|发件人"
    r"|寄件者|보낸 사람)"
    r"\*?[ \t]?[:：]",
    re.IGNORECASE,
)
_SENT_FROM = re.compile(
    r"^(?:sent from (?:my|outlook|yahoo)|get outlook for|von meinem \S+ gesendet|envoyé de mon|enviado desde mi"
    r"|inviato da|отправлено (?:с|из)|надіслано з|verstuurd vanaf|skickat från min)\b",
    re.IGNORECASE,
)


def reply_text(raw: bytes, own_address: str) -> str:
    """Return the new text of the reply `raw` to a mail from `own_address`, "" where there is none. Never raises.

    The attribution line differs by program and language ("On … wrote:", "Am … schrieb", "… пишет:"); what they all have
    is the address of whom they answer, or below them lines that begin with ">". Answers between the quoted lines stay.
    """
    text = _written(reading.read(raw))
    lines = [line.rstrip() for line in text.replace("\u00a0", " ").splitlines()[:MAX_LINES]]
    cut = next((number for number in range(len(lines)) if _begins_quotation(lines, number, own_address.lower())), None)
    kept = lines if cut is None else lines[:cut]
    if cut is not None and not any(line.strip() for line in kept):
        kept = lines[cut:]  # the answer stands below the quotation
    kept = _without_quoted(kept, own_address.lower())
    while kept and (not kept[-1].strip() or _SENT_FROM.match(kept[-1]) or _RULE.match(kept[-1])):
        kept.pop()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def _written(mail: reading.Part) -> str:
    plain = returned.body_text(mail)
    part = next((part for part in mail.walk() if part.content_type == "text/html"), None)
    has_plain = any(part.content_type == "text/plain" and part.body.strip() for part in mail.walk())
    if part is None or has_plain:
        return plain
    source = reading.decode(part.decoded()[: 8 * reading.MAX_TEXT], part.parameter("charset"))
    return reading.clean(reading.html_text(_without_blockquotes(source))[: reading.MAX_TEXT])


def _without_blockquotes(source: str) -> str:
    lower = source.lower()
    start, end = lower.find("<blockquote"), lower.rfind("</blockquote")
    return source if start < 0 else source[:start] + (source[end:] if end > start else "")


def _begins_quotation(lines: list[str], number: int, own: str) -> bool:
    """Return whether everything from this line on is the message answered, or its attribution."""
    line = lines[number]
    if _SEPARATOR.match(line):
        return True
    if _FROM.match(line):
        block = " ".join(lines[number : number + 6]).lower()
        return (
            own in block
            or sum(bool(re.match(r"[ \t>*]*[^\s:][^:]{0,20}:", each)) for each in lines[number : number + 4]) >= 3
        )
    return _attribution(lines, number, own) > 0 and not _answers_below(lines, number)


def _attribution(lines: list[str], number: int, own: str) -> int:
    """Return of how many lines an attribution is that begins here, 0 if none does.

    It ends in a colon and has a date and the own address, or quoted lines follow and it has at least one of them.
    """
    if not lines[number].strip() or lines[number].startswith(">"):
        return 0
    for end in range(number + 1, min(number + _ATTRIBUTION, len(lines)) + 1):
        if not lines[end - 1].strip():
            return 0
        joined = " ".join(lines[number:end]).strip().lower()
        if len(joined) > _LONGEST:
            return 0
        if joined.endswith((":", "：", ">")) and _signs(joined, own) + _quotes_follow(lines, end) >= 2:
            return end - number
    return 0


def _signs(text: str, own: str) -> int:
    return (own in text) + bool(re.search(r"\d", text))


def _quotes_follow(lines: list[str], number: int) -> bool:
    """Return whether the next line that is not empty is quoted, or was: nothing is left after HTML's quotations."""
    while number < len(lines) and not lines[number].strip():
        number += 1
    return number == len(lines) or lines[number].startswith(">")


def _answers_below(lines: list[str], number: int) -> bool:
    """Return whether new text stands between or below the quoted lines."""
    quoted = next((n for n in range(number, len(lines)) if lines[n].startswith(">")), None)
    return quoted is not None and any(line.strip() and not line.startswith(">") for line in lines[quoted:])


def _without_quoted(lines: list[str], own: str) -> list[str]:
    kept: list[str] = []
    number = 0
    while number < len(lines):
        skipped = 1 if lines[number].startswith(">") else _attribution(lines, number, own)
        if not skipped:
            kept.append(lines[number])
        number += skipped or 1
    return kept
