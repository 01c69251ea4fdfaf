"""What keeps a mailing from being done sooner, in words."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext_lazy as _

from massmail.choices import Limit

_TEXTS = {
    Limit.QUOTA: _("What takes longest: the account “%(account)s” with its daily limit of %(number)s mails."),
    Limit.RAMP: _("What takes longest: the account “%(account)s”, which is new and warms up."),
    Limit.HOURLY: _("What takes longest: the account “%(account)s” with its limit of %(number)s mails an hour."),
    Limit.DOMAIN: _("What takes longest: the limit of mails an hour to one domain, for “%(account)s”."),
    Limit.CAP: _("What takes longest: recipients or companies that have had enough mail for now."),
    Limit.HOURS: _("What takes longest: waiting for the working hours."),
    Limit.GAPS: _("What takes longest: the pauses between two mails of the account “%(account)s”."),
    Limit.SPEED: _("What takes longest: the server of the account “%(account)s”, at the speed it had lately."),
    Limit.START: _("What takes longest: waiting for the start."),
    Limit.HELD: _("What takes longest: the account “%(account)s”, which rests for a while."),
    Limit.RETRY: _("What takes longest: recipients whose servers asked the account “%(account)s” to come back."),
}
_HOURS_A_DAY = _(
    "What takes longest: the account “%(account)s”. The working hours leave it time for about %(number)s mails a day."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """The account that is done last and the rule that keeps it, which lets through `number` mails a day, or an hour."""

    account: int
    name: str
    limit: Limit
    number: int = 0

    @property
    def text(self) -> str:
        """The same in words."""
        text = _HOURS_A_DAY if self.limit is Limit.HOURS and self.number else _TEXTS[self.limit]
        return text % {"account": self.name, "number": self.number}
