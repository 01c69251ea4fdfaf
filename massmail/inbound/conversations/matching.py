"""Which conversation a mail belongs to: known by its ticket, or by a mail already imported. Never by its subject."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Lower

from massmail.audience import parse_addresses
from massmail.conversations import ConversationType
from massmail.inbound.conversations.letters import Letter
from massmail.models import Conversation, Correspondence, Delivery
from massmail.outcomes.returns import LEFT
from massmail.recipient_types import RecipientType, find_type, recipient_types


def find(letter: Letter, *, owner: Any) -> Conversation | None:
    """Return the conversation of `letter`, which lies in a mailbox of the user with the key `owner`.

    Only a conversation that already has mail of this user's: a ticket leads into nobody else's.
    """
    theirs = Correspondence.objects.filter(account__owner=owner)
    if letter.tickets:
        mine = Conversation.objects.filter(Exists(theirs.filter(conversation=OuterRef("pk"))))
        if found := mine.filter(ticket__in=letter.tickets).first():
            return found
    if not letter.refers_to:
        return None
    known = theirs.filter(message_id__in=letter.refers_to).select_related("conversation")
    by_id = {mail.message_id: mail.conversation for mail in known}
    return next((by_id[each] for each in letter.refers_to if each in by_id), None)


def find_copy(letter: Letter, mails: models.QuerySet[Correspondence]) -> Correspondence | None:
    """Return the one of `mails` that `letter` is a copy of."""
    same = Q(identity=letter.identity)
    if letter.ids:
        same |= Q(message_id__in=letter.ids, from_address=letter.address)
    return mails.filter(same).first()


def answered(letters: Iterable[Letter], *, owner: Any) -> dict[str, Delivery]:
    """Return the newsletters of the user that `letters` answer, by identity, in one query."""
    letters = list(letters)
    ids = {each for letter in letters for each in letter.refers_to}
    sent = Delivery.objects.filter(mailing__owner=owner, account__owner=owner, status__in=LEFT).exclude(message_id="")
    rows = sent.filter(message_id__in=ids).select_related("mailing", "mailing__content_type") if ids else []
    by_id = {row.message_id: row for row in rows}
    found = {}
    for letter in letters:
        row = next((by_id[each] for each in letter.refers_to if each in by_id), None)
        if row is not None:
            found[letter.identity] = row
    return found


def recognise(kind: ConversationType, addresses: Iterable[str], *, owner: Any) -> dict[str, Any]:
    """Return the user's own host objects with these normalised `addresses`, by address; a query for each type.

    Of several objects the one whose type comes first wins, then the lowest key.
    """
    left, found = {each for each in addresses if each}, {}
    for recipient_type in _people(kind):
        if not left:
            break
        for address, obj in _with_address(recipient_type, left, owner).items():
            found[address] = obj
        left -= found.keys()
    return found


def _people(kind: ConversationType) -> list[RecipientType]:
    known = {each.model_class._meta.label_lower: each for each in recipient_types()}
    if kind.people is None:
        return list(known.values())
    return [known[label.lower()] for label in kind.people if label.lower() in known]


def _with_address(recipient_type: RecipientType, addresses: set[str], owner: Any) -> dict[str, Any]:
    path = recipient_type.email
    several = Q()
    for address in addresses:
        several |= Q(**{f"{path}__icontains": address})
    rows = recipient_type.model_class._default_manager.filter(**{recipient_type.owner: owner})
    # The owner's own rows only, so that no index on the address is needed.
    rows = rows.annotate(mm_address=Lower(path), mm_email=models.F(path)).filter(
        Q(mm_address__in=addresses) | (Q(**{f"{path}__contains": ","}) & several)
    )
    found: dict[str, Any] = {}
    for obj in rows.order_by("pk")[:500]:
        valid, _invalid = parse_addresses(obj.mm_email or "")
        for address in (each.normalised for each in valid):
            if address in addresses:
                found.setdefault(address, obj)
    return found


def answered_person(kind: ConversationType, delivery: Delivery, *, owner: Any) -> Any:
    """Return the user's own host object that `delivery` went to, if `kind` may name it."""
    model = ContentType.objects.get_for_id(delivery.mailing.content_type_id).model_class()
    recipient_type = find_type(model) if model else None
    if recipient_type is None or recipient_type.model_class not in [each.model_class for each in _people(kind)]:
        return None
    objects = recipient_type.model_class._default_manager.filter(**{recipient_type.owner: owner})
    return objects.filter(pk=recipient_type.to_pk(delivery.object_id)).first()
