"""Where mailings stand: what the list, the mailing's page and the polling script say of them."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from massmail.choices import HoldReason, MailingStatus
from massmail.engine.holds import Hold, explain_many
from massmail.models import EmailAccount, Mailing
from massmail.outcomes import Progress, progress

HELD = "held"
WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The accounts a mailing can leave through, and how many of them are on hold."""

    accounts: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one mailing stands."""

    status: MailingStatus
    hold: Hold | None
    progress: Progress
    crew: Crew

    @property
    def look(self) -> str:
        """How the badge looks: "held" where mail leaves only after somebody did something, "waiting" where it will
        leave by itself, otherwise the status.
        """
        if self.status == MailingStatus.PAUSED and self.hold and self.hold.detail:
            return HELD  # by the app, which had a reason
        if self.status != MailingStatus.ACTIVE or self.hold is None:
            return self.status.value
        by_itself = self.hold.until is not None or self.hold.reason is HoldReason.RETRY
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
        if self.status == MailingStatus.PAUSED:
            return self.hold.detail
        return self.hold.detail or str(self.hold.reason.label)

    @property
    def moving(self) -> bool:
        """Whether looking again will show something new."""
        return self.status == MailingStatus.ACTIVE

    def as_json(self) -> dict[str, Any]:
        """Return the values by the names that the polling script finds in the page."""
        done = self.progress
        return {
            "status": self.status.value,
            "look": self.look,
            "moving": self.moving,
            "state": self.state,
            "reason": self.reason,
            "total": done.total,
            "done": done.done,
            "percent": done.percent,
            "sent": done.sent,
            "to_go": done.to_go,
            "failed": done.failed,
            "skipped": done.skipped,
            "unknown": done.unknown,
            "sent_today": done.sent_today,
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
        )
        for mailing in mailings
    }


def _crews(owner_ids: Iterable[Any], *, now: dt.datetime) -> dict[Any, Crew]:
    rows = EmailAccount.objects.filter(owner__in=owner_ids, massmail=True).order_by()
    held: dict[Any, list[bool]] = defaultdict(list)
    for owner_id, reason, until in rows.values_list("owner", "hold_reason", "held_until"):
        held[owner_id].append(bool(reason) and (until is None or until > now))
    crews = {owner_id: Crew(accounts=len(flags), held=sum(flags)) for owner_id, flags in held.items()}
    return defaultdict(Crew, crews)
