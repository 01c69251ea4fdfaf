"""Where mailings stand: what the list, the mailing's page and the polling script say of them."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext as _

from massmail.admin.forecasts import expected_end_text
from massmail.admin.numbers import grouped
from massmail.choices import HoldReason, MailingStatus
from massmail.engine.holds import Hold, explain_many
from massmail.models import EmailAccount, Mailing
from massmail.outcomes import Progress, progress

HELD = "held"
WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The names of the accounts a mailing can leave through, and of those that somebody has to look after first."""

    ready: tuple[str, ...] = ()
    held: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one mailing stands; `expected` is when it will be done, in words, "" if nobody knows."""

    status: MailingStatus
    hold: Hold | None
    progress: Progress
    crew: Crew
    expected: str = ""

    @property
    def look(self) -> str:
        """How the badge looks: "held" where mail leaves only after somebody did something, "waiting" where it will
        leave by itself, otherwise the status.
        """
        if self.status == MailingStatus.PAUSED and self.hold and self.hold.detail:
            return HELD  # by the app, which had a reason
        if self.status != MailingStatus.ACTIVE or self.hold is None or self.hold.reason is HoldReason.GAP:
            return self.status.value  # a gap is how it sends, not why it doesn't
        by_itself = self.hold.until is not None or self.hold.reason in (HoldReason.RETRY, HoldReason.BUSY)
        return WAITING if by_itself else HELD

    @property
    def state(self) -> str:
        if self.status != MailingStatus.ACTIVE:
            return str(self.status.label)
        return {HELD: _("Held"), WAITING: _("Waiting")}.get(self.look, str(self.status.label))

    @property
    def reason(self) -> str:
        """Why it does not send now, in words; "" where the state says it all."""
        if self.hold is None or self.status not in (MailingStatus.ACTIVE, MailingStatus.PAUSED):
            return ""
        if self.hold.reason is HoldReason.GAP:
            return ""  # see `look`
        if self.status == MailingStatus.PAUSED:
            return self.hold.detail
        return self.hold.detail or str(self.hold.reason.label)

    @property
    def moving(self) -> bool:
        """Whether looking again will show something new."""
        return self.status == MailingStatus.ACTIVE

    @property
    def ended(self) -> bool:
        return self.status not in (MailingStatus.DRAFT, MailingStatus.ACTIVE, MailingStatus.PAUSED)

    def as_json(self) -> dict[str, Any]:
        """Return the values by the names that the polling script finds in the page."""
        done = self.progress
        numbers = {
            "done": done.done,
            "total": done.total,
            "sent": done.sent,
            "to_go": done.to_go,
            "failed": done.failed,
            "skipped": done.skipped,
            "unknown": done.unknown,
            "sent_today": done.sent_today,
        }
        return {
            "status": self.status.value,
            "look": self.look,
            "moving": self.moving,
            "state": self.state,
            "reason": self.reason,
            "expected": _("done %(when)s") % {"when": self.expected} if self.expected else "",
            "percent": done.percent,
            **numbers,
            "shown": {name: grouped(number) for name, number in numbers.items()},
        }


def standings(mailings: Sequence[Mailing], *, now: dt.datetime) -> dict[int, Standing]:
    """Return where `mailings` stand at `now`, by primary key, in a number of queries that does not depend on theirs."""
    if not mailings:
        return {}
    holds = explain_many(mailings, now=now)
    sums = progress(mailings, now=now)
    crews = _crews({mailing.owner_id for mailing in mailings}, now=now)
    return {
        mailing.pk: Standing(
            status=MailingStatus(mailing.status),
            hold=holds[mailing.pk],
            progress=sums[mailing.pk],
            crew=crews[mailing.owner_id],
            expected=expected_end_text(mailing),
        )
        for mailing in mailings
    }


def _crews(owner_ids: Iterable[Any], *, now: dt.datetime) -> dict[Any, Crew]:
    crews: dict[Any, Crew] = defaultdict(Crew)
    for account in EmailAccount.objects.filter(owner__in=owner_ids, massmail=True):
        crew = crews[account.owner_id]
        on_hold = account.hold_reason and (account.held_until is None or account.held_until > now)
        if on_hold or account.secret_lost:
            crews[account.owner_id] = replace(crew, held=(*crew.held, account.name))
        else:
            crews[account.owner_id] = replace(crew, ready=(*crew.ready, account.name))
    return crews
