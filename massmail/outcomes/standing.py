"""The standing of recipients: VIP or not, subscribed or not, addresses that get no more mail.

Three places may say no: the address's suppression, the recipient, the host's own flag. Any "no" wins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Cast
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail.choices import AuditAction, DeliveryStatus, SuppressionReason
from massmail.models import Delivery, Recipient, Suppression
from massmail.models.bulk import insert_select
from massmail.models.mailings import audit
from massmail.outcomes import figures
from massmail.recipient_types import RecipientType, find_type, recipient_types, type_for
from massmail.signals import address_suppressed

#: What `massmail.tokens` puts into links: a token, and the position of the address where it is not the first.
TOKEN = re.compile(r"(?P<token>[A-Za-z0-9_-]{1,32})(?:\.(?P<position>[0-9]{1,4}))?")


def mark_vip(recipients: QuerySet[Any], *, vip: bool) -> int:
    """Mark the host objects in `recipients` as VIP, or not, in three statements; return how many rows changed."""
    recipient_type = type_for(recipients.model)
    content_type = ContentType.objects.get_for_model(recipient_type.model_class)
    objects = with_object_id(recipient_type.model_class._default_manager.filter(pk__in=recipients.values("pk")))
    known = Recipient.objects.filter(content_type=content_type, object_id__in=objects.values("mm_object_id"))
    with transaction.atomic():
        lock_recipients(content_type.pk)
        changed = known.exclude(vip=vip).update(vip=vip)
        if vip:
            changed += insert_select(
                Recipient,
                objects.order_by(),
                columns={"object_id": "mm_object_id"},
                constants={
                    "content_type_id": content_type.pk,
                    "vip": True,
                    "subscribed": True,
                    "addresses": Value([], models.JSONField()),
                },
            )
    return changed


def lock_recipients(content_type_id: int) -> None:
    """Until the end of the transaction, be the only one that writes many recipients of this type.

    Two that do so at once lock the same rows in different orders, and PostgreSQL ends one of them as a deadlock.
    """
    ContentType.objects.select_for_update(no_key=True).filter(pk=content_type_id).first()


def with_object_id(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Annotate host objects with their key as the text that `Recipient` and `Delivery` keep."""
    return queryset.annotate(mm_object_id=Cast("pk", models.CharField(max_length=64)))


def suppress(address: str, reason: SuppressionReason, *, source: str) -> bool:
    """Put `address` (normalised) on the suppression list; False if it was there already. The first reason stays."""
    _row, created = Suppression.objects.get_or_create(address=address, defaults={"reason": reason, "source": source})
    if created:
        transaction.on_commit(lambda: address_suppressed.send_robust(Suppression, address=address, reason=reason))
    return created


@transaction.atomic
def lift(suppression: Suppression, *, by: Any, why: str = "") -> None:
    """Take an address off the list, and back the opt-outs made through links to it; logged with who did it and `why`.

    If the address was listed for another reason, opt-outs stay. The host's own flag stays in any case: it belongs to
    the host, and still wins.
    """
    audit(AuditAction.SUPPRESSION_LIFTED, by=by, text=": ".join(filter(None, [suppression.address, why])))
    if suppression.reason == SuppressionReason.UNSUBSCRIBED:
        opted_out = Recipient.objects.filter(subscribed=False, addresses__icontains=suppression.address)
        keys = [recipient.pk for recipient in opted_out if suppression.address in recipient.addresses]
        Recipient.objects.filter(pk__in=keys).update(subscribed=True)
    suppression.delete()


def find_recipient(token: str) -> tuple[Recipient, str] | None:
    """Return the recipient and the address behind the `token` of a link, or None where it leads nowhere."""
    match = TOKEN.fullmatch(token)
    recipient = match and Recipient.objects.filter(token=match["token"]).first()
    if not match or not recipient:
        return None
    position = int(match["position"] or 0)
    return (recipient, recipient.addresses[position]) if position < len(recipient.addresses) else None


@transaction.atomic
def unsubscribe(recipient: Recipient, address: str, *, source: str) -> None:
    """Carry out that `recipient` wants no more mail at `address` (normalised). Doing it twice changes nothing.

    The address is suppressed, the recipient and every host object with that address are unsubscribed, the host's own
    flags follow, and the last mail sent there notes when it happened.
    """
    lock_recipients(recipient.content_type_id)
    suppress(address, SuppressionReason.UNSUBSCRIBED, source=source)
    Recipient.objects.filter(pk=recipient.pk).update(subscribed=False)
    for recipient_type in recipient_types():
        _unsubscribe_objects(recipient_type, address)
    model = recipient.content_type.model_class()
    own_type = find_type(model) if model else None
    if own_type is not None:
        own = own_type.model_class._default_manager.filter(pk=own_type.to_pk(recipient.object_id))
        own_type.set_subscribed(own, False)
    last = (
        Delivery.objects.filter(object_id=recipient.object_id, address=address, status=DeliveryStatus.SENT)
        .filter(mailing__content_type=recipient.content_type)
        .order_by("-sent_at")
        .first()
    )
    if last is not None and last.unsubscribed_at is None:
        noted = Delivery.objects.filter(pk=last.pk, unsubscribed_at=None).update(unsubscribed_at=timezone.now())
        figures.add(last.mailing_id, unsubscribed=noted)


@transaction.atomic
def unsubscribe_by_hand(obj: Any, addresses: Sequence[str], *, by: Any) -> None:
    """Carry out what the host object `obj` told `by`: no more mail at any of its `addresses` (normalised)."""
    recipient, own = _standing_of(obj)
    for address in addresses:
        unsubscribe(recipient, address, source=_("Entered by %(user)s") % {"user": by})
    Recipient.objects.filter(pk=recipient.pk).update(subscribed=False)
    type_for(obj).set_subscribed(own, False)
    audit(AuditAction.UNSUBSCRIBED, by=by, text=": ".join([str(obj), *addresses]))


@transaction.atomic
def subscribe_again(obj: Any, addresses: Sequence[str], *, by: Any, why: str) -> None:
    """Let the host object `obj` have mail again, because it asked for it; logged with who did it and `why`.

    Takes back what unsubscribing did to `obj` and its `addresses` (normalised), and nothing that somebody else with
    the same address said for himself. An address that is suppressed for another reason stays so.
    """
    recipient, own = _standing_of(obj)
    Suppression.objects.filter(address__in=addresses, reason=SuppressionReason.UNSUBSCRIBED).delete()
    Recipient.objects.filter(pk=recipient.pk).update(subscribed=True)
    type_for(obj).set_subscribed(own, True)
    audit(AuditAction.SUBSCRIBED, by=by, text=": ".join([str(obj), *addresses, why]))


def _standing_of(obj: Any) -> tuple[Recipient, QuerySet[Any]]:
    """Return the recipient of the host object `obj`, made where missing, and `obj` as a queryset."""
    recipient_type = type_for(obj)
    content_type = ContentType.objects.get_for_model(recipient_type.model_class)
    lock_recipients(content_type.pk)
    object_id = recipient_type.to_object_id(obj.pk)
    recipient, _created = Recipient.objects.get_or_create(content_type=content_type, object_id=object_id)
    return recipient, recipient_type.model_class._default_manager.filter(pk=obj.pk)


def _unsubscribe_objects(recipient_type: RecipientType, address: str) -> None:
    """Unsubscribe the objects whose one address is `address`; an object with several keeps the others."""
    objects = recipient_type.model_class._default_manager.filter(**{f"{recipient_type.email}__iexact": address})
    content_type = ContentType.objects.get_for_model(recipient_type.model_class)
    ids = with_object_id(objects).values("mm_object_id")
    Recipient.objects.filter(content_type=content_type, object_id__in=ids).update(subscribed=False)
    recipient_type.set_subscribed(
        recipient_type.model_class._default_manager.filter(pk__in=objects.values("pk")), False
    )
