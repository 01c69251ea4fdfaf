"""Rules about subject, preheader, text part and sizes, and about what other programs' templates leave behind."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from django.template.base import tag_re
from django.utils.translation import gettext as _

from massmail.choices import Level, Rule
from massmail.composing import html
from massmail.composing.linting.draft import Draft, Page, Remark
from massmail.composing.plaintext import SKIPPED
from massmail.composing.sources import Source
from massmail.composing.templates import UNSUBSCRIBE

#: Bytes of HTML after which Gmail shows "[Message clipped]", and hides the link to unsubscribe with the rest.
CLIPPED_AT = 102 * 1024
#: Bytes of a whole mail that servers take unless told otherwise: Postfix (message_size_limit), and Exchange likewise.
LARGEST_MAIL = 10_240_000
#: Characters of a subject that inboxes show on a wide screen; phones show half of them.
LONG_SUBJECT = 70
#: Letters from which on capitals are shouting and no abbreviation, and the part of them that must be capitals.
SHOUT, SHOUTED = 10, 0.8
#: Characters that a variable comes to, for lack of better knowledge.
_USUAL = 8

# As in `headers.one_line`, which removes them, and the soft hyphen.
_INVISIBLE = re.compile(r"[\u00ad\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_SHEET = re.compile(r"<(style|script)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
# The second of each pair tells whether it is beyond doubt that it was meant for another program.
_FOREIGN = (
    (re.compile(r"\{\{\s*[#/^>&!][^{}\n]{0,80}\}\}|\{\{\{[^{}\n]{1,80}\}\}\}"), True),  # Handlebars, Mustache
    (re.compile(r"\*\|[^|\n]{1,80}\|\*"), True),  # Mailchimp, Mandrill
    (re.compile(r"%%[\w .=-]{1,80}%%"), True),  # Salesforce, Mailjet and others
    (re.compile(r"%recipient\.\w{1,80}%"), True),  # Mailgun
    (re.compile(r"<%(?!--)[^\n]{1,80}?%>"), True),  # ERB, ASP, Liquid's older kin
    (re.compile(r"\[\[\s*[\w.:-]{1,80}\s*\]\]"), False),
    (re.compile(r"[$#]\{\s*[\w.]{1,80}\s*\}"), False),
)
_LEFT_OPEN = re.compile(r"\[\s*your\s[^\[\]\n]{1,60}\]", re.IGNORECASE)
_SCRIPTS = {"LATIN", "CYRILLIC", "GREEK"}


def about_subject(draft: Draft) -> Iterator[Remark]:
    written = draft.source("subject")
    subject = _without_tags(written, "x" * _USUAL)
    words = _without_tags(written, "")
    if written.strip() and not re.search(r"\w", words):
        text = _("The subject consists of placeholders only, and is empty where they are.")
        yield _about("subject", Rule.EMPTY_SUBJECT, text, _("Write some words of your own into it."))
    if len(subject) > LONG_SUBJECT:
        text = _("The subject has %(count)d characters. Inboxes show some %(shown)d, phones half of them.")
        remedy = _("Say what matters first, and shorten the rest.")
        yield _about("subject", Rule.LONG_SUBJECT, text % {"count": len(subject), "shown": LONG_SUBJECT}, remedy)
    cased = [letter for letter in words if letter.lower() != letter.upper()]
    if len(cased) >= SHOUT and sum(letter.isupper() for letter in cased) >= SHOUTED * len(cased):
        text = _("The subject is written in capitals, which reads like shouting and counts as a sign of spam.")
        yield _about("subject", Rule.SHOUTING, text, _("Write it in small letters."))
    if re.search(r"[!?]{2,}|[!?]\s+[!?]", words):
        text = _("The subject has several exclamation or question marks in a row, which counts as a sign of spam.")
        yield _about("subject", Rule.SHOUTING, text, _("One is enough."))


def about_preheader(draft: Draft) -> Iterator[Remark]:
    if not draft.source("preheader").strip():
        text = _("There is no preheader: inboxes show how the text begins after the subject.")
        yield _about("preheader", Rule.NO_PREHEADER, text, _("Write a line that makes one want to open the mail."))


def about_text(draft: Draft) -> Iterator[Remark]:
    """Yield whether those who read plain text get nothing to read."""
    text = _("There are no words in the plain text part, which some people read and every spam filter.")
    if draft.source("plain_text").strip():
        lines = [line for line in draft.text.splitlines() if UNSUBSCRIBE not in line]
        if draft.can_be_sent and not _has_words("\n".join(lines)):
            yield _about("plain_text", Rule.NO_TEXT, text, _("Write some, or leave it empty."))
    elif draft.composed and not any(map(_has_words, _visible(draft.composed, draft.composed.root.find("body")))):
        yield _about("content", Rule.NO_TEXT, text, _("Write words into the content, and not only into images."))


def _has_words(text: str) -> bool:
    return bool(re.search(r"\w", re.sub(r"\S+://\S+", "", _without_tags(text, "x"))))


def _visible(page: Page, element: Any) -> Iterator[str]:
    """Yield the texts in `element` that are made into the text part, but for links to unsubscribe."""
    if not isinstance(element.tag, str) or element.tag in SKIPPED or html.is_hidden(element):
        return
    if any(tag.is_unsubscribe for tag in page.mask.find(element.get("href", ""))):
        return
    yield page.mask.restore(element.get("alt", "") if element.tag == "img" else element.text or "")
    for child in element:
        yield from _visible(page, child)
        yield page.mask.restore(child.tail or "")


def size_of(draft: Draft) -> int:
    """Return the octets of a whole mail, about: without its head, and with placeholders instead of values."""
    # In base64, three bytes become four characters, and each 76 of them a line (RFC 2045, 6.8).
    return len(draft.html.encode()) + len(draft.text.encode()) + round(draft.files * 4 / 3 * 78 / 76)


def about_limits(draft: Draft, limits: Iterable[tuple[str, int]]) -> Iterator[Remark]:
    """Yield the accounts whose servers take no mail of this size; `limits` are their names and octets (RFC 1870)."""
    whole = size_of(draft)
    for name, limit in limits:
        if whole > limit:
            text = _("Each mail has %(size).1f MB, but the server of “%(account)s” takes %(limit).1f MB at most.")
            yield Remark(
                level=Level.ERROR,
                rule=Rule.TOO_LARGE,
                text=text % {"size": whole / 1_000_000, "account": name, "limit": limit / 1_000_000},
                remedy=_("Put large files on your website and write links to them."),
                field="attachments",
            )


def about_sizes(draft: Draft) -> Iterator[Remark]:
    size = len(draft.html.encode())
    if size > CLIPPED_AT:
        text = _("The HTML has %(size)d kB. Gmail cuts it off at 102 kB, with the link to unsubscribe.")
        remedy = _("Shorten it, and delete styles that are not used.")
        yield _about("content", Rule.CLIPPED, text % {"size": -(-size // 1024)}, remedy)
    whole = size_of(draft)
    if whole > LARGEST_MAIL:
        text = _("Each mail has %(size).1f MB. Many servers refuse more than 10.")
        remedy = _("Put large files on your website and write links to them.")
        yield _about("attachments", Rule.TOO_LARGE, text % {"size": whole / 1_000_000}, remedy)


def about_foreign_syntax(draft: Draft) -> Iterator[Remark]:
    """Yield placeholders that only another program would fill in."""
    for source in draft.sources:
        for number, line in enumerate(_searched(source).split("\n"), start=1):
            for pattern, certain in _FOREIGN:
                if found := pattern.search(line):
                    text = _("“%(placeholder)s” looks like a placeholder of another program. It is sent as it stands.")
                    yield Remark(
                        level=Level.ERROR if certain else Level.WARNING,
                        rule=Rule.FOREIGN_SYNTAX,
                        text=text % {"placeholder": found[0]},
                        remedy=_("Insert the placeholder from the list, or delete it."),
                        field=source.field,
                        line=number,
                    )


def _searched(source: Source) -> str:
    """Return the text without style sheets and scripts, where such characters are normal; its lines are kept."""
    if not source.is_html:
        return source.text
    return _SHEET.sub(lambda sheet: "\n" * sheet[0].count("\n"), source.text)


def about_leftovers(draft: Draft) -> Iterator[Remark]:
    """Yield where the author has not yet written what a template to start from leaves open: "[your company]"."""
    for source in draft.sources:
        for number, line in enumerate(_searched(source).split("\n"), start=1):
            for found in _LEFT_OPEN.finditer(line):
                yield Remark(
                    level=Level.ERROR,
                    rule=Rule.LEFTOVER,
                    text=_("“%(text)s” still stands there as in the template.") % {"text": found[0]},
                    remedy=_("Write your own words there, or delete it."),
                    field=source.field,
                    line=number,
                )


def about_disguise(draft: Draft) -> Iterator[Remark]:
    for field in ("subject", "preheader"):
        for reason in _disguises(draft.source(field)):
            yield _about(field, Rule.DISGUISE, reason, _("Type the words anew."))


def about_names(names: Iterable[str]) -> Iterator[Remark]:
    """Yield what disguises the names of senders."""
    for name in dict.fromkeys(names):
        for reason in _disguises(name):
            text = _("In the sender's name “%(name)s”: %(reason)s") % {
                "name": _INVISIBLE.sub("", name),
                "reason": reason,
            }
            yield _about("", Rule.DISGUISE, text, _("Type it anew on the account's page."))


def _disguises(text: str) -> Iterator[str]:
    found = _INVISIBLE.search(text)
    if found:
        name = unicodedata.name(found[0], "").lower()
        yield _("There is an invisible character (%(name)s, U+%(code)04X), as frauds use them. It is removed.") % {
            "name": name,
            "code": ord(found[0]),
        }
    for word in re.findall(r"\w+", tag_re.sub(" ", text)):
        if len({script for script in map(_script, word) if script in _SCRIPTS}) > 1:
            yield _("The word “%(word)s” mixes letters of several scripts that look alike.") % {"word": word}
            return


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0] if letter.isalpha() else ""


def _without_tags(text: str, value: str) -> str:
    return tag_re.sub(lambda tag: value if tag[0].startswith("{{") else "", text)


def _about(field: str, rule: Rule, text: str, remedy: str) -> Remark:
    return Remark(level=Level.WARNING, rule=rule, text=text, remedy=remedy, field=field)
