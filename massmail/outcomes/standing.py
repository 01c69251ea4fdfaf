"""The standing of recipients: VIP or not, subscribed or not, addresses that get no more mail.

Three places may say no: the address's suppression, the recipient, the host's own flag. Any "no" wins.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models import Exists, F, QuerySet, Value
from django.db.models.functions import Cast, Coalesce, Concat
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail.choices import AuditAction, DeliveryStatus, SuppressionReason
from massmail.models import Delivery, Recipient, Suppression
from massmail.models.bulk import insert_select
from massmail.models.mailings import audit
from massmail.outcomes import figures
from massmail.outcomes.suppressions import suppress
from massmail.recipient_types import RecipientType, find_type, recipient_types, type_for
from massmail.tokens import parse_link_name

#: Who was sent something, or perhaps: nobody knows of a mail whose server did not answer, or not yet.
MAILED = (DeliveryStatus.SENT, DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN)
#: Reasons that are the recipient's own word, which outweighs what machines found out about the address.
OWN_WORD = (SuppressionReason.UNSUBSCRIBED, SuppressionReason.COMPLAINT)


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


def find_recipient(name: str) -> tuple[Recipient, str] | None:
    """Return the recipient and the address that the `name` in a link speaks of, or None where it leads nowhere."""
    link = parse_link_name(name)
    recipient = Recipient.objects.filter(token=link.token).first() if link else None
    if not link or not recipient or link.position >= len(recipient.addresses):
        return None
    return recipient, recipient.addresses[link.position]


def unsubscribe(recipient: Recipient, address: str, *, source: str) -> None:
    """Carry out that `recipient` wants no more mail at `address` (normalised). Doing it twice changes nothing.

    The address is suppressed, the recipient and every host object with that address are unsubscribed, and the host's
    own flags follow. The evidence is kept: on the suppression and in the log, both of which outlive the mailing, how it
    came (`source`) and after which mail, the last one sent there; on that delivery, when.
    """
    own_word = Suppression.objects.filter(address=address, reason__in=OWN_WORD)
    done = Recipient.objects.filter(Exists(own_word), pk=recipient.pk, subscribed=False)
    if done.exists():
        return  # without a lock: whoever knows a link may ask as often as he likes
    with transaction.atomic():
        lock_recipients(recipient.content_type_id)
        if done.exists():
            return  # another request was quicker
        last = _last_mail(recipient, address)
        evidence = f"{source}; {_in_words(last)}" if last else source
        _opt_out(recipient, address, source=evidence)
        _note_on(last)
        audit(AuditAction.UNSUBSCRIBED, by=None, mailing=last and last.mailing, text=f"{address}: {evidence}")


def _last_mail(recipient: Recipient, address: str) -> Delivery | None:
    mailed = Delivery.objects.filter(object_id=recipient.object_id, address=address, status__in=MAILED)
    last = mailed.filter(mailing__content_type=recipient.content_type).select_related("mailing")
    return last.order_by(Coalesce("sent_at", "sending_at").desc()).first()


def _in_words(delivery: Delivery) -> str:
    """Return which mail it was, as evidence that is kept: neither in the visitor's language nor in his time zone."""
    at = (delivery.sent_at or delivery.sending_at or timezone.now()).astimezone(dt.UTC)
    return f"mailing {delivery.mailing_id} “{delivery.mailing}”, {at:%Y-%m-%d %H:%M} UTC"


def _note_on(last: Delivery | None) -> None:
    if last is not None:
        noted = Delivery.objects.filter(pk=last.pk, unsubscribed_at=None).update(unsubscribed_at=timezone.now())
        figures.add(last.mailing_id, unsubscribed=noted)


def _opt_out(recipient: Recipient, address: str, *, source: str) -> None:
    if not suppress(address, SuppressionReason.UNSUBSCRIBED, source=source):
        before = Suppression.objects.filter(address=address).exclude(reason__in=OWN_WORD)
        words = Concat(F("source"), Value(f"\n{source}"), output_field=models.TextField())
        before.update(reason=SuppressionReason.UNSUBSCRIBED, source=words)
    Recipient.objects.filter(pk=recipient.pk).update(subscribed=False)
    for recipient_type in recipient_types():
        _unsubscribe_objects(recipient_type, address)
    model = recipient.content_type.model_class()
    own_type = find_type(model) if model else None
    if own_type is not None:
        own = own_type.model_class._default_manager.filter(pk=own_type.to_pk(recipient.object_id))
        own_type.set_subscribed(own, False)


@transaction.atomic
def unsubscribe_by_hand(obj: Any, addresses: Sequence[str], *, by: Any) -> None:
    """Carry out what the host object `obj` told `by`: no more mail at any of its `addresses` (normalised)."""
    recipient, own = _standing_of(obj)
    for address in addresses:
        _opt_out(recipient, address, source=_("Entered by %(user)s") % {"user": by})
        _note_on(_last_mail(recipient, address))
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
