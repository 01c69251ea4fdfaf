"""One account's turn at speaking: candidates are claimed, composed, handed in and settled, one after the other."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from massmail import outcomes
from massmail.choices import DeliveryStatus, Ending, Exclusion, Failure, MailingStatus, Phase, Security
from massmail.composing import Envelope, Links, new_message_id, plain_values, render, thaw
from massmail.conf import conf
from massmail.engine import candidates, claims, holds, lanes, lifecycle, pacing
from massmail.engine.candidates import Candidate
from massmail.engine.claims import Claim
from massmail.engine.window import Window, closes_at, is_open, local_day
from massmail.exceptions import CompositionError, LifecycleError
from massmail.models import Delivery, EmailAccount, Mailing, MassmailSettings
from massmail.tokens import unsubscribe_link
from massmail.transport import Connection, Endpoint, Reply, TransportError, connection_class

logger = logging.getLogger("massmail.engine")

Clock = Callable[[], dt.datetime]

#: Deliveries an unpaced account reads ahead.
AHEAD = 50
#: How long an account rests whose provider says that its sending limit is reached, but not until when: the limits of
#: Gmail and Microsoft 365 count the last 24 hours.
LIMIT_REST = dt.timedelta(hours=24)
#: How long a recipient waits at which an error of our own came up.
POSTPONED = dt.timedelta(minutes=15)
#: So many refusals by policy in a row, and the account and the mailing stop.
POLICY_LIMIT = 5
#: After these nothing keeps the next mail from leaving on the same connection.
GOES_ON = frozenset({Ending.SENT, Ending.REFUSED, Ending.RETRY})


def endpoint(account: EmailAccount) -> Endpoint:
    """Return where and how mail of `account` is handed in."""
    server = f"{account.smtp_host}:{account.smtp_port}"
    return Endpoint(
        host=account.smtp_host,
        port=account.smtp_port,
        security=Security(account.smtp_security),
        username=account.smtp_username,
        password=account.smtp_password,
        timeout=conf.smtp_timeout,
        clear_text=bool({account.smtp_host, server} & set(conf.clear_text_hosts)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A candidate with everything that sending it takes."""

    candidate: Candidate
    values: Mapping[str, Any]
    envelope: Envelope

    @property
    def delivery(self) -> Delivery:
        return self.candidate.delivery


class Turn:
    """One account's turn at speaking, under a lease. `spoken` counts the mails that were handed to the server."""

    def __init__(
        self, account: EmailAccount, settings: MassmailSettings, lease: lanes.Lease, *, clock: Clock, ignore_hours: bool
    ) -> None:
        self.account, self.settings, self.lease, self.clock = account, settings, lease, clock
        self.window = Window.of(settings, ignore_hours=ignore_hours)
        self.limit = holds.daily_limit(account, settings)
        self.claims = claims.Claims(account, lease, limit=self.limit)
        self.accounts = lanes.usable_accounts([account.owner_id])[account.owner_id]
        self.main = next((each for each in self.accounts if each.main), None)
        self.ahead: list[Candidate] = []
        self.connection: Connection | None = None
        self.deadline = time.monotonic() + conf.slice_seconds
        self.spoken = 0
        self.ended = False

    def speak(self) -> None:
        """Serve one recipient after the other until the turn ends."""
        current = self._claimed(self._ready())
        while current is not None:
            # Composed before the current one is handed in, so that nothing stands between its answer and the commit.
            following = None if self.account.paced else self._following(current)
            reply = self._hand_in(current.envelope)
            current = self._advance(current, reply, following)

    def _following(self, current: Ready) -> Ready | None:
        try:
            return self._ready()
        except Exception:
            # The server has nothing of the current one yet: it is no matter of doubt.
            outcomes.requeue(current.delivery)
            self._give_back(current.delivery)
            raise

    def _give_back(self, delivery: Delivery) -> None:
        claims.give_back(self.account, day=local_day(delivery.sending_at or self.clock(), self.settings.zone))

    def back_off(self, why: str) -> None:
        """End the turn and let the lane rest, longer with each failure in a row; `why` is empty for our own errors."""
        failures = self.lease.lane.failures + 1
        rest = self.clock() + pacing.back_off(failures)
        self.lease.note(next_at=rest, failures=failures, last_reply=why)
        self.ended = True

    # What comes next -------------------------------------------------------------------------------------------------

    def _ready(self) -> Ready | None:
        """Return the next recipient with the message composed, or None when the turn is over."""
        while self._may_go_on():
            candidate = self._next()
            if candidate is None:
                return None
            failure = self._connect()
            if failure is not None:
                self._rest(outcomes.classify(failure), failure)
                return None
            ready = None if self._pass_over(candidate) else self._compose(candidate)
            if ready is not None:
                return ready
        return None

    def _may_go_on(self) -> bool:
        return not self.ended and time.monotonic() < self.deadline and is_open(self.clock(), self.window)

    def _next(self) -> Candidate | None:
        now = self.clock()
        if not self.ahead:
            active = candidates.active_mailings(self.account.owner_id, now=now)
            mailings = candidates.in_turn(active, self.lease.lane.last_mailing)
            limit = 1 if self.account.paced else AHEAD
            self.ahead = candidates.read_ahead(self.account, mailings, limit=limit, now=now)
            if not self.ahead and any(
                lanes.assign(mailing, self.accounts, daily_limit=self.settings.emails_per_day) for mailing in mailings
            ):
                self.ahead = candidates.read_ahead(self.account, mailings, limit=limit, now=now)
        return self.ahead.pop(0) if self.ahead else None

    def _pass_over(self, candidate: Candidate) -> bool:
        """Settle a candidate that gets no mail from this account; True if that is so."""
        delivery, recipient = candidate.delivery, candidate.recipient
        if candidate.exclusion is not None:
            self._skip(delivery, candidate.exclusion)
        elif recipient is None or delivery.address not in recipient.addresses:
            lanes.hand_over(delivery, None)
        elif recipient.vip and self.main is not None and self.main.pk != self.account.pk:
            lanes.hand_over(delivery, self.main)
        elif self.account.main and not recipient.vip:
            lanes.hand_over(delivery, None)
        else:
            return False
        return True

    def _compose(self, candidate: Candidate) -> Ready | None:
        delivery, recipient, to = candidate.delivery, candidate.recipient, candidate.to
        values = self._values(candidate)
        if values is None or recipient is None or to is None:
            return None
        link = unsubscribe_link(recipient.token or "", recipient.addresses.index(delivery.address))
        version = delivery.version if delivery.version_id else delivery.mailing.version
        assert version is not None  # noqa: S101  the database sees to it
        try:
            envelope = render(
                thaw(version),
                sender=self.account,
                to=to.typed,
                values=values,
                message_id=delivery.message_id or new_message_id(self.account.domain),
                links=Links(unsubscribe=link),
            )
        except CompositionError as error:
            self._skip(delivery, Exclusion.NOT_PERSONAL, str(error))
            return None
        return Ready(candidate=candidate, values=values, envelope=envelope)

    def _values(self, candidate: Candidate) -> Mapping[str, Any] | None:
        """Return what is filled in. None, and the delivery skipped, if the host can't say."""
        delivery = candidate.delivery
        try:
            return plain_values(candidate.recipient_type.values(candidate.obj))
        except DatabaseError:
            raise  # not this recipient's fault
        except Exception as error:
            # The host's own code: one broken record must not stop the lane.
            logger.exception("values() of %s failed for %s", candidate.recipient_type.model, delivery.object_id)
            self._skip(delivery, Exclusion.NOT_PERSONAL, repr(error))
            return None

    def _skip(self, delivery: Delivery, reason: Exclusion, reply: str = "") -> None:
        outcomes.skip(delivery, reason, lane=self.lease.lane, day=self._day(), reply=reply)

    # Claiming and handing in -----------------------------------------------------------------------------------------

    def _claimed(self, ready: Ready | None) -> Ready | None:
        """Claim `ready`, or the first after it that can be; None when the turn is over."""
        while ready is not None and not self._note_claim(self._claim(ready), ready):
            ready = self._ready()
        return ready

    def _claim(self, ready: Ready) -> Claim:
        """Claim `ready` if the hours still allow it: connecting, or the mail before it, may have taken minutes."""
        if not self._may_go_on():
            return Claim.TOO_LATE
        try:
            # A savepoint: an error here must not undo the settlement that shares the transaction.
            with transaction.atomic():
                return self.claims.claim(
                    ready.candidate,
                    message_id=ready.envelope.message_id,
                    values=ready.values,
                    day=self._day(),
                    now=self.clock(),
                )
        except Exception:
            logger.exception("The claim of delivery %s failed", ready.delivery.pk)
            return Claim.FAILED

    def _note_claim(self, claim: Claim, ready: Ready) -> bool:
        """Do what a failed claim calls for; True if it was made."""
        match claim:
            case Claim.QUOTA_USED | Claim.TOO_LATE:
                self.ended = True
            case Claim.STALE:
                self._look_again(ready.delivery)
            case Claim.FAILED:
                self._postpone(ready.delivery, _("An error of the app's own, which its log describes."))
        return claim is Claim.MADE

    def _postpone(self, delivery: Delivery, why: str) -> None:
        outcomes.postpone(delivery, until=self.clock() + POSTPONED, why=why)

    def _look_again(self, delivery: Delivery) -> None:
        """Find out why a claim failed: skip or postpone the recipient if it lies there, else end the turn."""
        fresh = Delivery.objects.select_related("mailing__content_type", "mailing__version").filter(
            pk=delivery.pk, status=DeliveryStatus.QUEUED, account=self.account
        )
        for current in candidates.judge(list(fresh)):
            if current.exclusion is not None:
                self._skip(current.delivery, current.exclusion)
            elif current.delivery.mailing.status == MailingStatus.ACTIVE and self._still_speaks():
                logger.warning("Delivery %s can't be claimed", delivery.pk)
                self._postpone(delivery, _("It changed while it was being sent."))
            else:
                self.ended = True

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

    def _hand_in(self, envelope: Envelope) -> Reply:
        failure = self._connect()  # the server may have closed after its last answer
        if failure is not None or self.connection is None:
            return failure or Reply(phase=Phase.CONNECT, code=None, text="")
        try:
            return self.connection.deliver(sender=envelope.sender, to=envelope.to, data=envelope.data)
        except TransportError as error:
            return error.reply

    def _advance(self, current: Ready, reply: Reply, following: Ready | None) -> Ready | None:
        """Settle the current delivery and claim the following one in a single commit; return what is claimed."""
        delivery, claim = current.delivery, None
        with transaction.atomic():
            verdict = outcomes.settle(delivery, reply, now=self.clock(), day=self._day())
            if reply.phase is not Phase.DOT:
                self._give_back(delivery)
            self._set_pace(delivery)
            unhurt = verdict.ending in GOES_ON and verdict.reason != Failure.POLICY
            if following is not None and unhurt and not self.ended:
                claim = self._claim(following)
        self.spoken += 1
        self._rest(verdict, reply, delivery.mailing)
        if claim is None or following is None:
            return self._claimed(following or self._ready())
        return following if self._note_claim(claim, following) else self._claimed(self._ready())

    def _connect(self) -> Reply | None:
        """Have a connection open, before anybody is claimed, so that a dead server harms nobody; return what failed."""
        if self.connection is not None and self.connection.usable:
            return None
        self.close()
        connection = connection_class()(endpoint(self.account))
        try:
            connection.open()
        except TransportError as error:
            return error.reply
        self.connection = connection
        return None

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    # What follows ----------------------------------------------------------------------------------------------------

    def _set_pace(self, delivery: Delivery) -> None:
        """Note whose turn it was, and when a paced account may speak next, counted from the start of this mail."""
        self.lease.lane.last_mailing = delivery.mailing_id
        if not self.account.paced:
            return
        pace = pacing.Pace(
            account=self.account.pk,
            gap_min=self.settings.gap_min,
            gap_max=self.settings.gap_max,
            spread_evenly=self.settings.spread_evenly,
            limit=self.limit,
        )
        began = delivery.sending_at or self.clock()
        day = local_day(began, self.settings.zone)
        number = claims.used(self.account, day)
        next_at = pacing.next_at(began, pace, day=day, n=number, closes=closes_at(began, self.window))
        self.lease.note(next_at=next_at)
        self.ended = next_at > self.clock()

    def _rest(self, verdict: outcomes.Verdict, reply: Reply, mailing: Mailing | None = None) -> None:
        """Do what a reply calls for beyond the delivery itself: let the lane, the account or the mailing rest."""
        match verdict.ending:
            case Ending.SERVER | Ending.UNKNOWN:
                self.back_off(str(reply))
            case Ending.ACCOUNT:
                outcomes.hold_account(self.account, str(reply))
                self.ended = True
            case Ending.LIMIT:
                outcomes.hold_account(self.account, str(reply), until=self.clock() + LIMIT_REST)
                self.ended = True
            case Ending.MESSAGE if mailing is not None:
                self._pause(mailing, _("The server refuses this message: %s") % reply)
            case Ending.REFUSED if verdict.reason == Failure.POLICY and mailing is not None:
                self._refused_by_policy(mailing, reply)
            case _ if self.lease.lane.failures or self.lease.lane.refusals:
                self.lease.note(failures=0, refusals=0, last_reply="")

    def _refused_by_policy(self, mailing: Mailing, reply: Reply) -> None:
        """Count refusals in a row; at the limit stop the account and the mailing before more harm is done."""
        refusals = self.lease.lane.refusals + 1
        if refusals < POLICY_LIMIT:
            self.lease.note(failures=0, refusals=refusals)
            return
        self.lease.note(refusals=0)
        advice = _("%(count)s mails in a row were refused by policy, at last with: %(reply)s") % {
            "count": refusals,
            "reply": reply,
        }
        outcomes.hold_account(self.account, advice)
        self._pause(mailing, advice)
        self.ended = True

    def _pause(self, mailing: Mailing, reason: str) -> None:
        with suppress(LifecycleError):  # somebody was quicker
            lifecycle.pause(mailing, by=None, reason=reason)
        self.ahead.clear()

    def _day(self) -> dt.date:
        return local_day(self.clock(), self.settings.zone)
