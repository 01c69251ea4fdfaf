"""Mail that came back."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from massmail.choices import InboundKind
from massmail.models.accounts import EmailAccount
from massmail.models.mailings import Delivery


class InboundMessage(models.Model):
    """The raw facts of a fetched mail: stored first, judged later, each once. Written only by `massmail.inbound`."""

    account = models.ForeignKey(EmailAccount, models.CASCADE, related_name="inbound", verbose_name=_("account"))
    folder = models.CharField(_("folder"), max_length=200)
    uid_validity = models.BigIntegerField(_("UIDVALIDITY"))
    uid = models.BigIntegerField(_("UID"))
    message_id = models.CharField(_("Message-ID"), max_length=250, blank=True)
    from_address = models.CharField(_("from"), max_length=320, blank=True)
    subject = models.TextField(_("subject"), blank=True)
    received_at = models.DateTimeField(_("received at"), null=True)
    size = models.PositiveIntegerField(_("size in bytes"), default=0)
    raw = models.BinaryField(_("raw message"), default=b"")
    kind = models.CharField(_("kind"), max_length=20, choices=InboundKind.choices, blank=True)
    facts = models.JSONField(_("facts"), default=dict, blank=True)
    delivery = models.ForeignKey(
        Delivery, models.SET_NULL, null=True, blank=True, related_name="answers", verbose_name=_("answers")
    )
    judged_at = models.DateTimeField(_("judged at"), null=True, blank=True)

    class Meta:
        verbose_name = _("inbound message")
        verbose_name_plural = _("inbound messages")
        constraints = [
            models.UniqueConstraint(
                fields=["account", "folder", "uid_validity", "uid"], name="massmail_one_row_per_uid"
            )
        ]
        indexes = [models.Index(fields=["account", "message_id"], name="massmail_inbound_mid")]

    def __str__(self) -> str:
        return f"{self.from_address}: {self.subject}"
