"""The aftermath of a reply: what it calls for beyond the delivery, that the lane, the account or the mailing rests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import suppress

from django.utils.translation import gettext as _

from massmail import outcomes
from massmail.choices import AccountTrouble, Ending, Failure
from massmail.engine import lifecycle, pacing
from massmail.engine.ahead import Ahead
from massmail.engine.lanes import Lease
from massmail.exceptions import LifecycleError
from massmail.models import EmailAccount, Mailing
from massmail.transport import Reply

#: How long an account rests whose provider says that its sending limit is reached, but not until when: the limits of
#: Gmail and Microsoft 365 count the last 24 hours.
LIMIT_REST = dt.timedelta(hours=24)
#: So many refusals by policy in a row, and the account and the mailing stop.
POLICY_LIMIT = 5


class Aftermath:
    """What replies mean for the lane under `lease`, its `account` and the mailings read `ahead`."""

    def __init__(self, account: EmailAccount, lease: Lease, ahead: Ahead, *, clock: Callable[[], dt.datetime]) -> None:
        self.account, self.lease, self.ahead, self.clock = account, lease, ahead, clock

    def of(self, verdict: outcomes.Verdict, reply: Reply, mailing: Mailing | None = None) -> bool:
        """Do what a reply calls for; True if the turn is over."""
        match verdict.ending:
            case Ending.SERVER | Ending.UNKNOWN:
                self.back_off(str(reply))
            case Ending.ACCOUNT:
                self._hold(reply)
            case Ending.LIMIT:
                self._hold(reply, until=self.clock() + LIMIT_REST)
            case Ending.MESSAGE if mailing is not None:
                self._pause(mailing, _("The server refuses this message: %s") % reply)
                return False
            case Ending.REFUSED if verdict.reason == Failure.POLICY and mailing is not None:
                return self._refused_by_policy(mailing, reply)
            case _:
                if self.lease.lane.failures or self.lease.lane.refusals:
                    self.lease.note(failures=0, refusals=0, last_reply="")
                return False
        return True

    def back_off(self, why: str) -> None:
        """Let the lane rest, longer with each failure in a row; `why` is empty for our own errors."""
        failures = self.lease.lane.failures + 1
        self.lease.note(next_at=self.clock() + pacing.back_off(failures), failures=failures, last_reply=why)

    def _refused_by_policy(self, mailing: Mailing, reply: Reply) -> bool:
        """Count refusals in a row; at the limit stop the account and the mailing before more harm is done."""
        refusals = self.lease.lane.refusals + 1
        if refusals < POLICY_LIMIT:
            self.lease.note(failures=0, refusals=refusals)
            return False
        self.lease.note(refusals=0)
        advice = _("%(count)s mails in a row were refused by policy, at last with: %(reply)s") % {
            "count": refusals,
            "reply": reply,
        }
        outcomes.hold_account(self.account, advice, trouble=AccountTrouble.POLICY)
        self._pause(mailing, advice)
        return True

    def _hold(self, reply: Reply, *, until: dt.datetime | None = None) -> None:
        trouble = outcomes.trouble(reply, by_token=bool(self.account.oauth_provider))
        outcomes.hold_account(self.account, reply.words, until=until, trouble=trouble)

    def _pause(self, mailing: Mailing, reason: str) -> None:
        with suppress(LifecycleError):  # somebody was quicker
            lifecycle.pause(mailing, by=None, reason=reason)
        self.ahead.clear()
