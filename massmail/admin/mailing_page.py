"""What stands on a mailing's page around its form."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.db.models import Count, Q, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import localize
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from massmail.admin import previews
from massmail.admin.accounts import describe
from massmail.admin.forecasts import forecast_view, start_label
from massmail.admin.notices import Notice, notice_of, without_repeating
from massmail.admin.operations import Operation, possible
from massmail.admin.places import link_to, page_url
from massmail.admin.recipient_choice import chosen_recipient, recipient_text
from massmail.admin.recipient_lists import AFTERWARDS
from massmail.admin.standing import Standing, standings
from massmail.admin.timeline import DayCount, Timeline, timeline
from massmail.choices import AuditAction, DeliveryStatus, Exclusion, MailingStatus
from massmail.composing import lint
from massmail.engine import lifecycle, outlook
from massmail.engine.blanks import Blank, Blanks
from massmail.engine.holds import Hold
from massmail.exceptions import CompositionError
from massmail.models import Delivery, DomainSurvey, EmailAccount, LeftOut, Mailing, Returns, Tally

LOG_LENGTH = 50
#: Domains that are named; all of them stand in the list.
NAMED = 3
#: Figures that are shown only when there is something to count.
SELDOM = ("auto_replied_at", "complained_at")

UNDER_WAY = (MailingStatus.DRAFT, MailingStatus.ACTIVE, MailingStatus.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number with its list; `name` is what the polling script calls it, `bad` whether it is bad news."""

    name: str
    label: str
    value: int
    url: str
    bad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """An account the mailing leaves through: what it sent of this one, and what holds it while it still may send.

    `look` is its colour in the timeline, "" where it has none, `line` the path of its own little drawing; `used` and
    `limit` are mails of today.
    """

    name: str
    address: str
    url: str
    look: str
    line: str
    sent: int
    sent_url: str
    used: int | None = None
    limit: int | None = None
    hold: Hold | None = None


def kind_of(mailing: Mailing) -> str:
    """Return what the host calls the mailing's recipients: "contact persons"."""
    model = mailing.content_type.model_class()
    return str(model._meta.verbose_name_plural if model else mailing.content_type)


def page_context(request: HttpRequest, site: AdminSite, mailing: Mailing) -> dict[str, Any]:
    """Return what the template of the mailing's page shows."""
    now = timezone.now()
    standing = standings([mailing], now=now)[mailing.pk]
    draft = mailing.status == MailingStatus.DRAFT
    obstacles = lifecycle.obstacles(mailing, now=now) if draft else []
    delays = lifecycle.delays(mailing, now=now) if draft and not obstacles else []
    return {
        "standing": standing,
        "draft": draft,
        "ended": mailing.status not in UNDER_WAY,
        "obstacles": _notices(request, site, mailing, obstacles),
        "delays": _notices(request, site, mailing, delays),
        "cautions": _cautions(request, site, mailing) if draft and mailing.message else [],
        "deaf": _deaf(site, mailing),
        "hold": _running_hold(request, site, mailing, standing),
        **_operations(request, site, mailing, now=now),
        "forecast": forecast_view(request, site, mailing, now=now),
        "kind": kind_of(mailing),
        "message_url": link_to(request, site, mailing.message),
        "list_url": _list_url(site, Delivery, mailing),
        "figures": _figures(site, mailing, standing),
        "later": [] if draft else _later(site, mailing),
        "left_out": (left_out := _left_out(site, mailing)),
        "left_out_total": sum(figure.value for figure in left_out),
        **_sending(request, site, mailing),
        "log": mailing.audit.exclude(action=AuditAction.UNSUBSCRIBED).select_related("by")[:LOG_LENGTH],
        "progress_url": page_url(site, Mailing, "progress"),
        **_preview(request, site, mailing),
    }


def _operations(
    request: HttpRequest, site: AdminSite, mailing: Mailing, *, now: dt.datetime
) -> dict[str, list[Operation]]:
    """Return what can be done, that which moves the mailing apart; the button that starts says what it comes to."""
    found = possible(mailing, request, site)
    main = [operation for operation in found if operation.main]
    if main and main[0].name == "start":
        main[0] = replace(main[0], label=start_label(outlook.current(mailing, now=now)))
    return {"main_operations": main, "operations": [operation for operation in found if not operation.main]}


def _notices(request: HttpRequest, site: AdminSite, mailing: Mailing, holds: Iterable[Hold]) -> list[Notice]:
    return without_repeating(notice_of(request, site, hold, here=mailing) for hold in holds)


def _cautions(request: HttpRequest, site: AdminSite, mailing: Mailing) -> list[Notice]:
    """Return what should be better before the mailing starts, and does not forbid it."""
    assert mailing.message is not None  # noqa: S101  the caller sees to it
    senders = EmailAccount.objects.filter(owner=mailing.owner_id, massmail=True)
    remarks = lint(mailing.message, senders=senders)
    url = link_to(request, site, mailing.message)
    found = [Notice(text=each.text, remedy=each.remedy, url=url) for each in remarks if not each.stops]
    return [*(_blank(site, mailing, blank) for blank in Blanks(mailing).found()), *found]


def _blank(site: AdminSite, mailing: Mailing, blank: Blank) -> Notice:
    """Return how many recipients lack a variable, with their list."""
    counts = {"count": localize(blank.count), "label": blank.label, "among": localize(blank.among)}
    text = ngettext(
        "%(count)s recipient without “%(label)s”, which the message needs.",
        "%(count)s recipients without “%(label)s”, which the message needs.",
        blank.count,
    )
    if not blank.is_all:
        text = _("%(count)s of the first %(among)s recipients are without “%(label)s”, which the message needs.")
    return Notice(text=text % counts, remedy=_("Show them"), url=_list_url(site, Delivery, mailing, lacking=blank.name))


def _deaf(site: AdminSite, mailing: Mailing) -> list[Notice]:
    """Return how many recipients are at domains that take no mail, with their list; nothing of an ended mailing."""
    survey = DomainSurvey.objects.filter(mailing=mailing, deaf_recipients__gt=0).first()
    if survey is None or mailing.status not in UNDER_WAY:
        return []
    where = ngettext(
        "%(domains)s domain that takes no mail", "%(domains)s domains that take no mail", survey.deaf_domains
    )
    text = ngettext(
        "%(count)s recipient at %(where)s: %(names)s. This one will be skipped.",
        "%(count)s recipients at %(where)s: %(names)s. They will be skipped.",
        survey.deaf_recipients,
    ) % {
        "count": localize(survey.deaf_recipients),
        "where": where % {"domains": localize(survey.deaf_domains)},
        "names": ", ".join(name for name, _number in survey.deaf[:NAMED])
        + (" …" if survey.deaf_domains > NAMED else ""),
    }
    return [Notice(text=text, remedy=_("Show them"), url=_list_url(site, Delivery, mailing, domain="deaf"))]


def _running_hold(request: HttpRequest, site: AdminSite, mailing: Mailing, standing: Standing) -> Notice | None:
    if standing.hold is None or not standing.reason:
        return None
    return notice_of(request, site, standing.hold, here=mailing)


def _list_url(site: AdminSite, model: Any, mailing: Mailing, **filters: str) -> str:
    query = urlencode({"mailing__id__exact": mailing.pk, **filters})
    return f"{page_url(site, model, 'changelist')}?{query}"


def _figures(site: AdminSite, mailing: Mailing, standing: Standing) -> list[Figure]:
    progress = standing.progress
    rows = [
        ("total", _("Addresses"), progress.total, None),
        ("sent", _("Sent"), progress.sent, DeliveryStatus.SENT),
        ("to_go", _("Not sent") if standing.ended else _("To go"), progress.to_go, DeliveryStatus.QUEUED),
        ("failed", _("Failed"), progress.failed, DeliveryStatus.FAILED),
        ("skipped", _("Skipped"), progress.skipped, DeliveryStatus.SKIPPED),
        ("unknown", _("Unknown"), progress.unknown, DeliveryStatus.UNKNOWN),
    ]
    return [
        Figure(
            name=name,
            label=label,
            value=value,
            url=_list_url(site, Delivery, mailing, **({"status__exact": status.value} if status else {})),
            bad=value > 0 and status in (DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN),
        )
        for name, label, value, status in rows[: 1 if mailing.status == MailingStatus.DRAFT else None]
    ]


def _left_out(site: AdminSite, mailing: Mailing) -> list[Figure]:
    counts = LeftOut.objects.filter(mailing=mailing).order_by().values_list("reason").annotate(number=Count("id"))
    return [
        Figure(
            name=reason,
            label=str(Exclusion(reason).label),
            value=number,
            url=_list_url(site, LeftOut, mailing, reason__exact=reason),
        )
        for reason, number in sorted(counts, key=lambda row: -row[1])
    ]


def _later(site: AdminSite, mailing: Mailing) -> list[Figure]:
    """Return what became known afterwards, from the sums that the outcomes keep."""
    found = Returns.objects.filter(mailing=mailing).first() or Returns(mailing=mailing)
    counts = {name: getattr(found, name.removesuffix("_at")) for name in AFTERWARDS}
    return [
        Figure(
            name=name,
            label=str(label),
            value=counts[name],
            url=_list_url(site, Delivery, mailing, afterwards=name),
            bad=counts[name] > 0 and name in ("bounced_at", "complained_at"),
        )
        for name, label in AFTERWARDS.items()
        if counts[name] or name not in SELDOM
    ]


def _sending(request: HttpRequest, site: AdminSite, mailing: Mailing) -> dict[str, Any]:
    """Return the timeline and the accounts behind it, in a number of queries that does not depend on theirs."""
    rows = (
        Tally.objects.filter(mailing=mailing)
        .order_by("day")
        .values("day", "lane__account", "lane__account__name")
        .annotate(mm_sent=Sum("sent"), mm_not_sent=Sum("failed") + Sum("unknown"))
    )
    counts = [
        DayCount(
            day=row["day"],
            account=row["lane__account"],
            name=row["lane__account__name"] or "",
            sent=row["mm_sent"],
            not_sent=row["mm_not_sent"],
        )
        for row in rows
    ]
    drawing = timeline(counts)
    return {"timeline": drawing, "senders": _senders(request, site, mailing, counts, drawing)}


def _senders(
    request: HttpRequest, site: AdminSite, mailing: Mailing, counts: Iterable[DayCount], drawing: Timeline | None
) -> list[Sender]:
    """Return the accounts that sent something of the mailing and, unless it has ended, those that still may."""
    sent: dict[int | None, int] = defaultdict(int)
    for count in counts:
        sent[count.account] += count.sent
    under_way = mailing.status in UNDER_WAY
    may_send = Q(owner=mailing.owner_id, massmail=True) if under_way else Q(pk__in=())
    accounts: list[Any] = list(EmailAccount.objects.filter(Q(pk__in=[key for key in sent if key]) | may_send))
    describe(accounts)
    senders = [
        Sender(
            name=account.name,
            address=account.from_email,
            url=link_to(request, site, account),
            look=drawing.looks.get(account.pk, "") if drawing else "",
            line=drawing.lines.get(account.pk, "") if drawing else "",
            sent=sent[account.pk],
            sent_url=_list_url(site, Delivery, mailing, account=str(account.pk)),
            used=account.used_today if under_way else None,
            limit=account.limit_today if under_way else None,
            hold=account.hold if under_way else None,
        )
        for account in accounts
    ]
    return sorted(senders, key=lambda sender: (-sender.sent, sender.name))


def _preview(request: HttpRequest, site: AdminSite, mailing: Mailing) -> dict[str, Any]:
    """Return the subject as the recipient chosen by `?as=…` reads it, or the first one, and where the rest is found."""
    if mailing.message is None and mailing.version is None:
        return {}
    chosen = chosen_recipient(request, mailing)
    context = {
        "preview_as": request.GET.get("as", ""),
        "preview_missing": chosen is None and bool(request.GET.get("as", "").strip()),
        "recipients_url": page_url(site, Mailing, "recipients", mailing.pk),
    }
    delivery = chosen or previews.first_delivery(mailing)
    try:
        subject = previews.mailing_preview(mailing, delivery).subject
    except CompositionError as error:
        return {**context, "preview_error": str(error)}
    address = page_url(site, Mailing, "preview", mailing.pk)
    return {
        **context,
        "preview_to": recipient_text(delivery) if delivery else "",
        "preview_subject": subject,
        "preview_url": f"{address}?{urlencode({'as': chosen.address})}" if chosen else address,
        "preview_text_url": f"{address}?{urlencode({'part': 'text'} | ({'as': chosen.address} if chosen else {}))}",
    }
