"""Making a request of a mail, once."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.utils.translation import gettext as _

from massmail.conversations import ConversationType, IncomingRequest, new_ticket
from massmail.inbound.conversations import matching
from massmail.inbound.conversations.belonging import hand_over
from massmail.inbound.conversations.filing import Arrival, store
from massmail.inbound.conversations.letters import Letter, letter, untagged
from massmail.inbound.parse import classify
from massmail.models import Conversation, Correspondence, Delivery, EmailAccount
from massmail.transport.imap import Fetched


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of a mail: the request it was made into, the one it was `added` to, or the one that has it already.

    `lead` is a new one made of the sender.
    """

    about: Any
    made: bool = False
    added: bool = False
    lead: Any = None


def import_mail(
    account: EmailAccount, fetched: Fetched, kind: ConversationType, *, leads: bool, now: dt.datetime
) -> Imported:
    """Make a request of the mail, or put it into the conversation it belongs to.

    With `leads` a sender whom nobody knows becomes a lead. The same mail makes one request, also where it lies in two
    accounts of an owner, or is imported twice at once.
    """
    found = letter(fetched.data, size=fetched.size, own_address=account.from_email)
    arrival = Arrival(
        account=account,
        at=min(fetched.received_at or now, now),
        kind=classify(fetched.data).kind,
        delivery=matching.answered([found], owner=account.owner_id).get(found.identity),
    )
    with transaction.atomic():
        # Whoever imports for this owner waits here for the others.
        list(EmailAccount.objects.select_for_update().filter(owner=account.owner_id).order_by("pk").values_list("pk"))
        known = Correspondence.objects.filter(account__owner=account.owner_id, identity=found.identity)
        for mail in known.select_related("conversation"):
            if mail.conversation.about is not None:
                return Imported(about=mail.conversation.about)
            mail.conversation.delete()  # its request was deleted behind the app's back
        conversation = matching.find(found, owner=account.owner_id)
        if conversation is not None and (about := hand_over(conversation)) is not None:
            return Imported(about=about, added=store(conversation, found, arrival) is not None)
        return _make(account, found, arrival, kind, leads=leads)


def _make(account: EmailAccount, found: Letter, arrival: Arrival, kind: ConversationType, *, leads: bool) -> Imported:
    person = _sender(found, arrival.delivery, kind, owner=account.owner_id)
    incoming = IncomingRequest(
        owner=account.owner,
        ticket=new_ticket(),
        subject=untagged(found.subject) or _("(no subject)"),
        text=found.text,
        address=found.reply_to or found.address,
        name=found.name,
        received_at=arrival.at,
        person=person,
    )
    lead = kind.create_lead(incoming) if leads and person is None and found.address else None
    about = kind.create(replace(incoming, person=lead) if lead is not None else incoming)
    conversation = Conversation.objects.create(
        ticket=incoming.ticket,
        account=account,
        content_type=ContentType.objects.get_for_model(type(about)),
        object_id=str(about.pk),
    )
    store(conversation, found, arrival)
    return Imported(about=about, made=True, lead=lead)


def _sender(found: Letter, delivery: Delivery | None, kind: ConversationType, *, owner: Any) -> Any:
    """Return who wrote: the owner of the address, or else whoever got the newsletter that is answered."""
    # Forms on websites write in their own name and give the customer's address for answers.
    known = matching.recognise(kind, [found.address, found.reply_to], owner=owner)
    person = known.get(found.address) or known.get(found.reply_to)
    if person is None and delivery is not None:
        person = matching.answered_person(kind, delivery, owner=owner)
    return person
