"""The fence: what a turn may send of what it read ahead, by the limits of hours, domains, recipients and companies."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence

from massmail import outcomes
from massmail.engine import usage
from massmail.engine.candidates import Candidate
from massmail.engine.limits import Allowances, Rules, Wait, of_account, of_the_day_before
from massmail.engine.usage import Charge
from massmail.models import Delivery, EmailAccount, MassmailSettings


class Fence:
    """The limits of one turn of `account`. Where none is set, it asks the database nothing."""

    def __init__(self, account: EmailAccount, settings: MassmailSettings) -> None:
        self.account = account
        #: What the candidates read ahead will be charged to, and what the one claimed last was.
        self.charges: dict[int, list[Charge]] = {}
        self.charged: list[Charge] = []
        self.rules = Rules.of(settings)
        self.obey(settings)

    def obey(self, settings: MassmailSettings) -> None:
        """Go by `settings`, and by the account's own limit as it is now."""
        rules = Rules.of(settings)
        if rules != self.rules:
            self.rules, self.charges = rules, {}
        self.is_set = bool(self.rules) or self.account.emails_per_hour is not None

    def let_through(self, found: Sequence[Candidate], *, now: dt.datetime) -> list[Candidate]:
        """Return those of `found` that may leave at `now`; write on the others until when they wait, and why."""
        if not self.rules:
            return list(found)
        allowances = Allowances([each.delivery for each in found], self.rules, now=now)
        free, waiting = [], []
        for each in found:
            wait = None if each.exclusion is not None else allowances.wait(each.delivery)
            if wait is not None:
                waiting.append((each.delivery, wait))
                continue
            free.append(each)
            self.charges[each.delivery.pk] = allowances.charges(each.delivery)
            if each.exclusion is None and not self.account.paced:  # a paced one sends the first of them only
                allowances.count(each.delivery)
        _hold_back(waiting)
        return free

    def charge(self, delivery: Delivery, *, now: dt.datetime) -> None:
        """Charge all limits for `delivery`, claimed at `now`; raises `LimitReached`."""
        charges = self.charges.get(delivery.pk)
        before = of_the_day_before(delivery, self.rules, now=now)
        usage.charge(before)
        if self.rules and (before or charges is None or any(each.ends <= now for each in charges)):
            charges = Allowances([delivery], self.rules, now=now).charges(delivery)
        charges = [*(charges or ()), *of_account(self.account, self.rules.zone, now=now)]
        usage.charge(charges)
        self.charged = [*before, *charges]

    def give_back(self) -> None:
        """Take back what was charged last, for a mail of which the server provably has nothing."""
        usage.give_back(self.charged)
        self.charged = []

    def hold_back(self, delivery: Delivery, *, now: dt.datetime) -> bool:
        """Let `delivery` wait, which could not be charged; False if it is the account itself that has to wait, or if
        nothing stands in the way any more: the next turn looks again.
        """
        own = of_account(self.account, self.rules.zone, now=now)
        if own and usage.used(own).get((own[0].key, own[0].begins), 0) >= own[0].most:
            return False
        wait = Allowances([delivery], self.rules, now=now).wait(delivery) if self.rules else None
        if wait is not None:
            _hold_back([(delivery, wait)])
        return wait is not None


def _hold_back(waiting: Sequence[tuple[Delivery, Wait]]) -> None:
    groups: dict[Wait, list[int]] = defaultdict(list)
    for delivery, wait in waiting:
        groups[wait].append(delivery.pk)
    for wait, keys in groups.items():
        outcomes.hold_back(keys, reason=wait.reason, until=wait.until)
