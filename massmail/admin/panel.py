"""What the page of a host object says about its mailings: which it got, what is planned and why not yet.

Read here, shown by `massmail.admin.panel_pages`; a constant number of queries.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.contenttypes.models import ContentType
from django.db.models import F, Q, QuerySet, Value
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail.admin.forecasts import expected_end_text
from massmail.admin.notices import Notice, notice_of
from massmail.admin.places import link_to
from massmail.admin.recipient_lists import AFTERWARDS, REASONS
from massmail.admin.whys import whys
from massmail.audience import parse_addresses
from massmail.choices import DeliveryStatus, Exclusion, MailingStatus, SuppressionReason
from massmail.engine.candidates import judge
from massmail.engine.holds import Hold, explain_many
from massmail.engine.record import is_on_record
from massmail.models import Delivery, EmailAccount, LeftOut, Recipient, Suppression
from massmail.recipient_types import RecipientType, type_for

#: Mailings that the panel shows, and the page with all of them.
LATEST, MOST = 10, 500
#: Mailings that are still to come.
COMING = 20

UNENDED = (MailingStatus.DRAFT, MailingStatus.ACTIVE, MailingStatus.PAUSED)
TO_COME = Q(status__in=(DeliveryStatus.QUEUED, DeliveryStatus.SENDING), mailing__status__in=UNENDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A host object as it stands in the database now. `addresses` are normalised; `flag` is the host's own."""

    recipient_type: RecipientType
    content_type: ContentType
    obj: Any
    object_id: str
    owner_id: Any
    addresses: Sequence[str]
    invalid: Sequence[str]
    flag: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One address in one mailing: `why` it is in there, and `mail_url` where the mail stands as it was sent.

    Of a planned one `expected` says when it leaves at the latest, `notice` why not yet; `skippable` is its key if it
    can be skipped.
    """

    mailing_id: int
    mailing: str
    mailing_url: str
    address: str
    look: str
    state: str
    reason: str = ""
    reply: str = ""
    when: dt.datetime | None = None
    account: str = ""
    account_url: str = ""
    afterwards: Sequence[tuple[Any, dt.datetime]] = ()
    why: str = ""
    mail_url: str = ""
    expected: str = ""
    notice: Notice | None = None
    skippable: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Everything that the template shows, but for the buttons."""

    vip: bool
    unsubscribed: bool
    obstacles: Sequence[str]
    invalid: Sequence[str]
    suppressions: Sequence[Suppression]
    all_suppressed: bool
    account: EmailAccount | None
    account_url: str
    several_addresses: bool
    planned: Sequence[Line]
    lines: Sequence[Line]
    more: bool

    @property
    def reachable(self) -> bool:
        """Whether a mailing made now would take this person in."""
        return not (self.unsubscribed or self.obstacles or self.all_suppressed)

    @property
    def liftable(self) -> bool:
        """Whether an address is suppressed for another reason than that its holder unsubscribed."""
        return any(each.reason != SuppressionReason.UNSUBSCRIBED for each in self.suppressions)


def read(obj: Any) -> Person:
    """Return what the database says of the host object `obj` now, whatever a form has done to it. One query."""
    recipient_type = type_for(obj)
    flag = F(recipient_type.subscribed) if recipient_type.subscribed else Value(True)
    rows = recipient_type.model_class._default_manager.filter(pk=obj.pk).order_by()
    row = rows.values_list(F(recipient_type.owner), F(recipient_type.email), flag).first()
    owner_id, text, its_flag = row or (None, "", True)
    valid, invalid = parse_addresses(text or "")
    return Person(
        recipient_type=recipient_type,
        content_type=ContentType.objects.get_for_model(recipient_type.model_class),
        obj=obj,
        object_id=recipient_type.to_object_id(obj.pk),
        owner_id=owner_id,
        addresses=[address.normalised for address in valid],
        invalid=invalid,
        flag=its_flag is not False,
    )


def panel(request: HttpRequest, site: AdminSite, person: Person, *, limit: int = LATEST) -> Panel:
    """Return the panel about `person` with its latest `limit` mailings."""
    key = {"content_type": person.content_type, "object_id": person.object_id}
    recipient = Recipient.objects.select_related("account__owner").filter(**key).first() or Recipient(**key)
    suppressions = list(Suppression.objects.filter(address__in=person.addresses))
    by_choice = any(each.reason == SuppressionReason.UNSUBSCRIBED for each in suppressions)
    all_suppressed = bool(suppressions) and len(suppressions) == len(set(person.addresses))
    account = _hears_from(person, recipient)
    planned = _planned(request, site, person)
    lines, more = _history(request, site, person, limit)
    reasons = whys(request, {line.mailing_id for line in (*planned, *lines)})
    planned, lines = ([replace(line, why=reasons[line.mailing_id]) for line in each] for each in (planned, lines))
    return Panel(
        vip=recipient.vip,
        unsubscribed=not (recipient.subscribed and person.flag) or (by_choice and all_suppressed),
        obstacles=_obstacles(person, recipient, opted_out=by_choice),
        invalid=[_("“%(address)s” is not a valid email address.") % {"address": text} for text in person.invalid],
        suppressions=suppressions,
        all_suppressed=all_suppressed,
        account=account,
        account_url=link_to(request, site, account),
        several_addresses=len(person.addresses) > 1,
        planned=planned,
        lines=lines,
        more=more,
    )


def _hears_from(person: Person, recipient: Recipient) -> EmailAccount | None:
    """Return the account whose mail the recipient gets: the main one for a VIP, as long as it is one for mailing."""
    if recipient.vip:
        mains = EmailAccount.objects.filter(owner=person.owner_id, main=True, massmail=True)
        if main := mains.select_related("owner").first():
            return main
    return recipient.account


def _obstacles(person: Person, recipient: Recipient, *, opted_out: bool) -> list[str]:
    """Return why no mailing reaches this person, but for what the list of suppressed addresses says (`opted_out`)."""
    found = []
    if not recipient.subscribed and not opted_out:
        found.append(_("Has unsubscribed."))
    if recipient.subscribed and not person.flag:
        field = person.recipient_type.model_class._meta.get_field(str(person.recipient_type.subscribed))
        found.append(_("“%(field)s” is not ticked.") % {"field": getattr(field, "verbose_name", field.name)})
    objects = person.recipient_type.eligible(person.recipient_type.queryset())
    if not objects.filter(pk=person.obj.pk).exists():
        found.append(_("Gets no mailings, because it is disqualified."))
    if not person.addresses:
        found.append(_("Has no valid email address."))
    return found


# Mailings -------------------------------------------------------------------------------------------------------------


def deliveries(person: Person) -> QuerySet[Delivery]:
    """Return the deliveries of `person`, the latest mailing first."""
    mine = Delivery.objects.filter(object_id=person.object_id, mailing__content_type=person.content_type)
    return mine.select_related("mailing__owner", "mailing__content_type", "account__owner").order_by("-pk")


def _planned(request: HttpRequest, site: AdminSite, person: Person) -> list[Line]:
    rows = list(deliveries(person).filter(TO_COME)[:COMING])
    queued = [row for row in rows if row.status == DeliveryStatus.QUEUED]
    exclusions = {each.delivery.pk: each.exclusion for each in judge(queued)} if queued else {}
    holds = explain_many(rows, now=timezone.now())
    everything = request.user.is_superuser
    return [
        _line(
            request,
            site,
            row,
            expected=expected_end_text(row.mailing),
            notice=_why_not_yet(request, site, exclusions.get(row.pk), holds[row.pk]),
            skippable=row.pk
            if row.status == DeliveryStatus.QUEUED and (everything or row.mailing.owner_id == request.user.pk)
            else None,
        )
        for row in rows
    ]


def _why_not_yet(request: HttpRequest, site: AdminSite, exclusion: Exclusion | None, hold: Hold | None) -> Notice:
    if exclusion is not None:
        text = _("Will be skipped, as it stands now: %(reason)s.") % {"reason": exclusion.label}
        return Notice(text=text, remedy="", url="")
    if hold is None:
        return Notice(text=_("Goes out when its account's turn comes."), remedy="", url="")
    return notice_of(request, site, hold)


def _history(request: HttpRequest, site: AdminSite, person: Person, limit: int) -> tuple[list[Line], bool]:
    """Return what is over, the latest mailing first, and whether there is more than `limit`."""
    over = deliveries(person).exclude(TO_COME)[: limit + 1]
    # Who selected somebody else's recipient for a mailing is nobody's business here.
    left_out = (
        LeftOut.objects.filter(object_id=person.object_id, mailing__content_type=person.content_type)
        .exclude(reason=Exclusion.NOT_OWNER)
        .select_related("mailing__owner")
        .order_by("-pk")[: limit + 1]
    )
    rows: Iterable[Delivery | LeftOut] = sorted([*over, *left_out], key=lambda row: row.mailing_id, reverse=True)
    lines = [_line(request, site, row) if isinstance(row, Delivery) else _left_out(request, site, row) for row in rows]
    return lines[:limit], len(lines) > limit


def _line(request: HttpRequest, site: AdminSite, row: Delivery, **planned: Any) -> Line:
    # What was still queued when its mailing ended shows how that ended.
    never = row.status == DeliveryStatus.QUEUED and row.mailing.status not in UNENDED
    failed = row.status in (DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN, DeliveryStatus.SKIPPED)
    return Line(
        mailing_id=row.mailing_id,
        mailing=str(row.mailing),
        mailing_url=link_to(request, site, row.mailing),
        address=row.address,
        look=row.mailing.status if never else row.status,
        state=_("Not sent") if never else row.get_status_display(),
        reason=_("The mailing is over.") if never else str(REASONS.get(row.reason, row.reason)),
        reply=row.reply if failed else "",
        when=row.sent_at or row.sending_at,
        account=row.account.name if row.account else "",
        account_url=link_to(request, site, row.account),
        afterwards=[(label, getattr(row, name)) for name, label in AFTERWARDS.items() if getattr(row, name)],
        mail_url=link_to(request, site, row) if is_on_record(row) else "",
        **planned,
    )


def _left_out(request: HttpRequest, site: AdminSite, row: LeftOut) -> Line:
    return Line(
        mailing_id=row.mailing_id,
        mailing=str(row.mailing),
        mailing_url=link_to(request, site, row.mailing),
        address=row.address,
        look="left-out",
        state=_("Left out"),
        reason=row.get_reason_display(),
    )
