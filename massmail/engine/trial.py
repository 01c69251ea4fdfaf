"""Test mails: a message through one's own account to oneself, as one of the recipients gets it.

They go the way of all mail: composed, handed in, judged and charged to the account's day by the same functions. Only
the head tells a test from the real thing, and the link to unsubscribe is nobody's. No test puts anything on hold.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from massmail import outcomes
from massmail.choices import Ending, Phase
from massmail.composing import Links, Prepared, new_message_id, render
from massmail.connecting import hand_in
from massmail.engine import quota
from massmail.engine.ramp import limit_on
from massmail.engine.window import local_day
from massmail.exceptions import TrialError
from massmail.models import EmailAccount, MassmailSettings
from massmail.tokens import NOBODY, unsubscribe_link

#: Seconds somebody waits in front of a screen for the whole conversation with the server.
PATIENCE = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a test mail went: a sentence with what to do, and the server's own words."""

    ending: Ending
    text: str
    reply: str
    message_id: str = ""

    @property
    def accepted(self) -> bool:
        return self.ending is Ending.SENT


def addresses_of(user: Any) -> list[str]:
    """Return where `user` may send test mails: the user's own address, and those of the user's accounts."""
    own = getattr(user, user.get_email_field_name(), "")
    accounts = EmailAccount.objects.filter(owner=user).order_by("-main", "name", "id")
    return list(dict.fromkeys(each for each in (own, *accounts.values_list("from_email", flat=True)) if each))


def send_test(
    prepared: Prepared, *, by: Any, account: EmailAccount, to: str, values: Mapping[str, Any], now: dt.datetime
) -> Report:
    """Send `prepared`, filled in with `values`, through `account` to `to`, and wait `PATIENCE` seconds for the answer.

    Raises `TrialError` if account or address are not `by`'s own or the account has used up its day,
    `CompositionError` if the message can't be filled in.
    """
    if account.owner_id != by.pk or to not in addresses_of(by):
        raise TrialError(_("Test mails go through your own accounts to your own addresses only."))
    envelope = render(
        prepared,
        sender=account,
        to=to,
        values=values,
        message_id=new_message_id(account.domain),
        links=Links(unsubscribe=unsubscribe_link(NOBODY)),
        is_test=True,
    )
    settings = MassmailSettings.load()
    day = local_day(now, settings.zone)
    if not quota.charge(account, day=day, limit=limit_on(day, account, settings)):
        raise TrialError(
            _("“%(account)s” has used up its daily limit, which test mails count against. Use another account.")
            % {"account": account.name}
        )
    reply = hand_in(account, sender=envelope.sender, to=envelope.to, data=envelope.data, patience=PATIENCE)
    if reply.phase is not Phase.DOT:
        quota.give_back(account, day=day)
    ending = outcomes.classify(reply).ending
    return Report(ending=ending, text=_in_words(ending, account, to), reply=reply.words, message_id=envelope.message_id)


def _in_words(ending: Ending, account: EmailAccount, to: str) -> str:
    texts = {
        Ending.SENT: _("The server took the mail through “%(account)s”. You find it in the mailbox %(to)s."),
        Ending.RETRY: _("The mailbox %(to)s can't take mail now. In a mailing it would be tried again later."),
        Ending.REFUSED: _("Mail to %(to)s is refused. Choose another address of yours."),
        Ending.SERVER: _(
            "The server of “%(account)s” can't be reached or asks to come back. "
            "Check its name and port on the account's page, or try again in some minutes."
        ),
        Ending.ACCOUNT: _(
            "The account “%(account)s” is not accepted. "
            "Check its server, user name, password and from address on the account's page."
        ),
        Ending.LIMIT: _("The sending limit of the provider of “%(account)s” is reached. Try again tomorrow."),
        Ending.MESSAGE: _("The server refuses this message, whoever gets it. Change it, or make its files smaller."),
        Ending.UNKNOWN: _(
            "The server of “%(account)s” did not say whether it took the test mail. Look into the mailbox %(to)s."
        ),
    }
    return texts[ending] % {"account": account.name, "to": to}
