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

    Written by its owner and by administrators; `held_until`, `hold_…` and `judged_after` only by `massmail.outcomes`;
    the OAuth2 tokens and `size_limit` (octets of the largest mail, as the server says) only by `massmail.connecting`;
    the IMAP cursor only by `massmail.inbound`.
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
    emails_per_hour = models.PositiveIntegerField(
        _("emails per hour"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Limit of this account from one full hour to the next. Empty: none."),
    )
    ramp_start = models.PositiveIntegerField(
        _("warm-up: first day"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_(
            "Mails on the first day of a new account, so that providers get to know it. Empty: no warm-up. "
            "After 30 days without mail it begins again."
        ),
    )
    ramp_step = models.PositiveIntegerField(
        _("warm-up: more each day"),
        default=10,
        validators=[MinValueValidator(1)],
        help_text=_("So many mails more after each day on which it has sent, until its daily limit is reached."),
    )
    size_limit = models.PositiveBigIntegerField(_("largest mail"), null=True, blank=True, editable=False)
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
    relay_address = models.GenericIPAddressField(
        _("address of your relay"),
        null=True,
        blank=True,
        help_text=_(
            "Only for a mail server of your own: the IP address with which it appears in the internet. "
            "SPF and reverse DNS are then checked for it."
        ),
    )
    held_until = models.DateTimeField(_("held until"), null=True, blank=True, editable=False)
    hold_reason = models.TextField(_("reason of the hold"), blank=True, editable=False)
    hold_trouble = models.CharField(
        _("kind of trouble"), max_length=20, choices=AccountTrouble.choices, blank=True, default="", editable=False
    )
    judged_after = models.JSONField(
        _("judged after"),
        default=dict,
        blank=True,
        editable=False,
        help_text=_("The day of the last release and its figures until then: the guard rails begin anew after them."),
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
    """What an account did on a day of the settings' time zone.

    `used`, of its quota, is written by `massmail.engine.quota`; the others, what became of the mail of that day, by
    `massmail.outcomes`.
    """

    account = models.ForeignKey(EmailAccount, models.CASCADE, related_name="days", verbose_name=_("account"))
    date = models.DateField(_("date"))
    used = models.PositiveIntegerField(_("used"), default=0)
    refused = models.PositiveIntegerField(_("refused"), default=0)
    undeliverable = models.PositiveIntegerField(_("undeliverable"), default=0)
    complaints = models.PositiveIntegerField(_("complaints"), default=0)

    class Meta:
        verbose_name = _("account's day")
        verbose_name_plural = _("account's days")
        constraints = [models.UniqueConstraint(fields=["account", "date"], name="massmail_one_ledger_per_day")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.date}: {self.used}"


class Usage(models.Model):
    """What was used up of a limit of an hour or a day from `begins` until `ends`. Written by `massmail.engine.usage`.

    `key` names whose limit it is, `most` is what it was when it was last charged. Rows of the past are deleted.
    """

    key = models.CharField(_("key"), max_length=320)
    begins = models.DateTimeField(_("begins"))
    ends = models.DateTimeField(_("ends"))
    used = models.PositiveIntegerField(_("used"), default=0)
    most = models.PositiveIntegerField(_("limit"), default=0)

    class Meta:
        verbose_name = _("used of a limit")
        verbose_name_plural = _("used of limits")
        constraints = [models.UniqueConstraint(fields=["key", "begins"], name="massmail_one_usage")]
        indexes = [models.Index(fields=["ends"], name="massmail_usage_past")]

    def __str__(self) -> str:
        return f"{self.key} {self.begins}: {self.used}"
