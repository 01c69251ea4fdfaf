"""Mailings, a row per address, and the sums that make progress cheap to show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from massmail.choices import AuditAction, DeliveryStatus, Exclusion, MailingStatus, Relation
from massmail.models.accounts import EmailAccount, Lane
from massmail.models.messages import Message, MessageVersion


class Mailing(models.Model):
    """One message to a set of recipients.

    `owner`, `content_type`, `filters` and `total` are written by `massmail.audience` and `massmail.models.received`;
    `status`, `version` and the times only by `massmail.engine.lifecycle`; `parent`, `relation` and `merged_into`
    only by `massmail.engine.operations`; `expected_end`, `forecast` and `forecast_at` only by
    `massmail.engine.outlook`; `name`, `message` and `start_at` by people, on the mailing's page.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="massmail_mailings", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=250)
    message = models.ForeignKey(
        Message, models.PROTECT, null=True, blank=True, related_name="mailings", verbose_name=_("message")
    )
    version = models.ForeignKey(
        MessageVersion,
        models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        related_name="mailings",
        verbose_name=_("message as frozen"),
    )
    content_type = models.ForeignKey(
        ContentType, models.PROTECT, editable=False, related_name="+", verbose_name=_("recipient type")
    )
    status = models.CharField(
        _("status"), max_length=10, choices=MailingStatus.choices, default=MailingStatus.DRAFT, editable=False
    )
    start_at = models.DateTimeField(
        _("start at"), null=True, blank=True, help_text=_("Empty: as soon as the mailing is started.")
    )
    parent = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="children",
        verbose_name=_("made from"),
    )
    relation = models.CharField(
        _("made as"), max_length=10, choices=Relation.choices, blank=True, default="", editable=False
    )
    merged_into = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="merged_from",
        verbose_name=_("merged into"),
    )
    pause_reason = models.TextField(
        _("reason of the pause"), blank=True, editable=False, help_text=_("Filled in when the app pauses it by itself.")
    )
    filters = models.JSONField(
        _("filters"),
        default=dict,
        blank=True,
        editable=False,
        help_text=_("The filter values it was made with."),
    )
    total = models.PositiveIntegerField(_("recipients"), default=0, editable=False)
    created = models.DateTimeField(_("created"), auto_now_add=True)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True, editable=False)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True, editable=False)
    expected_end = models.DateTimeField(_("expected end"), null=True, blank=True, editable=False)
    forecast = models.JSONField(
        _("forecast"), null=True, blank=True, editable=False, help_text=_("What is behind the expected end.")
    )
    forecast_at = models.DateTimeField(_("forecast made at"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("mailing")
        verbose_name_plural = _("mailings")
        ordering = ["-id"]
        permissions = [("view_all", _("Can view the mailings, messages, signatures and accounts of all managers"))]
        indexes = [models.Index(fields=["owner", "status"], name="massmail_mailing_owner")]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["draft", "cancelled", "merged"])
                | Q(version__isnull=False, started_at__isnull=False),
                name="massmail_started_is_frozen",
            )
        ]

    def __str__(self) -> str:
        return self.name


#: Something became known of a delivery after it had ended.
LATER = (
    Q(bounced_at__isnull=False)
    | Q(replied_at__isnull=False)
    | Q(auto_replied_at__isnull=False)
    | Q(complained_at__isnull=False)
    | Q(unsubscribed_at__isnull=False)
)


class Delivery(models.Model):
    """One address in one mailing.

    Inserted by `massmail.audience`; `account` set by `massmail.engine.lanes`; moved to `sending` by
    `massmail.engine.claims`; everything about how it ended is written by `massmail.outcomes`.
    """

    mailing = models.ForeignKey(
        Mailing, models.CASCADE, db_index=False, related_name="deliveries", verbose_name=_("mailing")
    )
    object_id = models.CharField(_("object id"), max_length=64)
    address = models.CharField(_("address"), max_length=320)
    account = models.ForeignKey(
        EmailAccount,
        models.SET_NULL,
        null=True,
        blank=True,
        db_index=False,
        related_name="deliveries",
        verbose_name=_("account"),
    )
    lane = models.ForeignKey(
        Lane, models.SET_NULL, null=True, blank=True, db_index=False, related_name="+", verbose_name=_("lane")
    )
    status = models.CharField(_("status"), max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.QUEUED)
    reason = models.CharField(_("reason"), max_length=30, blank=True)
    reply = models.TextField(_("the server's words"), blank=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    not_before = models.DateTimeField(_("not before"), null=True, blank=True)
    message_id = models.CharField(_("Message-ID"), max_length=250, blank=True)
    version = models.ForeignKey(
        MessageVersion,
        models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="+",
        verbose_name=_("message as sent"),
    )
    values = models.JSONField(_("values filled in"), encoder=DjangoJSONEncoder, null=True, blank=True)
    sending_at = models.DateTimeField(_("sending at"), null=True, blank=True)
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True)
    bounced_at = models.DateTimeField(_("bounced at"), null=True, blank=True)
    replied_at = models.DateTimeField(_("replied at"), null=True, blank=True)
    auto_replied_at = models.DateTimeField(_("answered automatically at"), null=True, blank=True)
    complained_at = models.DateTimeField(_("complained at"), null=True, blank=True)
    unsubscribed_at = models.DateTimeField(_("unsubscribed at"), null=True, blank=True)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        constraints = [
            models.UniqueConstraint(fields=["mailing", "address"], name="massmail_one_mail_per_address"),
            models.CheckConstraint(
                condition=~Q(status="sent") | Q(sent_at__isnull=False), name="massmail_sent_has_time"
            ),
            models.CheckConstraint(
                condition=~Q(status="sending") | Q(sending_at__isnull=False), name="massmail_sending_has_time"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["failed", "skipped", "unknown"]) | ~Q(reason=""),
                name="massmail_end_has_reason",
            ),
        ]
        indexes = [
            # The claim's index begins with the mailing: a million queued rows of a paused one cost an active one
            # nothing.
            models.Index(fields=["mailing", "account", "status", "id"], name="massmail_claim"),
            # With the mailing: SQLite would search a whole mailing for each recipient of another otherwise.
            models.Index(fields=["object_id", "mailing"], name="massmail_delivery_object"),
            # A page of "failed" or "sent" out of a million, and their export.
            models.Index(fields=["mailing", "status", "id"], name="massmail_delivery_status"),
            # What came of it afterwards: few rows, counted on the mailing's page.
            models.Index(fields=["mailing", "id"], condition=LATER, name="massmail_delivery_later"),
            models.Index(fields=["lane"], condition=Q(status="sending"), name="massmail_sending"),
            # The few that wait for another attempt: a forecast counts them by the time of it.
            models.Index(
                fields=["mailing", "account", "not_before"],
                condition=Q(status="queued", not_before__isnull=False),
                name="massmail_retries",
            ),
            models.Index(fields=["message_id"], condition=~Q(message_id=""), name="massmail_delivery_mid"),
        ]

    def __str__(self) -> str:
        return self.address


class LeftOut(models.Model):
    """Somebody who was not taken into a mailing, and why.

    Written only by `massmail.audience`, `massmail.models.received` and, for merged ones, `massmail.outcomes.resolving`.
    """

    mailing = models.ForeignKey(
        Mailing, models.CASCADE, db_index=False, related_name="left_out", verbose_name=_("mailing")
    )
    object_id = models.CharField(_("object id"), max_length=64)
    address = models.CharField(_("address"), max_length=320, blank=True)
    reason = models.CharField(_("reason"), max_length=30, choices=Exclusion.choices)

    class Meta:
        verbose_name = _("left out")
        verbose_name_plural = _("left out")
        ordering = ["id"]
        indexes = [
            models.Index(fields=["mailing", "reason", "id"], name="massmail_left_out"),
            # "Why did this customer not get it?", asked on the customer's page.
            models.Index(fields=["object_id"], name="massmail_left_out_object"),
        ]

    def __str__(self) -> str:
        return f"{self.address or self.object_id}: {self.get_reason_display()}"


class Tally(models.Model):
    """How many deliveries of a mailing ended in which way, per lane and day. Written only by `massmail.outcomes`.

    A row per lane keeps workers out of each other's way; the sum of a few rows is the progress of a million deliveries.
    """

    mailing = models.ForeignKey(
        Mailing, models.CASCADE, db_index=False, related_name="tallies", verbose_name=_("mailing")
    )
    lane = models.ForeignKey(Lane, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("lane"))
    day = models.DateField(_("day"))
    sent = models.IntegerField(_("sent"), default=0)
    failed = models.IntegerField(_("failed"), default=0)
    skipped = models.IntegerField(_("skipped"), default=0)
    unknown = models.IntegerField(_("unknown"), default=0)

    class Meta:
        verbose_name = _("tally")
        verbose_name_plural = _("tallies")
        constraints = [models.UniqueConstraint(fields=["mailing", "lane", "day"], name="massmail_one_tally")]

    def __str__(self) -> str:
        return f"{self.mailing_id} {self.day}: {self.sent}"


class Heartbeat(models.Model):
    """Who is alive. Written only by `massmail.engine`."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("heartbeat")
        verbose_name_plural = _("heartbeats")

    def __str__(self) -> str:
        return f"{self.name}: {self.at}"


class AuditEntry(models.Model):
    """Who did what. Rows are only ever added, by `audit()`."""

    at = models.DateTimeField(_("at"), auto_now_add=True)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("by"),
    )
    action = models.CharField(_("action"), max_length=30, choices=AuditAction.choices)
    mailing = models.ForeignKey(
        Mailing, models.SET_NULL, null=True, blank=True, related_name="audit", verbose_name=_("mailing")
    )
    account = models.ForeignKey(
        EmailAccount, models.SET_NULL, null=True, blank=True, related_name="audit", verbose_name=_("account")
    )
    text = models.TextField(_("text"), blank=True)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.get_action_display()}"


def audit(action: AuditAction, *, by: Any, text: str = "", **about: Any) -> AuditEntry:
    """Add an entry: who (`by`, a user or None for the machine) did `action` to `mailing=` or `account=`."""
    return AuditEntry.objects.create(action=action, by=by, text=text, **about)


def audit_each(action: AuditAction, *, by: Any, texts: Iterable[str]) -> None:
    """Add an entry for each of `texts`, which say what `by` did `action` to."""
    AuditEntry.objects.bulk_create([AuditEntry(action=action, by=by, text=text) for text in texts], batch_size=500)
