"""What an account, and it to each domain, may still send in an hour of the forecast. Pure.

The engine does the same by its ledger (`limits`, `usage`).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from massmail.engine.window import HOUR, hour_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Hourly:
    """The limits of an account by the hour, and what it has used of them in this one; `own` 0: none.

    `domains` are those of the domains that have one, with what is used by the domain.
    """

    own: int = 0
    own_used: int = 0
    domains: Mapping[str, int] = field(default_factory=dict)
    domains_used: Mapping[str, int] = field(default_factory=dict)

    def biting(self, fastest: float) -> Hourly:
        """Return it without the limits that an account never reaches which sends `fastest` mails an hour at most."""
        domains = {name: most for name, most in self.domains.items() if most < fastest}
        return Hourly(
            own=self.own if self.own < fastest else 0,
            own_used=self.own_used,
            domains=domains,
            domains_used=self.domains_used,
        )


NONE = Hourly()


class Hourglass:
    """Runs through the hours of `zone` from `now` on, and is turned by whoever asks about a later one."""

    def __init__(self, limits: Hourly, zone: ZoneInfo, *, now: dt.datetime) -> None:
        self.limits, self.zone = limits, zone
        self.is_set = bool(limits.own or limits.domains)
        self.used, self.used_of = limits.own_used, Counter(limits.domains_used)
        self.ends = hour_of(now, zone) + HOUR

    def turn_to(self, at: dt.datetime) -> None:
        if at >= self.ends:
            self.ends = hour_of(at, self.zone) + HOUR
            self.used, self.used_of = 0, Counter()

    @property
    def is_full(self) -> bool:
        """Whether the account has nothing left in this hour."""
        return 0 < self.limits.own <= self.used

    def left(self, domain: str, count: int) -> int:
        """Return how many of `count` mails may go to `domain` in this hour."""
        if self.limits.own:
            count = min(count, self.limits.own - self.used)
        if most := self.limits.domains.get(domain, 0):
            count = min(count, most - self.used_of[domain])
        return max(0, count)

    def allows(self, domains: Iterable[str]) -> bool:
        return any(self.left(domain, 1) for domain in domains)

    def spend(self, domain: str, count: int = 1) -> None:
        self.used += count
        self.used_of[domain] += count
