"""Lanes: who may speak (leases), and who is spoken to (which account serves which recipient)."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connection, models, transaction
from django.db.models import DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Now

from massmail import outcomes
from massmail.choices import AuditAction, DeliveryStatus, MailingStatus
from massmail.conf import conf
from massmail.engine.rotation import Turns
from massmail.models import Delivery, EmailAccount, Lane, Mailing, Recipient
from massmail.models.mailings import audit
from massmail.outcomes.standing import with_object_id
from massmail.recipient_types import type_for
from massmail.tokens import new_token

#: Deliveries that are given to accounts at a time: starting a mailing of a million costs nothing.
CHUNK = 1000
LONGEST_REST = dt.timedelta(days=1)


# Leases ---------------------------------------------------------------------------------------------------------------


def _lease_end() -> ExpressionWrapper:
    """The end of a lease taken now, on the database's clock, which all workers share."""
    length = Value(dt.timedelta(seconds=conf.lease_seconds), output_field=models.DurationField())
    return ExpressionWrapper(Now() + length, output_field=DateTimeField())


class Lease:
    """The sole right to speak for a lane. As a context manager it renews itself while the worker waits for a server."""

    def __init__(self, lane: Lane, token: str) -> None:
        self.lane = lane
        self.token = token
        self._released = threading.Event()

    def held(self) -> QuerySet[Lane]:
        """Return the lane's row if the lease is still ours, for `Exists()` in a claim."""
        return Lane.objects.filter(pk=self.lane.pk, lease_token=self.token, lease_until__gt=Now())

    def renew(self) -> bool:
        """Prolong the lease if it is still ours."""
        return bool(self.held().update(lease_until=_lease_end()))

    def note(self, **fields: Any) -> bool:
        """Write `fields` of the lane (`next_at`, `failures`, …); False if somebody else has taken it."""
        ours = Lane.objects.filter(pk=self.lane.pk, lease_token=self.token).update(**fields)
        for name, value in fields.items():
            setattr(self.lane, name, value)
        return bool(ours)

    def release(self) -> None:
        """Give the lane back, and write down whose turn it was."""
        self.note(last_mailing=self.lane.last_mailing, lease_token="", lease_until=None)

    def __enter__(self) -> Lease:
        threading.Thread(target=self._keep, name=f"lease-{self.lane.pk}", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._released.set()
        self.release()

    def _keep(self) -> None:
        try:
            while not self._released.wait(conf.lease_seconds / 3):
                if not self.renew():
                    return
        finally:
            connection.close()


def free() -> Q:
    """Return the condition under which nobody speaks for a lane."""
    return Q(lease_until__isnull=True) | Q(lease_until__lte=Now())


def acquire(account: EmailAccount, *, now: dt.datetime, slot: int = 0) -> Lease | None:
    """Take the lease of a lane of `account` that may speak at `now`; None if it may not or another worker has it."""
    token = secrets.token_hex(8)
    lanes = Lane.objects.filter(account=account, slot=slot)
    # Nothing lets a lane wait for more than a day: a later time was written by a clock that was ahead.
    may_speak = Q(next_at__isnull=True) | Q(next_at__lte=now) | Q(next_at__gt=now + LONGEST_REST)
    willing = lanes.filter(free(), may_speak)
    lease = {"lease_token": token, "lease_until": _lease_end(), "taken_at": now, "offered_at": None}
    if not willing.update(**lease):
        _lane, created = Lane.objects.get_or_create(account=account, slot=slot)
        if not created or not willing.update(**lease):
            return None
    return Lease(lanes.get(), token)


def lost(lane: Lane | None = None) -> QuerySet[Delivery]:
    """Return deliveries in `sending` whose worker is gone: their lane's lease ran out, or the lane itself was deleted.

    With `lane`, of which the caller has just taken the lease: all that an earlier holder left behind.
    """
    sending = Delivery.objects.filter(status=DeliveryStatus.SENDING)
    if lane is not None:
        return sending.filter(lane=lane)
    return sending.filter(Q(lane__isnull=True) | Q(lane__lease_until__isnull=True) | Q(lane__lease_until__lte=Now()))


# Assignment -----------------------------------------------------------------------------------------------------------


def usable_accounts(owner_ids: Iterable[Any]) -> dict[Any, list[EmailAccount]]:
    """Return the accounts marked *Massmail* by owner, the main one first."""
    accounts: dict[Any, list[EmailAccount]] = defaultdict(list)
    for account in EmailAccount.objects.filter(owner__in=set(owner_ids), massmail=True).order_by("-main", "pk"):
        accounts[account.owner_id].append(account)
    return accounts


def work(mailings: Sequence[Mailing], *, now: dt.datetime) -> dict[int, dict[int | None, bool]]:
    """Return what is queued for whom: by mailing, the owner's accounts with queued deliveries and whether one is due.

    The key None stands for deliveries that no account has been given yet. One query, whatever the numbers.
    """
    queued = Delivery.objects.filter(mailing=OuterRef("pk"), status=DeliveryStatus.QUEUED)
    mine = queued.filter(account=OuterRef("owner__massmail_accounts"))
    ready = Q(not_before__isnull=True) | Q(not_before__lte=now)
    rows = (
        Mailing.objects.filter(pk__in=[mailing.pk for mailing in mailings])
        .order_by()
        .annotate(
            mm_account=F("owner__massmail_accounts"),
            mm_unassigned=Exists(queued.filter(account=None)),
            mm_queued=Exists(mine),
            mm_due=Exists(mine.filter(ready)),
        )
        .values_list("pk", "mm_account", "mm_unassigned", "mm_queued", "mm_due")
    )
    found: dict[int, dict[int | None, bool]] = {mailing.pk: {} for mailing in mailings}
    for mailing_id, account_id, unassigned, is_queued, is_due in rows:
        if unassigned:
            found[mailing_id][None] = True
        if is_queued:
            found[mailing_id][account_id] = is_due
    return found


def hand_over(delivery: Delivery, account: EmailAccount | None) -> None:
    """Give a queued delivery to `account`, or to nobody, so that the next chunk takes it along."""
    Delivery.objects.filter(pk=delivery.pk, status=DeliveryStatus.QUEUED).update(account=account)


def unassign_unusable(mailings: Sequence[Mailing]) -> int:
    """Take queued deliveries of `mailings` away from accounts that may not send them; return how many.

    These are accounts that are off, that are no longer the owner's, or main ones of recipients that are no VIPs.
    """
    by_key = {mailing.pk: mailing for mailing in mailings}
    queued = Delivery.objects.filter(status=DeliveryStatus.QUEUED)
    # Read first, and written for the few pairs that need it: as one statement it looked at every row, each tick.
    given = queued.filter(mailing__in=by_key, account__isnull=False).order_by()
    pairs = list(given.values_list("mailing_id", "account_id").distinct())
    accounts = EmailAccount.objects.in_bulk({account_id for _mailing_id, account_id in pairs if account_id})
    count = 0
    for mailing_id, account_id in pairs:
        mailing, account = by_key[mailing_id], accounts.get(account_id or 0)
        rows = queued.filter(mailing=mailing_id, account=account_id)
        if account is None or not account.massmail or account.owner_id != mailing.owner_id:
            count += rows.update(account=None)
        elif account.main:
            vip = Recipient.objects.filter(
                content_type=mailing.content_type_id, object_id=OuterRef("object_id"), vip=True
            )
            count += rows.filter(~Exists(vip)).update(account=None)
    return count


def assign(mailing: Mailing, accounts: Sequence[EmailAccount], *, daily_limit: int) -> int:
    """Give the next chunk of queued deliveries of `mailing` to `accounts` of its owner; return how many were given.

    VIP recipients go to the main account as long as it is among `accounts`. All others keep the account they have, or
    get one of the others in proportion to the daily limits (`daily_limit` where an account has none of its own).
    """
    main = next((account for account in accounts if account.main), None)
    others = [account for account in accounts if not account.main]
    waiting = Delivery.objects.filter(mailing=mailing, account=None, status=DeliveryStatus.QUEUED)
    if not others:
        if main is None:
            return 0
        vips = Recipient.objects.filter(content_type=mailing.content_type_id, vip=True)
        waiting = waiting.filter(object_id__in=vips.values("object_id"))
    chunk = list(waiting.order_by("pk").values_list("pk", "object_id", "address")[:CHUNK])
    if not chunk:
        return 0
    with transaction.atomic():
        outcomes.lock_recipients(mailing.content_type_id)
        recipients = _recipients(mailing, chunk)
        served: dict[int, list[int]] = defaultdict(list)
        newly: dict[int, list[int]] = defaultdict(list)
        turns = Turns(weights(others, daily_limit), start=chunk[0][0])
        allowed = {account.pk for account in others}
        for key, object_id, _address in chunk:
            recipient = recipients[object_id]
            if recipient.vip and main is not None:
                served[main.pk].append(key)
                continue
            if recipient.account_id not in allowed:
                recipient.account_id = turns.next()
                newly[recipient.account_id].append(recipient.pk)
            served[recipient.account_id].append(key)
        for account_id, keys in newly.items():
            Recipient.objects.filter(pk__in=keys).update(account=account_id)
        for account_id, keys in served.items():
            waiting.model.objects.filter(pk__in=keys, account=None, status=DeliveryStatus.QUEUED).update(
                account=account_id
            )
    return len(chunk)


def weights(accounts: Sequence[EmailAccount], daily_limit: int) -> dict[int, int]:
    """Return the shares in which new recipients are spread over `accounts`: their daily limits, by primary key."""
    return {account.pk: account.emails_per_day or daily_limit for account in accounts}


@dataclass(slots=True, kw_only=True)
class _Known:
    """What `assign` needs of a recipient: a thousand model instances take longer than all its queries."""

    pk: int
    vip: bool
    account_id: int | None
    token: str | None
    addresses: list[str]


def _recipients(mailing: Mailing, chunk: Sequence[tuple[int, str, str]]) -> dict[str, _Known]:
    """Return the recipients of `chunk` by object id, made where missing, each knowing its token and addresses."""
    addresses: dict[str, list[str]] = defaultdict(list)
    for _key, object_id, address in chunk:
        addresses[object_id].append(address)
    recipients = _known(mailing, addresses)
    missing = [object_id for object_id in addresses if object_id not in recipients]
    if missing:
        Recipient.objects.bulk_create(
            [
                Recipient(
                    content_type_id=mailing.content_type_id,
                    object_id=object_id,
                    token=new_token(),
                    addresses=addresses[object_id],
                )
                for object_id in missing
            ],
            ignore_conflicts=True,
        )
        recipients |= _known(mailing, missing)
    changed = []
    for object_id, recipient in recipients.items():
        new = [address for address in addresses[object_id] if address not in recipient.addresses]
        if new or not recipient.token:
            recipient.addresses = [*recipient.addresses, *new]
            recipient.token = recipient.token or new_token()
            changed.append(Recipient(pk=recipient.pk, addresses=recipient.addresses, token=recipient.token))
    if changed:
        Recipient.objects.bulk_update(changed, ["addresses", "token"], batch_size=200)
    return recipients


def _known(mailing: Mailing, object_ids: Iterable[str]) -> dict[str, _Known]:
    rows = Recipient.objects.filter(content_type=mailing.content_type_id, object_id__in=object_ids)
    return {
        object_id: _Known(pk=key, vip=vip, account_id=account_id, token=token, addresses=addresses)
        for object_id, key, vip, account_id, token, addresses in rows.values_list(
            "object_id", "pk", "vip", "account_id", "token", "addresses"
        )
    }


def set_vip(recipients: QuerySet[Any], *, vip: bool, by: Any) -> int:
    """Mark the host objects `recipients` as VIP or not, and let what is queued for them find its account anew.

    Returns how many changed; a constant number of queries.
    """
    recipient_type = type_for(recipients.model)
    content_type = ContentType.objects.get_for_model(recipient_type.model_class)
    objects = with_object_id(recipient_type.model_class._default_manager.filter(pk__in=recipients.values("pk")))
    unended = Mailing.objects.filter(
        content_type=content_type, status__in=[MailingStatus.DRAFT, MailingStatus.ACTIVE, MailingStatus.PAUSED]
    )
    main = EmailAccount.objects.filter(owner__massmail_mailings=OuterRef("mailing_id"), main=True, massmail=True)
    with transaction.atomic():
        outcomes.lock_recipients(content_type.pk)
        changed = outcomes.mark_vip(recipients, vip=vip)
        queued = Delivery.objects.filter(mailing__in=unended, status=DeliveryStatus.QUEUED)
        queued.filter(object_id__in=objects.values("mm_object_id")).update(
            account=Subquery(main.values("pk")[:1]) if vip else None
        )
        if changed:
            audit(
                AuditAction.MARKED_VIP if vip else AuditAction.UNMARKED_VIP,
                by=by,
                text=f"{recipient_type.model_class._meta.verbose_name_plural}: {changed}",
            )
    return changed
