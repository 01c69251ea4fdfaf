"""Reading ahead: a relay's lane looks at a handful of candidates at a time, a paced account at the next one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from massmail.engine import candidates, lanes
from massmail.engine.candidates import Candidate
from massmail.engine.fence import Fence
from massmail.engine.rotation import in_turn
from massmail.models import EmailAccount, Lane, Mailing

#: Candidates an unpaced account reads at a time: what is asked once for all of them is a small part of each.
HANDFUL = 250
#: Handfuls of recipients who all have to wait that a turn goes through before it leaves the rest to the next.
MOST_HANDFULS = 20


class Ahead:
    """The candidates of one turn of `account` in `lane`; `accounts` are all that the owner has for mailing."""

    def __init__(self, account: EmailAccount, lane: Lane, accounts: Sequence[EmailAccount], fence: Fence) -> None:
        self.account, self.lane, self.accounts, self.fence = account, lane, accounts, fence
        self.read: list[Candidate] = []

    def next(self, *, now: dt.datetime, daily_limit: int) -> Candidate | None:
        """Return the next candidate; None if there is none. `daily_limit` is that of accounts without their own."""
        if not self.read:
            active = candidates.active_mailings(self.account.owner_id, now=now)
            mailings = in_turn(active, self.lane.last_mailing)
            self.read = self._read(mailings, now=now)
            if not self.read and any(
                lanes.assign(mailing, self.accounts, daily_limit=daily_limit) for mailing in mailings
            ):
                self.read = self._read(mailings, now=now)
        return self.read.pop(0) if self.read else None

    def clear(self) -> None:
        """Forget what was read: things have changed."""
        self.read.clear()

    def _read(self, mailings: Sequence[Mailing], *, now: dt.datetime) -> list[Candidate]:
        limit = 1 if self.account.paced else HANDFUL
        for _ in range(MOST_HANDFULS):
            found = candidates.read_ahead(self.account, mailings, limit=limit, now=now, slot=self.lane.slot)
            free = self.fence.let_through(found, now=now)
            if free or not found:
                break
            limit = HANDFUL  # who has to wait rarely comes alone
        return free[:1] if self.account.paced else free
