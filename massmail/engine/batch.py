"""A batch: what a lane of a relay charges ahead to the quota, and has sent but not yet brought into the tallies.

Both would cost a statement for each mail. So an unpaced lane charges a number of mails at once, keeps count of what it
sends, and puts the books right when the batch is used up, after a second, and before anything but "sent" happens. What
the database knows of a batch is when it began and what was charged for it; when a worker dies, that and the deliveries
themselves are enough to find the rest again.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Count, Q

from massmail import outcomes
from massmail.choices import DeliveryStatus, MailingStatus
from massmail.engine import quota
from massmail.engine.lanes import Lease, free, lost
from massmail.engine.window import local_day
from massmail.models import Delivery, EmailAccount, Lane, Mailing

#: Mails that are charged ahead at most.
LARGEST = 100
#: Seconds after which the tallies follow: progress on the pages is true but for that.
LONGEST = 1.0

#: What a lane's row says when no batch is open.
NO_BATCH = {"batch_at": None, "batch_quota": 0}

_TICK = dt.timedelta(microseconds=1)
_ASTRAY = dt.timedelta(minutes=1)


@dataclass(slots=True, kw_only=True)
class State:
    """What the worker alone knows: charged and not yet used, sent and not yet counted (by mailing), of which day."""

    left: int = 0
    sent: dict[int, int] = field(default_factory=dict)
    day: dt.date = dt.date.min
    began: dt.datetime | None = None
    opened: float = 0.0
    #: The latest moment noted on a delivery: the next batch begins after it.
    noted: dt.datetime | None = None


class Batch:
    """The books of one turn. A paced account's batch is one mail, which needs no record of its own.

    Nothing here commits: each method is part of the caller's transaction. `state` is to be set back to what `saved`
    gave when that is rolled back.
    """

    def __init__(self, account: EmailAccount, lease: Lease, *, limit: int) -> None:
        self.account, self.lease, self.limit = account, lease, limit
        self.state = State()

    @property
    def size(self) -> int:
        """How many mails are charged at a time: of a small quota no lane takes so much that others stand idle."""
        if self.account.paced:
            return 1
        return max(2, min(LARGEST, self.limit // (4 * len(self.account.slots))))

    def saved(self) -> State:
        state = self.state
        return State(
            left=state.left,
            sent=state.sent.copy(),
            day=state.day,
            began=state.began,
            opened=state.opened,
            noted=state.noted,
        )

    def take(self, *, day: dt.date, now: dt.datetime) -> dt.datetime | None:
        """Take one mail of the quota of `day`, for a delivery that is claimed `now`.

        Returns the time to note on the delivery, never earlier than the batch's beginning, or None if the quota is
        used up.
        """
        if self.state.began and not self.is_open(day):
            self.close()
        if not self.state.left and not self._open(day, now):
            return None
        return self.take_charged(now=now)

    def take_charged(self, *, now: dt.datetime) -> dt.datetime:
        """Take one mail of what is charged already, from a batch that is open; return the time to note, as `take`."""
        self.state.left -= 1
        return self._moment(max(now, self.state.began or now))

    def is_open(self, day: dt.date) -> bool:
        """Tell whether a mail of `day` can be taken without asking the database."""
        state = self.state
        fresh = time.monotonic() - state.opened <= LONGEST
        return state.began is not None and state.left > 0 and state.day == day and fresh

    def put_back(self, day: dt.date) -> None:
        """Take back what was taken last: there was nothing to claim."""
        if self.state.began:
            self.state.left += 1
        else:
            quota.give_back(self.account, day=day)

    def count(self, *, now: dt.datetime) -> dict[int, int] | None:
        """Return where a mail sent at `now` is counted, or None if that is the tally itself."""
        self._moment(now)
        return self.state.sent if self.state.began else None

    def _moment(self, moment: dt.datetime) -> dt.datetime:
        self.state.noted = max(moment, self.state.noted or moment)
        return moment

    def close(self) -> None:
        """Bring what was sent into the tallies, and give back what was charged and not used."""
        state, self.state = self.state, State(noted=self.state.noted)
        if not state.began:
            return
        facts = {"last_sent_at": state.noted} if state.sent else {}
        ours = self.lease.note(**NO_BATCH, **facts)
        if not ours and Lane.objects.filter(pk=self.lease.lane.pk).exists():
            return  # another worker has taken the lane over, and found all this by itself
        outcomes.count_sent(state.sent, lane=self.lease.lane, day=state.day)
        quota.give_back(self.account, day=state.day, number=state.left)

    def _open(self, day: dt.date, now: dt.datetime) -> bool:
        number = quota.charge_up_to(self.size, self.account, day=day, limit=self.limit)
        if not number:
            return False
        if self.account.paced:
            self.state = State(left=1, day=day)
            return True
        earlier = self.state.noted or self.lease.lane.last_sent_at
        # A much later moment was noted by a clock that was ahead.
        began = max(now, earlier + _TICK) if earlier and earlier - now < _ASTRAY else now
        if not self.lease.note(batch_at=began, batch_quota=number):
            quota.give_back(self.account, day=day, number=number)
            return False
        self.state = State(left=number, day=day, began=began, opened=time.monotonic(), noted=began)
        return True


def recover_lost(*, zone: ZoneInfo) -> None:
    """Put in order what workers left behind that are gone: their lanes' leases ran out with a batch open."""
    for lane in Lane.objects.filter(free(), batch_at__isnull=False).select_related("account"):
        with transaction.atomic():
            # First of all, so that a worker that is not gone after all can't bring in the same batch.
            if Lane.objects.filter(free(), pk=lane.pk, batch_at=lane.batch_at).update(lease_token="", **NO_BATCH):
                _recover(lane, zone=zone)


def recover(lease: Lease, *, zone: ZoneInfo) -> None:
    """Put in order what an earlier worker left behind in the lane of which `lease` was just taken."""
    lane = lease.lane
    if lane.batch_at is not None:
        with transaction.atomic():
            if Lane.objects.filter(pk=lane.pk, lease_token=lease.token).update(**NO_BATCH):
                _recover(lane, zone=zone)
        lane.batch_at = None


def _recover(lane: Lane, *, zone: ZoneInfo) -> None:
    """Count what was sent and not brought into the tallies; give back what was charged and not used.

    What the worker was sending is unknown. Only mailings that were under way are looked at: they are found by index.
    """
    assert lane.batch_at is not None  # noqa: S101  the callers see to it
    day = local_day(lane.batch_at, zone)
    outcomes.doubt(lost(lane), day=day)
    under_way = Q(status__in=[MailingStatus.ACTIVE, MailingStatus.PAUSED]) | Q(ended_at__gte=lane.batch_at)
    mailings = Mailing.objects.filter(under_way, owner=lane.account.owner_id)
    claimed = Delivery.objects.filter(mailing__in=mailings, account=lane.account_id, sending_at__gte=lane.batch_at)
    numbers = claimed.filter(lane=lane).order_by().values("mailing_id", "status").annotate(number=Count("pk"))
    sent = {row["mailing_id"]: row["number"] for row in numbers if row["status"] == DeliveryStatus.SENT}
    outcomes.count_sent(sent, lane=lane, day=day)
    used = sum(row["number"] for row in numbers)
    quota.give_back(lane.account, day=day, number=max(0, lane.batch_quota - used))
