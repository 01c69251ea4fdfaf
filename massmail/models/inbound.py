"""Mail that came back: how far each mailbox is read, what was found in it, and the sums that follow from it."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from massmail.choices import InboundKind
from massmail.models.accounts import EmailAccount
from massmail.models.mailings import Delivery, Mailing


class Mailbox(models.Model):
    """How the reading of an account's mail goes. Written only by `massmail.inbound`.

    What was read already stands in `EmailAccount.imap_cursor`. Trouble here never keeps the account from sending.
    """

    account = models.OneToOneField(
        EmailAccount, models.CASCADE, related_name="mailbox", verbose_name=_("email account")
    )
    lease_token = models.CharField(_("lease token"), max_length=32, blank=True)
    lease_until = models.DateTimeField(_("lease until"), null=True, blank=True)
    polled_at = models.DateTimeField(_("read at"), null=True, blank=True)
    next_at = models.DateTimeField(_("may be read next at"), null=True, blank=True)
    failures = models.PositiveSmallIntegerField(_("failures in a row"), default=0)
    trouble = models.TextField(_("trouble"), blank=True, help_text=_("Why the last reading failed."))
    refused = models.BooleanField(
        _("refused"), default=False, help_text=_("The login or the settings are wrong: it needs a person.")
    )
    looked_at = models.DateTimeField(_("looked for sent mail at"), null=True, blank=True)
    sent_folder = models.CharField(_("folder of sent mail"), max_length=200, blank=True)
    files_sent = models.BooleanField(
        _("files what it sends"),
        null=True,
        blank=True,
        help_text=_("Whether the provider puts what leaves over SMTP into the folder of sent mail."),
    )

    class Meta:
        verbose_name = _("mailbox")
        verbose_name_plural = _("mailboxes")

    def __str__(self) -> str:
        return str(self.account)


class InboundMessage(models.Model):
    """The raw facts of a fetched mail: stored first, judged later, each once. Written only by `massmail.inbound`.

    `raw` holds the first part of the mail until it is judged, and after that only where it is the evidence of what
    followed; of mail that answers nothing of ours no word is kept.
    """

    account = models.ForeignKey(EmailAccount, models.CASCADE, related_name="inbound", verbose_name=_("email account"))
    folder = models.CharField(_("folder"), max_length=200)
    uid_validity = models.BigIntegerField(_("UIDVALIDITY"))
    uid = models.BigIntegerField(_("UID"))
    outgoing = models.BooleanField(
        _("outgoing"), default=False, help_text=_("Found in the folder of sent mail: it answers nothing.")
    )
    fingerprint = models.CharField(
        _("fingerprint"),
        max_length=64,
        blank=True,
        default="",
        help_text=_("The same for the same mail, also in another folder and after the server numbered its mail anew."),
    )
    message_id = models.CharField(_("Message-ID"), max_length=250, blank=True)
    from_address = models.CharField(_("from"), max_length=320, blank=True)
    subject = models.TextField(_("subject"), blank=True)
    received_at = models.DateTimeField(_("received at"), null=True)
    size = models.PositiveBigIntegerField(_("size in bytes"), default=0)
    raw = models.BinaryField(_("raw message"), default=b"")
    tries = models.PositiveSmallIntegerField(_("attempts to judge it"), default=0)
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
            ),
            models.UniqueConstraint(
                fields=["account", "fingerprint"], condition=~models.Q(fingerprint=""), name="massmail_one_row_per_mail"
            ),
        ]
        indexes = [
            models.Index(fields=["account", "message_id"], name="massmail_inbound_mid"),
            models.Index(
                fields=["account", "id"], condition=models.Q(judged_at__isnull=True), name="massmail_inbound_unjudged"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.from_address}: {self.subject}"


class Returns(models.Model):
    """What came back for a mailing, in deliveries. Written only by `massmail.outcomes.returns`.

    From `since` on it is what the guard judges: the figures of mails sent since the mailing was started, or resumed
    after a pause by the guard, so that it does not pause again at once for what its owner knows already.
    """

    mailing = models.OneToOneField(Mailing, models.CASCADE, related_name="returns", verbose_name=_("mailing"))
    bounced = models.PositiveIntegerField(_("bounced"), default=0)
    replied = models.PositiveIntegerField(_("replied"), default=0)
    auto_replied = models.PositiveIntegerField(_("answered automatically"), default=0)
    complained = models.PositiveIntegerField(_("complained"), default=0)
    unsubscribed = models.PositiveIntegerField(_("unsubscribed"), default=0)
    since = models.DateTimeField(_("judged since"), null=True, blank=True)
    sent_before = models.PositiveIntegerField(_("sent before that"), default=0)
    bad = models.PositiveIntegerField(_("undeliverable since then"), default=0)
    complaints = models.PositiveIntegerField(_("complaints since then"), default=0)
    paused_at = models.DateTimeField(_("paused by the guard at"), null=True, blank=True)

    class Meta:
        verbose_name = _("returns")
        verbose_name_plural = _("returns")

    def __str__(self) -> str:
        return f"{self.mailing_id}: {self.bounced}"
