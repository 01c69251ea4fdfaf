"""What the app knows of people: standing and consent."""

from __future__ import annotations

from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from massmail.choices import SuppressionReason
from massmail.models.accounts import EmailAccount


class Recipient(models.Model):
    """What the app knows of one host object, made when it is first needed.

    `vip` and `subscribed` are written only by `massmail.outcomes`, `account` and `addresses` only by
    `massmail.engine.lanes`. No foreign key leads to the host object: links and opt-outs outlive it.
    """

    content_type = models.ForeignKey(ContentType, models.CASCADE, related_name="+", verbose_name=_("recipient type"))
    object_id = models.CharField(_("object id"), max_length=64)
    account = models.ForeignKey(
        EmailAccount,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="recipients",
        verbose_name=_("account"),
        help_text=_("This recipient always hears from the same account. Never the main one."),
    )
    vip = models.BooleanField(_("VIP"), default=False, help_text=_("Served by the owner's main account."))
    subscribed = models.BooleanField(_("subscribed"), default=True)
    token = models.CharField(
        _("token"),
        max_length=32,
        unique=True,
        null=True,
        blank=True,
        editable=False,
        help_text=_("For links. Made when the recipient is first given to an account."),
    )
    addresses = models.JSONField(
        _("addresses"),
        default=list,
        blank=True,
        editable=False,
        help_text=_("Every address this recipient was ever mailed at; links name one by its position."),
    )

    class Meta:
        verbose_name = _("recipient")
        verbose_name_plural = _("recipients")
        constraints = [
            models.UniqueConstraint(fields=["content_type", "object_id"], name="massmail_one_recipient_per_object")
        ]
        indexes = [
            # Looked up for each object of a new mailing; whether there is any at all is asked first.
            models.Index(fields=["content_type", "object_id"], condition=Q(vip=True), name="massmail_recipient_vip"),
            models.Index(
                fields=["content_type", "object_id"], condition=Q(subscribed=False), name="massmail_recipient_off"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.content_type_id}:{self.object_id}"


class Suppression(models.Model):
    """An address that gets no more mail, whatever object it stands on. Written only by `massmail.outcomes`."""

    address = models.CharField(_("address"), max_length=320, unique=True)
    reason = models.CharField(_("reason"), max_length=20, choices=SuppressionReason.choices)
    created = models.DateTimeField(_("created"), auto_now_add=True)
    source = models.TextField(
        _("where it came from"), blank=True, help_text=_("The link, mailing, bounce or person behind it.")
    )

    class Meta:
        verbose_name = _("suppression")
        verbose_name_plural = _("suppressions")
        ordering = ["-created", "-id"]

    def __str__(self) -> str:
        return self.address
