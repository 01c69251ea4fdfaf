"""Sending: the tick that finds who may speak, and the run of one lane. Both may run twice at once."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail import outcomes
from massmail.choices import DeliveryStatus, Ending, Exclusion, MailingStatus, Phase, Security
from massmail.composing import Envelope, Links, new_message_id, render, thaw
from massmail.conf import conf
from massmail.engine import claims, holds, lanes, lifecycle, pacing
from massmail.engine.window import Window, closes_at, is_open, local_day
from massmail.exceptions import CompositionError, LifecycleError
from massmail.models import Delivery, EmailAccount, Heartbeat, Mailing, MassmailSettings
from massmail.tokens import unsubscribe_link
from massmail.transport import Connection, Endpoint, Reply, TransportError, connection_class

logger = logging.getLogger("massmail.engine")

Clock = Callable[[], dt.datetime]

#: Deliveries an unpaced lane reads ahead.
AHEAD = 50
#: How long an account rests whose provider says that its sending limit is reached, but not until when: the limits of
#: Gmail and Microsoft 365 count the last 24 hours.
LIMIT_REST = dt.timedelta(hours=24)


# Tick -----------------------------------------------------------------------------------------------------------------


def tick(*, clock: Clock = timezone.now, ignore_hours: bool = False) -> list[int]:
    """Put the house in order and return the accounts that may speak now and have something to say.

    The number of queries depends on how many mailings need another chunk assigned, on nothing else.
    """
    now = clock()
    settings = MassmailSettings.load()
    Heartbeat.objects.update_or_create(name="tick", defaults={"at": timezone.now()})
    outcomes.doubt(lanes.lost(), day=local_day(now, settings.zone))
    lanes.unassign_unusable()
    lifecycle.finish(now=now)
    started = Q(start_at__isnull=True) | Q(start_at__lte=now)
    active = list(Mailing.objects.filter(started, status=MailingStatus.ACTIVE))
    if not active or holds.deployment_hold(settings):
        return []
    accounts = lanes.usable_accounts(mailing.owner_id for mailing in active)
    _assign(active, accounts, settings, now=now)
    speakers = {key for queued in lanes.work(active, now=now).values() for key, is_due in queued.items() if is_due}
    willing = [account for owned in accounts.values() for account in owned if account.pk in speakers]
    resting = holds.account_holds(willing, now=now, settings=settings, ignore_hours=ignore_hours)
    return [account.pk for account in willing if resting[account.pk] is None]


def _assign(
    active: Sequence[Mailing], accounts: dict[Any, list[EmailAccount]], settings: MassmailSettings, *, now: dt.datetime
) -> None:
    """Give accounts that have run dry another chunk of the mailings that have one."""
    for mailing, queued in zip(active, lanes.work(active, now=now).values(), strict=True):
        owned = accounts[mailing.owner_id]
        takers = [account for account in owned if not account.main] or owned
        if None in queued and any(account.pk not in queued for account in takers):
            lanes.assign(mailing, owned, daily_limit=settings.emails_per_day)


# One lane -------------------------------------------------------------------------------------------------------------


def run_lane(account_id: int, *, clock: Clock = timezone.now, ignore_hours: bool = False) -> int:
    """Let the account speak: one mail if it is paced, as many as fit into a slice of time if not.

    Returns how many mails were handed to the server. A no-op if the account may not speak or another worker has its
    lane.
    """
    account = EmailAccount.objects.filter(pk=account_id).first()
    settings = MassmailSettings.load()
    if account is None or holds.deployment_hold(settings):
        return 0
    now = clock()
    if holds.account_holds([account], now=now, settings=settings, ignore_hours=ignore_hours)[account.pk]:
        return 0
    lease = lanes.acquire(account, now=now)
    if lease is None:
        return 0
    with lease:
        outcomes.doubt(lanes.lost(lease.lane), day=local_day(now, settings.zone))
        turn = _Turn(account, settings, lease, clock=clock, ignore_hours=ignore_hours)
        try:
            turn.speak()
        except Exception as error:
            # An error of our own or of the host's, unforeseen: the lane rests, and its page says why.
            logger.exception("The turn of account %s broke off", account.pk)
            turn.back_off(f"{type(error).__name__}: {error}")
        finally:
            turn.close()
    return turn.spoken


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


class _Turn:
    """One account's turn at speaking, under a lease."""

    def __init__(
        self, account: EmailAccount, settings: MassmailSettings, lease: lanes.Lease, *, clock: Clock, ignore_hours: bool
    ) -> None:
        self.account, self.settings, self.lease, self.clock = account, settings, lease, clock
        self.window = Window.of(settings, ignore_hours=ignore_hours)
        self.limit = holds.daily_limit(account, settings)
        owned = lanes.usable_accounts([account.owner_id])[account.owner_id]
        self.owned = owned
        self.main = next((each for each in owned if each.main), None)
        self.ahead: list[claims.Candidate] = []
        self.connection: Connection | None = None
        self.spoken = 0
        self.ended = False

    def speak(self) -> None:
        """Serve one candidate after the other until the turn ends."""
        deadline = time.monotonic() + conf.slice_seconds
        while not self.ended and time.monotonic() < deadline:
            if not is_open(self.clock(), self.window):
                return
            candidate = self._next()
            if candidate is None:
                return
            if not self._pass_over(candidate) and self._connect():
                self._serve(candidate)

    def back_off(self, why: str) -> None:
        """End the turn and let the lane rest, longer with each failure in a row."""
        failures = self.lease.lane.failures + 1
        rest = self.clock() + pacing.back_off(failures)
        self.lease.note(next_at=rest, failures=failures, last_reply=why)
        self.ended = True

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _next(self) -> claims.Candidate | None:
        now = self.clock()
        if not self.ahead:
            mailings = claims.in_turn(
                claims.active_mailings(self.account.owner_id, now=now), self.lease.lane.last_mailing
            )
            limit = 1 if self.account.paced else AHEAD
            self.ahead = claims.read_ahead(self.account, mailings, limit=limit, now=now)
            if not self.ahead and any(
                lanes.assign(mailing, self.owned, daily_limit=self.settings.emails_per_day) for mailing in mailings
            ):
                self.ahead = claims.read_ahead(self.account, mailings, limit=limit, now=now)
        return self.ahead.pop(0) if self.ahead else None

    def _pass_over(self, candidate: claims.Candidate) -> bool:
        """Settle a candidate that gets no mail from this account; True if that is so."""
        delivery, recipient = candidate.delivery, candidate.recipient
        if candidate.exclusion is not None:
            outcomes.skip(delivery, candidate.exclusion, day=self._day())
            return True
        if recipient is None or delivery.address not in recipient.addresses:
            lanes.hand_over(delivery, None)
            return True
        proper = self.main if recipient.vip and self.main is not None else None
        if recipient.vip and proper is not None and proper.pk != self.account.pk:
            lanes.hand_over(delivery, proper)
            return True
        if self.account.main and not recipient.vip:
            lanes.hand_over(delivery, None)
            return True
        return False

    def _connect(self) -> bool:
        """Open the connection before anybody is claimed, so that a dead server harms nobody."""
        if self.connection is not None and self.connection.usable:
            return True
        self.close()
        connection = connection_class()(endpoint(self.account))
        try:
            connection.open()
        except TransportError as error:
            self._rest(outcomes.classify(error.reply), error.reply)
            return False
        self.connection = connection
        return True

    def _serve(self, candidate: claims.Candidate) -> None:
        now, day = self.clock(), self._day()
        values = self._values(candidate)
        envelope = None if values is None else self._compose(candidate, values)
        if values is None or envelope is None:
            return
        try:
            claimed = claims.claim(
                candidate,
                account=self.account,
                lease=self.lease,
                envelope=envelope,
                values=values,
                limit=self.limit,
                day=day,
                now=now,
            )
        except claims.QuotaUsed:
            self.ended = True
            return
        if not claimed:
            self._look_again(candidate)
            return
        reply = self._hand_in(envelope)
        with transaction.atomic():
            verdict = outcomes.settle(candidate.delivery, reply, now=self.clock(), day=day)
            if reply.phase is not Phase.DOT:
                claims.give_back(self.account, day=day)
            self._note(candidate.delivery.mailing, now=now, day=day)
        self.spoken += 1
        self._rest(verdict, reply, candidate.delivery.mailing)

    def _hand_in(self, envelope: Envelope) -> Reply:
        assert self.connection is not None  # noqa: S101
        try:
            return self.connection.deliver(sender=envelope.sender, to=envelope.to, data=envelope.data)
        except TransportError as error:
            return error.reply

    def _values(self, candidate: claims.Candidate) -> Mapping[str, Any] | None:
        """Return what is filled in, on a retry the same as before. None, and the delivery skipped, if it fails."""
        delivery = candidate.delivery
        if delivery.message_id and delivery.values is not None:
            return delivery.values
        try:
            return dict(candidate.recipient_type.values(candidate.obj))
        except Exception as error:
            logger.exception("values() of %s failed for %s", candidate.recipient_type.model, delivery.object_id)
            outcomes.skip(delivery, Exclusion.NOT_PERSONAL, day=self._day(), reply=repr(error))
            return None

    def _compose(self, candidate: claims.Candidate, values: Mapping[str, Any]) -> Envelope | None:
        delivery, recipient, to = candidate.delivery, candidate.recipient, candidate.to
        assert recipient is not None and recipient.token and to is not None  # noqa: S101, PT018
        link = unsubscribe_link(recipient.token, recipient.addresses.index(delivery.address))
        version = delivery.version if delivery.version_id else delivery.mailing.version
        assert version is not None  # noqa: S101  the database sees to it
        try:
            return render(
                thaw(version),
                sender=self.account,
                to=to.typed,
                values=values,
                message_id=delivery.message_id or new_message_id(self.account.domain),
                links=Links(unsubscribe=link),
            )
        except CompositionError as error:
            outcomes.skip(delivery, Exclusion.NOT_PERSONAL, day=self._day(), reply=str(error))
            return None

    def _look_again(self, candidate: claims.Candidate) -> None:
        """Find out why a claim failed: skip the recipient if it lies there, else end the turn."""
        delivery = candidate.delivery
        fresh = Delivery.objects.select_related("mailing__content_type", "mailing__version").filter(
            pk=delivery.pk, status=DeliveryStatus.QUEUED, account=self.account
        )
        for current in claims.judge(list(fresh)):
            if current.exclusion is not None:
                outcomes.skip(current.delivery, current.exclusion, day=self._day())
                return
        self.ended = True

    def _note(self, mailing: Mailing, *, now: dt.datetime, day: dt.date) -> None:
        """Write down whose turn it was and when the lane may speak next."""
        next_at = None
        if self.account.paced:
            pace = pacing.Pace(
                account=self.account.pk,
                gap_min=self.settings.gap_min,
                gap_max=self.settings.gap_max,
                spread_evenly=self.settings.spread_evenly,
                limit=self.limit,
            )
            number = claims.used(self.account, day)
            next_at = pacing.next_at(now, pace, day=day, n=number, closes=closes_at(now, self.window))
            self.ended = next_at > now
        self.lease.note(next_at=next_at, last_mailing=mailing.pk)

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
                self._pause(mailing, reply)
            case _ if self.lease.lane.failures:
                self.lease.note(failures=0, last_reply="")

    def _pause(self, mailing: Mailing, reply: Reply) -> None:
        with suppress(LifecycleError):  # somebody was quicker
            lifecycle.pause(mailing, by=None, reason=_("The server refuses this message: %s") % reply)
        self.ahead.clear()

    def _day(self) -> dt.date:
        return local_day(self.clock(), self.settings.zone)
