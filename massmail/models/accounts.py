"""Accounts, their lanes and their daily ledger."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from massmail.choices import AccountTrouble, Security
from massmail.fields import SecretField, Undecryptable

#: Connections that one account may have at a time.
MAX_LANES = 16


class EmailAccount(models.Model):
    """A mailbox of one sales manager, through which mailings leave.

    Written by its owner and by administrators; `held_until` and `hold_…` only by `massmail.outcomes`; the OAuth2
    tokens only by `massmail.connecting`; the IMAP cursor only by `massmail.inbound`.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="massmail_accounts", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=100, help_text=_("How this account is called in lists."))
    from_email = models.EmailField(_("from address"), max_length=254)
    from_name = models.CharField(_("from name"), max_length=200, blank=True)
    reply_to = models.EmailField(
        _("reply-to address"),
        max_length=254,
        blank=True,
        help_text=_("Empty: answers come to the from address."),
    )
    main = models.BooleanField(
        _("main"),
        default=False,
        help_text=_("The owner's main account. It sends mailings to VIP recipients only."),
    )
    massmail = models.BooleanField(_("Massmail"), default=False, help_text=_("Use this account for mailings."))
    do_import = models.BooleanField(
        _("do import"), default=False, help_text=_("Requests may be imported from this mailbox.")
    )
    smtp_host = models.CharField(_("SMTP server"), max_length=253)
    smtp_port = models.PositiveIntegerField(
        _("SMTP port"), default=587, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    smtp_security = models.CharField(
        _("SMTP security"), max_length=10, choices=Security.choices, default=Security.STARTTLS
    )
    smtp_username = models.CharField(_("SMTP user name"), max_length=254, blank=True)
    smtp_password = SecretField(_("SMTP password"), blank=True, default="")
    imap_host = models.CharField(_("IMAP server"), max_length=253, blank=True)
    imap_port = models.PositiveIntegerField(
        _("IMAP port"), default=993, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    imap_security = models.CharField(_("IMAP security"), max_length=10, choices=Security.choices, default=Security.SSL)
    imap_username = models.CharField(
        _("IMAP user name"), max_length=254, blank=True, help_text=_("Empty: as for SMTP.")
    )
    imap_password = SecretField(_("IMAP password"), blank=True, default="", help_text=_("Empty: as for SMTP."))
    oauth_provider = models.CharField(_("connected with"), max_length=50, blank=True, editable=False)
    oauth_access_token = SecretField(_("access token"), blank=True, default="", editable=False)
    oauth_refresh_token = SecretField(_("refresh token"), blank=True, default="", editable=False)
    oauth_expires_at = models.DateTimeField(_("access token expires"), null=True, blank=True, editable=False)
    trusted_servers = models.JSONField(
        _("trusted servers"),
        default=list,
        blank=True,
        editable=False,
        help_text=_("“host:port” of the servers that an administrator entered: they may be in the private network."),
    )
    imap_cursor = models.JSONField(_("IMAP cursor"), default=dict, blank=True, editable=False)
    emails_per_day = models.PositiveIntegerField(
        _("emails per day"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Daily limit of this account. Empty: as in the Massmail Settings."),
    )
    paced = models.BooleanField(
        _("paced"),
        default=True,
        help_text=_(
            "Leave a gap between two mails, as a person does. Untick for a relay that takes mail at full speed."
        ),
    )
    lanes = models.PositiveSmallIntegerField(
        _("connections at once"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_LANES)],
        help_text=_("How many connections a relay takes at the same time. A paced account has one."),
    )
    held_until = models.DateTimeField(_("held until"), null=True, blank=True, editable=False)
    hold_reason = models.TextField(_("reason of the hold"), blank=True, editable=False)
    hold_trouble = models.CharField(
        _("kind of trouble"), max_length=20, choices=AccountTrouble.choices, blank=True, default="", editable=False
    )
    created = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("email account")
        verbose_name_plural = _("email accounts")
        ordering = ["owner_id", "name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner"],
                condition=Q(main=True),
                name="massmail_one_main_account",
                violation_error_message=_("This owner already has a main account."),
            ),
            models.CheckConstraint(
                condition=Q(held_until__isnull=True) | ~Q(hold_reason=""), name="massmail_hold_has_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} <{self.from_email}>"

    @property
    def domain(self) -> str:
        return self.from_email.rpartition("@")[2]

    @property
    def slots(self) -> range:
        """The slots of its lanes: a paced account has one, a relay as many as its connections."""
        return range(1 if self.paced else self.lanes)

    @property
    def secret_lost(self) -> bool:
        """Whether a password or token is stored, and needed, that none of the keys in force can open."""
        secrets = [self.oauth_refresh_token] if self.oauth_provider else [self.smtp_password]
        return any(isinstance(secret, Undecryptable) for secret in secrets)


class Lane(models.Model):
    """One stream of deliveries of an account.

    Written by `massmail.engine.lanes`, what concerns its batch by `massmail.engine.batch`; `offered_at` is set by
    `massmail.engine.rings` and taken back by the worker who comes.
    """

    account = models.ForeignKey(EmailAccount, models.CASCADE, related_name="+", verbose_name=_("account"))
    slot = models.PositiveSmallIntegerField(_("slot"), default=0)
    lease_token = models.CharField(_("lease token"), max_length=32, blank=True)
    lease_until = models.DateTimeField(_("lease until"), null=True, blank=True)
    next_at = models.DateTimeField(_("may speak next at"), null=True, blank=True)
    offered_at = models.DateTimeField(
        _("waits for a worker since"), null=True, blank=True, help_text=_("The first ring that no worker has answered.")
    )
    taken_at = models.DateTimeField(_("taken by a worker at"), null=True, blank=True)
    failures = models.PositiveSmallIntegerField(_("failures in a row"), default=0)
    refusals = models.PositiveSmallIntegerField(_("refusals by policy in a row"), default=0)
    last_reply = models.TextField(_("the server's last words"), blank=True)
    last_mailing = models.BigIntegerField(
        _("last mailing served"),
        default=0,
        help_text=_("Whose turn it was: mailings of an owner take turns."),
    )

    last_sent_at = models.DateTimeField(_("last mail sent at"), null=True, blank=True)
    batch_at = models.DateTimeField(
        _("batch since"),
        null=True,
        blank=True,
        help_text=_("Mails sent since then are not yet in the tallies; the worker knows them."),
    )
    batch_quota = models.PositiveIntegerField(
        _("quota of the batch"), default=0, help_text=_("Mails charged ahead to the account's day.")
    )

    class Meta:
        verbose_name = _("lane")
        verbose_name_plural = _("lanes")
        constraints = [models.UniqueConstraint(fields=["account", "slot"], name="massmail_one_lane_per_slot")]

    def __str__(self) -> str:
        return f"{self.account_id}/{self.slot}"


class AccountDay(models.Model):
    """What an account used of its quota on a day of the settings' time zone. Written by `massmail.engine.quota`."""

    account = models.ForeignKey(EmailAccount, models.CASCADE, related_name="days", verbose_name=_("account"))
    date = models.DateField(_("date"))
    used = models.PositiveIntegerField(_("used"), default=0)

    class Meta:
        verbose_name = _("account's day")
        verbose_name_plural = _("account's days")
        constraints = [models.UniqueConstraint(fields=["account", "date"], name="massmail_one_ledger_per_day")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.date}: {self.used}"
