"""One lane's turn at speaking: candidates are claimed, composed, handed in and settled, one after the other."""

from __future__ import annotations

import datetime as dt
import logging
import math
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from massmail import outcomes
from massmail.choices import DeliveryStatus, Ending, Failure, MailingStatus, Phase
from massmail.conf import conf
from massmail.engine import candidates, lanes, pacing, quota
from massmail.engine.aftermath import Aftermath
from massmail.engine.ahead import Ahead
from massmail.engine.batch import Batch, recover
from massmail.engine.claims import Claim, Claims
from massmail.engine.fence import Fence
from massmail.engine.letters import Letter, Letters
from massmail.engine.line import Line
from massmail.engine.ramp import limit_on
from massmail.engine.usage import LimitReached
from massmail.engine.window import Window, closes_at, is_open, local_day
from massmail.models import Delivery, EmailAccount, Mailing, MassmailSettings
from massmail.models.statements import Bound
from massmail.transport import Reply

logger = logging.getLogger("massmail.engine")

Clock = Callable[[], dt.datetime]

#: How long a recipient waits at which an error of our own came up.
POSTPONED = dt.timedelta(minutes=15)
#: Seconds after which a turn reads the settings and its account's limit again.
REREAD = 3.0
#: What the account says of its limits.
LIMITS = ("emails_per_day", "emails_per_hour", "ramp_start", "ramp_step")
#: After these nothing keeps the next mail from leaving on the same connection.
GOES_ON = frozenset({Ending.SENT, Ending.REFUSED, Ending.RETRY})


class Turn:
    """One lane's turn at speaking, under a lease. `spoken` counts the mails that were handed to the server."""

    def __init__(
        self, account: EmailAccount, settings: MassmailSettings, lease: lanes.Lease, *, clock: Clock, ignore_hours: bool
    ) -> None:
        self.account, self.lease, self.clock, self.ignore_hours = account, lease, clock, ignore_hours
        self.fence = Fence(account, settings)
        self._obey(settings)
        accounts = lanes.usable_accounts([account.owner_id])[account.owner_id]
        main = next((each for each in accounts if each.main), None)
        self.batch = Batch(account, lease, limit=limit_on(self._day(), account, settings))
        self.claims = Claims(account, lease, self.batch, self.fence)
        self.ahead = Ahead(account, lease.lane, accounts, self.fence)
        self.letters = Letters(account, lease.lane, main=main, today=self._day)
        self.aftermath = Aftermath(account, lease, self.ahead, clock=clock)
        self.line = Line(account)
        self.deadline = math.inf
        self.spoken = 0
        self.ended = False

    @property
    def cut_short(self) -> bool:
        """Whether the turn ended only so that others get one."""
        return not self.ended and time.monotonic() >= self.deadline

    def speak(self) -> None:
        """Serve one recipient after the other until the turn ends."""
        self.deadline = time.monotonic() + conf.slice_seconds
        current = self._claimed(self._ready())
        while current is not None:
            # Composed before the current one is handed in, so that nothing stands between its answer and the commit.
            alone = self.account.paced or self.fence.is_set
            following = None if alone else self._following(current)
            reply = self.line.hand_in(current.envelope)
            current = self._advance(current, reply, following)
        with transaction.atomic():
            self.batch.close()

    def give_up(self) -> None:
        """Let the lane rest after an error of our own, and find from the records how far it came."""
        self.aftermath.back_off("")
        self.lease.lane.refresh_from_db()
        recover(self.lease, zone=self.settings.zone)

    # What comes next -------------------------------------------------------------------------------------------------

    def _following(self, current: Letter) -> Letter | None:
        try:
            return self._ready()
        except Exception:
            # The server has nothing of the current one yet: it is no matter of doubt.
            outcomes.requeue(current.delivery)
            raise

    def _ready(self) -> Letter | None:
        """Return the next recipient with the message composed, or None when the turn is over."""
        while self._may_go_on():
            candidate = self.ahead.next(now=self.clock(), daily_limit=self.settings.emails_per_day)
            if candidate is None:
                return None
            failure = self.line.open()
            if failure is not None:
                self.ended = self.aftermath.of(outcomes.classify(failure), failure) or self.ended
                return None
            letter = self.letters.write(candidate)
            if letter is not None:
                return letter
        return None

    def _may_go_on(self) -> bool:
        return time.monotonic() < self.deadline and self._may_speak()

    def _may_speak(self) -> bool:
        if self.ended:
            return False
        if time.monotonic() - self.read_at > REREAD:
            self._reread()
        return is_open(self.clock(), self.window)

    def _reread(self) -> None:
        own = EmailAccount.objects.filter(pk=self.account.pk).values(*LIMITS).first() or {}
        for name, value in own.items():
            setattr(self.account, name, value)
        self._obey(MassmailSettings.load())
        self.batch.limit = limit_on(self._day(), self.account, self.settings)

    def _obey(self, settings: MassmailSettings) -> None:
        self.settings, self.read_at = settings, time.monotonic()
        self.window = Window.of(settings, ignore_hours=self.ignore_hours)
        self.fence.obey(settings)

    # Claiming --------------------------------------------------------------------------------------------------------

    def _claimed(self, letter: Letter | None) -> Letter | None:
        """Claim `letter`, or the first after it that can be; None when the turn is over."""
        while letter is not None and not self._note_claim(self._claim_alone(letter), letter):
            letter = self._ready()
        return letter

    def _claim_alone(self, letter: Letter) -> Claim:
        before = self.batch.saved()
        try:
            return self._claim(letter)
        except LimitReached:
            self.batch.state = before
            return Claim.LIMITED
        except Exception:
            logger.exception("The claim of delivery %s failed", letter.delivery.pk)
            self.batch.state = before
            return Claim.FAILED

    def _claim(self, letter: Letter) -> Claim:
        """Claim `letter` if the hours still allow it: connecting, or the mail before it, may have taken minutes.

        However long: what is composed is sent in this turn, or a slow server would never get a mail.
        """
        return self._claim_at(self.clock(), letter) if self._may_speak() else Claim.TOO_LATE

    def _claim_at(self, now: dt.datetime, letter: Letter, *, after: Bound | None = None) -> Claim:
        return self.claims.claim(
            letter.candidate,
            message_id=letter.envelope.message_id,
            values=letter.values,
            day=local_day(now, self.settings.zone),
            now=now,
            after=after,
        )

    def _note_claim(self, claim: Claim, letter: Letter) -> bool:
        """Do what a failed claim calls for; True if it was made."""
        match claim:
            case Claim.QUOTA_USED:
                self.ended = True
            case Claim.LIMITED:
                self.ended = not self.fence.hold_back(letter.delivery, now=self.clock()) or self.ended
            case Claim.STALE:
                self._look_again(letter.delivery)
            case Claim.FAILED:
                self._postpone(letter.delivery, _("An error of the app's own, which its log describes."))
        return claim is Claim.MADE

    def _postpone(self, delivery: Delivery, why: str) -> None:
        outcomes.postpone(delivery, until=self.clock() + POSTPONED, why=why)

    def _look_again(self, delivery: Delivery) -> None:
        """Find out why a claim failed: skip or postpone the recipient if it lies there, else end the turn."""
        fresh = Delivery.objects.select_related("mailing__content_type", "mailing__version").filter(
            pk=delivery.pk, status=DeliveryStatus.QUEUED, account=self.account
        )
        found = candidates.judge(list(fresh))
        if not found and not self._still_speaks():
            self.ended = True
        for current in found:
            if current.exclusion is not None:
                self.letters.skip(current.delivery, current.exclusion)
            elif self._is_as_before(current.delivery.mailing, delivery.mailing) and self._still_speaks():
                logger.warning("Delivery %s can't be claimed", delivery.pk)
                self._postpone(delivery, _("It changed while it was being sent."))
            else:
                self.ended = True

    @staticmethod
    def _is_as_before(mailing: Mailing, before: Mailing) -> bool:
        """Tell whether a mailing still goes on, and with the version that was read ahead."""
        return mailing.status == MailingStatus.ACTIVE and mailing.version_id == before.version_id

    def _still_speaks(self) -> bool:
        """Tell whether the lease and the account's standing are as they were when the turn began."""
        account = EmailAccount.objects.filter(
            Q(hold_reason="") | Q(held_until__lte=self.clock()),
            pk=self.account.pk,
            owner=self.account.owner_id,
            massmail=True,
            main=self.account.main,
        )
        return self.lease.held().exists() and account.exists()

    # Settling --------------------------------------------------------------------------------------------------------

    def _advance(self, current: Letter, reply: Reply, following: Letter | None) -> Letter | None:
        """Settle the current delivery and claim the following one in a single commit; return what is claimed."""
        delivery, verdict, now = current.delivery, outcomes.classify(reply), self.clock()
        unhurt = verdict.ending in GOES_ON and verdict.reason != Failure.POLICY
        claim, before = None, self.batch.saved()
        try:
            if following is not None and verdict.ending is Ending.SENT and not self.fence.is_set:
                claim = self._pass_on(current, reply, verdict, following, now)
            if claim is None:
                with transaction.atomic():
                    self._settle(delivery, reply, verdict, now)
                    if following is not None and unhurt and not self.ended and not self.fence.is_set:
                        claim = self._claim(following)
        except Exception as error:
            # What went wrong with the following one must not undo what happened to this one.
            logger.exception("The claim after delivery %s failed", delivery.pk)
            self.batch.state, claim = before, Claim.FAILED
            with transaction.atomic():
                self._settle(delivery, reply, verdict, now)
            if isinstance(error, OperationalError | InterfaceError):
                raise  # The commit may have come through: only the records know how far it came.
        if self.fence.is_set and reply.phase is not Phase.DOT:
            self.fence.give_back()
        self.spoken += 1
        self.ended = self.aftermath.of(verdict, reply, delivery.mailing) or self.ended
        if claim is None or following is None:
            return self._claimed(following or self._ready())
        return following if self._note_claim(claim, following) else self._claimed(self._ready())

    def _pass_on(
        self, current: Letter, reply: Reply, verdict: outcomes.Verdict, following: Letter, now: dt.datetime
    ) -> Claim | None:
        """Settle a mail that was sent and claim the following one; None, and nothing done, if that is not all there is.

        Nearly every mail of a relay comes through here: the batch that is open has the rest.
        """
        if not (self._may_go_on() and self.batch.is_open(local_day(now, self.settings.zone))):
            return None
        delivery = current.delivery
        settled = outcomes.sent(delivery, reply, now=now)
        claim = self._claim_at(now, following, after=settled)
        if settled.rows:
            outcomes.note_sent(delivery, now=now, batch=self.batch.count(now=now))
            self.lease.lane.last_mailing = delivery.mailing_id
        else:  # somebody has given it up
            with transaction.atomic():
                self._settle(delivery, reply, verdict, now)
        return claim

    def _settle(self, delivery: Delivery, reply: Reply, verdict: outcomes.Verdict, now: dt.datetime) -> None:
        """Write what became of `delivery`; anything but "sent" closes the batch first, and is booked by itself."""
        sent = verdict.ending is Ending.SENT
        if not sent:
            self.batch.close()
        batch = self.batch.count(now=now) if sent else None
        outcomes.settle(delivery, reply, now=now, day=self._day(), batch=batch)
        if reply.phase is not Phase.DOT:
            quota.give_back(self.account, day=local_day(delivery.sending_at or now, self.settings.zone))
        self.lease.lane.last_mailing = delivery.mailing_id
        if self.account.paced:
            self._leave_a_gap(delivery, {"last_sent_at": now} if sent else {})

    def _leave_a_gap(self, delivery: Delivery, facts: dict[str, dt.datetime]) -> None:
        """Note with `facts` when the account may speak next, counted from the start of this mail."""
        pace = pacing.Pace(
            account=self.account.pk,
            gap_min=self.settings.gap_min,
            gap_max=self.settings.gap_max,
            spread_evenly=self.settings.spread_evenly,
            limit=self.batch.limit,
        )
        began = delivery.sending_at or self.clock()
        day = local_day(began, self.settings.zone)
        number = quota.used(self.account, day)
        next_at = pacing.next_at(began, pace, day=day, n=number, closes=closes_at(began, self.window))
        self.lease.note(next_at=next_at, **facts)
        self.ended = next_at > self.clock()

    def _day(self) -> dt.date:
        return local_day(self.clock(), self.settings.zone)
