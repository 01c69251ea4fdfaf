"""What the DNS and a test mail say: of sending accounts, and of the domains that recipients have their mailboxes at."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from massmail.choices import MailDomain, SelfTest
from massmail.models.accounts import EmailAccount
from massmail.models.mailings import Mailing


class Checkup(models.Model):
    """What was last found out about whether the world will accept an account's mail.

    Written only by `massmail.engine.checkup`: the first half by `checking`, the second, `test_…`, by `selftest`;
    `allowed` by `standing`. Findings are kept as facts and become words in the language of whoever reads them.
    """

    account = models.OneToOneField(
        EmailAccount, models.CASCADE, related_name="checkup", verbose_name=_("email account")
    )
    subject = models.CharField(
        _("what was checked"),
        max_length=600,
        blank=True,
        help_text=_("Domain, server and relay. Findings about others say nothing of the account any more."),
    )
    checked_at = models.DateTimeField(_("checked at"), null=True, blank=True)
    findings = models.JSONField(_("findings"), default=list, blank=True)
    signatures = models.JSONField(
        _("signatures"),
        default=list,
        blank=True,
        help_text=_("Domain and selector of the DKIM signatures seen in the account's own mail."),
    )
    allowed = models.JSONField(
        _("allowed"), default=list, blank=True, help_text=_("Codes of bad findings that stop no mailing.")
    )
    test_subject = models.CharField(_("what was tested"), max_length=600, blank=True)
    test_state = models.CharField(_("test mail"), max_length=10, choices=SelfTest.choices, blank=True)
    test_message_id = models.CharField(_("Message-ID of the test mail"), max_length=250, blank=True)
    test_sent_at = models.DateTimeField(_("test mail sent at"), null=True, blank=True)
    test_look_at = models.DateTimeField(
        _("looked for next at"), null=True, blank=True, help_text=_("Empty: it is not waited for any more.")
    )
    test_looks = models.PositiveSmallIntegerField(_("times it was looked for"), default=0)
    test_trouble = models.TextField(_("why the mailbox can't be read"), blank=True)
    test_findings = models.JSONField(_("findings of the test mail"), default=list, blank=True)

    class Meta:
        verbose_name = _("deliverability check")
        verbose_name_plural = _("deliverability checks")
        constraints = [
            models.CheckConstraint(
                condition=Q(test_state__in=["", *SelfTest.values]), name="massmail_known_state_of_self_test"
            )
        ]

    def __str__(self) -> str:
        return str(self.account)


class RecipientDomain(models.Model):
    """Whether a domain takes mail, as far as the DNS told. Written only by `massmail.engine.checkup.domains`.

    What is known holds until `expires_at`; `look_at` is set while somebody wants to know.
    """

    name = models.CharField(_("domain"), max_length=255, unique=True)
    state = models.CharField(_("state"), max_length=10, choices=MailDomain.choices, blank=True)
    checked_at = models.DateTimeField(_("checked at"), null=True, blank=True)
    expires_at = models.DateTimeField(_("holds until"), null=True, blank=True)
    look_at = models.DateTimeField(_("to be looked up at"), null=True, blank=True)
    failures = models.PositiveSmallIntegerField(_("times without an answer"), default=0)

    class Meta:
        verbose_name = _("recipients' domain")
        verbose_name_plural = _("recipients' domains")
        indexes = [
            models.Index(fields=["look_at"], condition=Q(look_at__isnull=False), name="massmail_domain_look_at"),
        ]

    def __str__(self) -> str:
        return self.name


class DomainSurvey(models.Model):
    """Which of a mailing's recipients are at domains that take no mail. Written only by `…engine.checkup.domains`."""

    mailing = models.OneToOneField(Mailing, models.CASCADE, related_name="survey", verbose_name=_("mailing"))
    collected_at = models.DateTimeField(_("domains collected at"))
    summed_at = models.DateTimeField(_("summed up at"), null=True, blank=True)
    open = models.PositiveIntegerField(_("domains still to be looked up"), default=0)
    deaf = models.JSONField(
        _("domains that take no mail"),
        default=list,
        blank=True,
        help_text=_("The first of them, with the number of recipients."),
    )
    deaf_domains = models.PositiveIntegerField(_("number of domains that take no mail"), default=0)
    deaf_recipients = models.PositiveIntegerField(_("recipients there"), default=0)

    class Meta:
        verbose_name = _("survey of domains")
        verbose_name_plural = _("surveys of domains")

    def __str__(self) -> str:
        return f"{self.mailing_id}: {self.deaf_recipients}"
