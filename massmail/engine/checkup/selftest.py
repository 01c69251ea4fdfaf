"""The sure test: a mail of the account to itself, read back for how it was signed and what its own server says of it.

Whoever presses the button waits for the sending only. Then each tick has a worker look into the mailbox, for a moment
and ever more seldom, until the mail is there or too much time has passed.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.html import escape
from django.utils.translation import gettext as _

from massmail.choices import SelfTest
from massmail.composing import prepare
from massmail.conf import conf
from massmail.connecting import open_imap
from massmail.deliverability import Finding, OwnMail, check_own_mail, read_head
from massmail.deliverability.findings import finding
from massmail.deliverability.own_mail import HEAD
from massmail.engine.checkup.checking import check_account, stored
from massmail.engine.checkup.standing import test_subject_of
from massmail.engine.trial import Report, send_test
from massmail.exceptions import TrialError
from massmail.models import Checkup, EmailAccount, Message
from massmail.transport import TransportError
from massmail.transport.imap import INBOX, IMAPConnection, MailboxError

logger = logging.getLogger("massmail.engine")

Clock = Callable[[], dt.datetime]

JUNK = b"\\Junk"
#: Seconds between the looks into the mailbox, the last again and again.
PAUSES = (3, 5, 10, 15, 20, 30, 60)
#: Minutes after which the mail is not waited for any more.
PATIENCE = 15
#: After so long without any look, as without a worker, another test mail may be sent.
FORGOTTEN = dt.timedelta(minutes=2 * PATIENCE)
#: Seconds one look may take, and after which another worker may look if the first one was killed.
LOOK, LEASE = 45.0, dt.timedelta(seconds=90)

_CONTENT = "<html><body><p>%(text)s</p><p><a href='{{ unsubscribe_url }}'>%(link)s</a></p></body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The head of the test mail, and whether it lay in the folder for spam."""

    mail: OwnMail
    junk: bool


# Sending --------------------------------------------------------------------------------------------------------------


def send_self_test(account: EmailAccount, *, by: Any, now: dt.datetime) -> Report:
    """Send a test mail through `account` to itself, as every test mail is sent, and wait for it from now on.

    Raises `TrialError` if that can't be done: the account is not `by`'s own, can't be read, has used up its day, or
    waits for another test mail.
    """
    if account.owner_id != by.pk:
        raise TrialError(_("Test mails go through your own accounts to your own addresses only."))
    if not account.imap_host:
        raise TrialError(
            _("The mailbox of “%(account)s” can't be read: enter its IMAP server first.") % {"account": account.name}
        )
    if not _begin(account, now=now):
        raise TrialError(_("A test mail of “%(account)s” is on its way already.") % {"account": account.name})
    facts: dict[str, Any] = {"test_state": "", "test_look_at": None}
    try:
        report = send_test(
            prepare(_message(account)), by=by, account=account, to=account.from_email, values={}, now=now
        )
        if report.accepted:
            first = now + dt.timedelta(seconds=PAUSES[0])
            facts = {"test_message_id": report.message_id, "test_look_at": first}
    finally:
        Checkup.objects.filter(account=account).update(**facts)
    return report


def _begin(account: EmailAccount, *, now: dt.datetime) -> bool:
    """Note that a test mail leaves; False if another one is waited for, unless that has been forgotten."""
    checkup, _created = Checkup.objects.get_or_create(account=account)
    free = Q(test_look_at=None) | Q(test_sent_at__lte=now - FORGOTTEN)
    subject = test_subject_of(account)
    facts: dict[str, Any] = {"test_message_id": "", "test_looks": 0, "test_trouble": "", "test_subject": subject}
    if checkup.test_subject != subject:  # another domain, or another server: nothing holds that was seen before
        facts |= {"test_findings": [], "signatures": []}
    waits = {"test_state": SelfTest.WAITING, "test_sent_at": now, "test_look_at": now + LEASE}
    return bool(Checkup.objects.filter(free, pk=checkup.pk).update(**facts, **waits))


def is_awaited(checkup: Checkup, *, now: dt.datetime) -> bool:
    """Tell whether a test mail is on its way."""
    sent_at = checkup.test_sent_at
    return checkup.test_look_at is not None and sent_at is not None and sent_at > now - FORGOTTEN


def _message(account: EmailAccount) -> Message:
    text = _("This is a test of how the mail of this account is signed. You can delete it.")
    content = _CONTENT % {"text": escape(text), "link": escape(_("Unsubscribe"))}
    return Message(owner=account.owner, subject=_("Test of the mailbox"), content=content)


# Reading --------------------------------------------------------------------------------------------------------------


def due(*, now: dt.datetime) -> list[int]:
    """Return the accounts in whose mailbox the test mail is to be looked for now."""
    return list(_awaited(now).values_list("account", flat=True))


def _awaited(now: dt.datetime) -> QuerySet[Checkup]:
    return Checkup.objects.filter(test_look_at__lte=now).exclude(test_message_id="")


def look(account_id: int, *, clock: Clock = timezone.now) -> bool:
    """Look for the test mail of an account once; return whether it is found. A no-op if it is not waited for."""
    now = clock()
    waiting = _awaited(now).filter(account=account_id)
    if not waiting.update(test_look_at=now + LEASE, test_looks=F("test_looks") + 1):
        return False
    checkup = Checkup.objects.select_related("account").get(account=account_id)
    trouble = ""
    try:
        found = _fetch(checkup.account, checkup.test_message_id)
    except (MailboxError, TransportError) as error:
        found, trouble = None, error.reply.text if isinstance(error, TransportError) else str(error)
    if found is None:
        _wait_on(checkup, trouble, now=now)
        return False
    _note(checkup, found)
    if conf.dns_checks:
        check_account(checkup.account, now=now)  # the keys of these signatures are the ones that matter
    return True


def _fetch(account: EmailAccount, message_id: str) -> Found | None:
    """Return the test mail from the inbox or the folder for spam, None if it is in neither.

    Raises `MailboxError`, and `TransportError` if no token can be had.
    """
    connection = open_imap(account, timeout=min(conf.imap_timeout, LOOK / 2), patience=LOOK)
    try:
        if head := _head(connection, INBOX, message_id):
            return Found(mail=read_head(head), junk=False)
        junk = connection.special_folder(JUNK)
        head = _head(connection, junk, message_id) if junk else b""
        return Found(mail=read_head(head), junk=True) if head else None
    finally:
        connection.close()


def _head(connection: IMAPConnection, folder: str, message_id: str) -> bytes:
    connection.examine(folder)
    for uid in connection.find(message_id)[-1:]:
        if fetched := connection.fetch(uid, limit=HEAD):
            return fetched.data
    return b""


def _wait_on(checkup: Checkup, trouble: str, *, now: dt.datetime) -> None:
    """Look again a little later, or give up: what is not found then says nothing, good or bad."""
    began = checkup.test_sent_at or now
    if now - began < dt.timedelta(minutes=PATIENCE):
        pause = PAUSES[min(checkup.test_looks, len(PAUSES) - 1)]
        _write(checkup, test_look_at=now + dt.timedelta(seconds=pause), test_trouble=trouble)
        return
    lost = finding("mail.unreadable", words=trouble) if trouble else finding("mail.lost", minutes=PATIENCE)
    _end(checkup, SelfTest.LOST, [lost], test_trouble=trouble)


def _note(checkup: Checkup, found: Found) -> None:
    """Keep what the mail tells. Signatures seen before are forgotten only for newer ones: keys are changed."""
    seen = [{"domain": each.domain, "selector": each.selector} for each in found.mail.signatures]
    findings = check_own_mail(found.mail, junk=found.junk)
    _end(checkup, SelfTest.READ, findings, test_trouble="", signatures=seen or checkup.signatures)


def _end(checkup: Checkup, state: SelfTest, findings: list[Finding], **facts: Any) -> None:
    _write(checkup, test_state=state, test_look_at=None, test_findings=stored(findings), **facts)


def _write(checkup: Checkup, **facts: Any) -> None:
    """Write `facts`, unless another test mail is waited for by now."""
    Checkup.objects.filter(pk=checkup.pk, test_message_id=checkup.test_message_id).update(**facts)
