"""What may be done with a mailing now: the one place that decides it, for the buttons and for those who press them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.contrib.admin import AdminSite
from django.db.models import Max
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from massmail.admin.numbers import grouped
from massmail.admin.places import page_url
from massmail.choices import DeliveryStatus, MailingStatus, Relation
from massmail.engine import lifecycle, operations
from massmail.engine.holds import show
from massmail.models import Delivery, Mailing, MassmailSettings
from massmail.outcomes import Progress, progress

#: Operations that make another mailing, and what that one is to the first.
MAKING = {"duplicate": Relation.COPY, "retry": Relation.RETRY, "missing": Relation.MISSING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something that can be done with a mailing.

    `help` is what it will do, `why_not` why it can't be pressed ("" if it can), `asks` whether `url` is a page that
    asks first, rather than a POST that does it. `after` goes with those that make a mailing: see `duplicate`.
    """

    name: str
    label: str
    help: str
    url: str
    why_not: str = ""
    asks: bool = False
    danger: bool = False
    main: bool = False
    after: int | None = None

    @property
    def enabled(self) -> bool:
        return not self.why_not


def operations_for(mailing: Mailing, request: HttpRequest, site: AdminSite) -> list[Operation]:
    """Return everything that can ever be done with `mailing`, in the order of the buttons; none of somebody else's.

    The number of queries does not depend on that of recipients.
    """
    user = request.user
    if not user.has_perm("massmail.change_mailing") or not (user.is_superuser or mailing.owner == user):
        return []
    facts = _Facts(mailing, now=timezone.now())
    return [
        *facts.moves(site),
        facts.new_version(site),
        *(facts.making(site) if user.has_perm("massmail.add_mailing") else []),
        facts.unknown(site),
        facts.exclude(site),
        facts.merge(site),
        facts.cancel(site),
    ]


def possible(mailing: Mailing, request: HttpRequest, site: AdminSite) -> list[Operation]:
    """Return the operations whose buttons stand on the page of `mailing`."""
    return [operation for operation in operations_for(mailing, request, site) if operation.enabled]


class _Facts:
    """What decides about one mailing's operations."""

    def __init__(self, mailing: Mailing, *, now: dt.datetime) -> None:
        self.mailing, self.now = mailing, now
        self.status = MailingStatus(mailing.status)
        self.progress: Progress = progress([mailing], now=now)[mailing.pk]

    def moves(self, site: AdminSite) -> list[Operation]:
        return [
            Operation(
                name="start",
                label=_("Start"),
                help=self._when(_("Freezes the message and begins to send.")),
                url=self._url(site, "start"),
                why_not=self._unless(MailingStatus.DRAFT) or self._obstacle(),
                main=True,
            ),
            Operation(
                name="pause",
                label=_("Pause"),
                help=_("Stops before the next mail. It can be resumed."),
                url=self._url(site, "pause"),
                why_not=self._unless(MailingStatus.ACTIVE),
                main=True,
            ),
            Operation(
                name="resume",
                label=_("Resume"),
                help=self._when(_("Goes on with those who have not got it yet.")),
                url=self._url(site, "resume"),
                why_not=self._unless(MailingStatus.PAUSED),
                main=True,
            ),
            Operation(
                name="schedule",
                label=_("Change the start"),
                help=_("Sets a day and time: nothing is sent before, even when the mailing is resumed earlier."),
                url=self._url(site, "schedule"),
                why_not=self._unless(MailingStatus.PAUSED),
                asks=True,
            ),
        ]

    def new_version(self, site: AdminSite) -> Operation:
        why_not = self._unless(MailingStatus.ACTIVE, MailingStatus.PAUSED)
        if not why_not and not self.progress.to_go:
            why_not = _("Everybody was served already.")
        if not why_not and not lifecycle.has_new_version(self.mailing):
            why_not = _("The message has not changed since it was frozen.")
        return Operation(
            name="new-version",
            label=_("Take the new version"),
            help=_("The message was changed. Pauses the mailing, and gives the new one to those not served yet."),
            url=self._url(site, "new-version"),
            why_not=why_not,
            asks=True,
        )

    def making(self, site: AdminSite) -> list[Operation]:
        newest = dict(self.mailing.children.order_by().values_list("relation").annotate(Max("pk")))
        texts = {
            "retry": (
                _("Retry failed"),
                _("Makes a draft to those it could not reach, at the address of today. Suppressed ones stay out."),
                self._no_failures(),
            ),
            "missing": (
                _("Send to those still missing"),
                _("Makes a draft to those it did not come to, or passed over for a reason that may be gone."),
                self._nobody_missing(),
            ),
            "duplicate": (
                _("Duplicate"),
                _("Makes a draft with the same message, to the same recipients by today's rules."),
                "",
            ),
        }
        return [
            Operation(
                name=name,
                label=label,
                help=explanation,
                url=self._url(site, name),
                why_not=why_not,
                after=newest.get(MAKING[name], 0),
            )
            for name, (label, explanation, why_not) in texts.items()
        ]

    def unknown(self, site: AdminSite) -> Operation:
        count = self.progress.unknown
        return Operation(
            name="unknown",
            label=_("Resolve unknown"),
            help=ngettext(
                "Shows the one recipient of whom nobody knows whether the mail arrived, for you to decide.",
                "Shows the %(count)s recipients of whom nobody knows whether the mail arrived, for you to decide.",
                count,
            )
            % {"count": grouped(count)},
            url=f"{page_url(site, Delivery, 'changelist')}?mailing__id__exact={self.mailing.pk}"
            f"&status__exact={DeliveryStatus.UNKNOWN}",
            why_not="" if count else _("Of every recipient it is known what became of the mail."),
            asks=True,
        )

    def exclude(self, site: AdminSite) -> Operation:
        return Operation(
            name="exclude",
            label=_("Leave out who received it"),
            help=_(
                "Takes those out who were sent this message, or another one, before; since a date if you choose one."
            ),
            url=self._url(site, "exclude"),
            why_not=self._unless(MailingStatus.DRAFT) or self._empty(),
            asks=True,
        )

    def merge(self, site: AdminSite) -> Operation:
        others = operations.mergeable_with(self.mailing)
        why_not = self._unless(*operations.MERGEABLE)
        if not why_not and not others.exists():
            why_not = _("There is no other mailing with this message to recipients of this type that goes on.")
        return Operation(
            name="merge",
            label=_("Merge"),
            help=_("Makes one draft of this and other mailings with the same message. Nobody gets it twice."),
            url=f"{page_url(site, Mailing, 'merge')}?id={self.mailing.pk}",
            why_not=why_not,
            asks=True,
        )

    def cancel(self, site: AdminSite) -> Operation:
        return Operation(
            name="cancel",
            label=_("Cancel mailing"),
            help=_("Ends it for good. What was not sent yet is never sent."),
            url=self._url(site, "cancel"),
            why_not=self._unless(MailingStatus.DRAFT, MailingStatus.ACTIVE, MailingStatus.PAUSED),
            asks=True,
            danger=True,
        )

    def _url(self, site: AdminSite, name: str) -> str:
        return page_url(site, Mailing, name, self.mailing.pk)

    def _unless(self, *allowed: MailingStatus) -> str:
        return "" if self.status in allowed else lifecycle.wrong_status(self.mailing)

    def _obstacle(self) -> str:
        hold = next(iter(lifecycle.obstacles(self.mailing, now=self.now)), None)
        return f"{hold.detail} {hold.remedy}".strip() if hold else ""

    def _when(self, text: str) -> str:
        start = self.mailing.start_at
        if start is None or start <= self.now:
            return text
        first = _("The first mail leaves %(time)s.") % {"time": show(start, MassmailSettings.load(), now=self.now)}
        return f"{text} {first}"

    def _no_failures(self) -> str:
        if self.status == MailingStatus.DRAFT:
            return lifecycle.wrong_status(self.mailing)
        return "" if self.progress.failed else _("Nothing has failed.")

    def _nobody_missing(self) -> str:
        if why_not := self._unless(*operations.ENDED):
            return why_not
        if any(rows.exists() for rows in operations.missing(self.mailing)):
            return ""
        return _("Nobody is missing.")

    def _empty(self) -> str:
        return "" if self.mailing.total else _("The mailing has no recipients.")
