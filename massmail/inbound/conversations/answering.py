"""Answers written on the page of a request or deal: they carry the ticket, so that what follows is imported by itself.

The answer is on disk before the server hears of it, and what the server said right after. One that may have left is
never sent again by itself. Answers do not count against the daily limit, which is for mailings.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from email.utils import format_datetime

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from massmail.choices import DeliveryStatus, Direction, Ending, InboundKind
from massmail.composing import headers
from massmail.composing.skeleton import TextPart
from massmail.connecting import hand_in
from massmail.exceptions import AnswerError, CompositionError
from massmail.inbound.conversations.belonging import hand_over
from massmail.inbound.conversations.letters import TICKET_HEADER, untagged
from massmail.inbound.reading import normalise
from massmail.models import Conversation, Correspondence, EmailAccount
from massmail.outcomes import classify
from massmail.transport import Reply

#: Seconds somebody waits in front of a screen for the whole conversation with the server.
PATIENCE = 25
#: Message-IDs in References, and lines of the mail answered that are quoted.
MOST_REFERENCES, MOST_LINES = 20, 60
#: What a person may answer: not the reports of mail servers, nor what machines write.
ANSWERABLE = (InboundKind.REPLY, InboundKind.OTHER, InboundKind.UNSUBSCRIBE)
_REPLY = re.compile(r"\s*(?:re|aw|antw|sv|odp|отв)\s*:", re.IGNORECASE)


def answer(
    conversation: Conversation, *, to: Correspondence, account: EmailAccount, text: str, key: str, now: dt.datetime
) -> Correspondence:
    """Send `text` through `account` to whoever wrote `to`, and wait `PATIENCE` seconds for the server.

    `key` names this answer: the same one is never sent twice. Raises `AnswerError` if it was not sent; nothing of it is
    kept then. An answer whose end nobody knows is returned with the status `unknown`.
    """
    try:
        sender, address = headers.bare_address(account.from_email), headers.bare_address(to.answers_go_to)
        mail = Correspondence(
            conversation=conversation,
            account=account,
            direction=Direction.OUT,
            status=DeliveryStatus.SENDING,
            identity=hashlib.sha256(key.encode()).hexdigest(),
            message_id=f"<{key}@{headers.ascii_domain(account.domain)}>",
            from_address=normalise(account.from_email),
            from_name=account.from_name,
            to=to.answers_go_to,
            subject=_subject(to.subject, conversation.ticket),
            text=text.strip(),
            quoting=f"{text.strip()}\n\n{_quotation(to)}",
            at=now,
        )
        data = _compose(mail, sender=sender, address=address, references=_references(conversation, to))
    except (CompositionError, ValueError) as error:
        raise AnswerError(_("The answer can't be sent: %(why)s") % {"why": error}) from error
    hand_over(conversation)
    try:
        with transaction.atomic():
            mail.save(force_insert=True)
    except IntegrityError:
        raise AnswerError(_("This answer was sent already.")) from None
    reply = hand_in(account, sender=sender, to=address, data=data, patience=PATIENCE)
    return _settle(mail, reply, account)


def _settle(mail: Correspondence, reply: Reply, account: EmailAccount) -> Correspondence:
    ending = classify(reply).ending
    if ending is Ending.SENT:
        mail.status = DeliveryStatus.SENT
    elif ending is Ending.UNKNOWN:
        mail.status, mail.reply = DeliveryStatus.UNKNOWN, str(reply)
    else:
        mail.delete()
        raise AnswerError(
            _("The answer was not sent. The server of “%(account)s” said: %(reply)s")
            % {"account": account.name, "reply": reply}
        )
    mail.save(update_fields=["status", "reply"])
    return mail


def _subject(subject: str, ticket: str) -> str:
    bare = headers.one_line(untagged(subject))[:200]
    if not _REPLY.match(bare):
        bare = f"Re: {bare}"
    return f"{bare} [ticket:{ticket}]"


def _quotation(mail: Correspondence) -> str:
    """Return the mail that is answered as mail programs quote it, so that the other side knows what it is about."""
    who = mail.from_name or mail.from_address
    at = date_format(timezone.localtime(mail.at), "SHORT_DATETIME_FORMAT")
    lines = mail.text.splitlines()[:MOST_LINES]
    head = _("%(at)s, %(who)s <%(address)s>:") % {"at": at, "who": who, "address": mail.from_address}
    return "\n".join([head, *(f"> {line}".rstrip() for line in lines)])


def _compose(mail: Correspondence, *, sender: str, address: str, references: list[str]) -> bytes:
    """Return the bytes of the mail. Without Reply-To: what follows is to come to this mailbox, which is read."""
    head = [
        ("From", headers.named_address(mail.from_name, sender, header="From")),
        ("To", address),
        ("Subject", headers.encoded(mail.subject, header="Subject")),
        ("Date", format_datetime(mail.at.astimezone(dt.UTC))),
        ("Message-ID", mail.message_id),
        ("X-Massmail-ID", mail.message_id.strip("<>")),
        (TICKET_HEADER, mail.conversation.ticket),
    ]
    if references:
        head += [("In-Reply-To", references[-1]), ("References", " ".join(references))]
    head.append(("MIME-Version", "1.0"))
    return b"".join(headers.line(*each) for each in head) + TextPart.of("plain", [mail.quoting]).filled(())


def _references(conversation: Conversation, to: Correspondence) -> list[str]:
    """Return the Message-IDs of the conversation, that of the mail answered last (RFC 5322, 3.6.4)."""
    known = conversation.mails.exclude(message_id="").order_by("at", "pk").values_list("message_id", flat=True)
    ids = [each for each in known if each.isascii() and each != to.message_id]
    if len(ids) > MOST_REFERENCES:
        ids = [ids[0], *ids[-MOST_REFERENCES + 1 :]]
    return ids + ([to.message_id] if to.message_id and to.message_id.isascii() else [])
