"""The administrator's settings: one row."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import DomainNameValidator, MaxValueValidator, MinValueValidator, URLValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from massmail.choices import Weekday

#: The largest number of a `PositiveIntegerField`.
MOST = 2**31 - 1


def default_time_zone() -> str:
    return settings.TIME_ZONE


def default_working_days() -> list[int]:
    return [Weekday.MONDAY, Weekday.TUESDAY, Weekday.WEDNESDAY, Weekday.THURSDAY]


def validate_time_zone(name: str) -> None:
    if name not in available_timezones():
        raise ValidationError(_("“%(name)s” is not a time zone; an example is Europe/Berlin."), params={"name": name})


def validate_working_days(days: Any) -> None:
    if not isinstance(days, list) or not days or not set(days) <= set(Weekday.values):
        raise ValidationError(_("Choose at least one working day."))


def parse_domain_limits(text: str) -> dict[str, int]:
    """Return the limits in `text` by domain, one a line: "gmail.com 50".

    Raises `ValidationError` with the line that is something else.
    """
    limits = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        domain, _space, number = line.lower().removeprefix("@").rpartition(" ")
        try:
            name = domain.strip().encode("idna").decode()
            DomainNameValidator()(name)
            limits[name] = min(int(number), MOST)
        except (ValidationError, ValueError):
            limits[""] = -1
        if min(limits.values()) < 0:
            raise ValidationError(
                _("“%(line)s” is not a domain and a number; an example is “gmail.com 50”."), params={"line": line}
            )
    return limits


def validate_domain_limits(text: str) -> None:
    parse_domain_limits(text)


class MassmailSettings(models.Model):
    """The one settings row. Read it with `load()`, change it with `save()`."""

    emails_per_day = models.PositiveIntegerField(
        _("emails per day"),
        default=94,
        validators=[MinValueValidator(1)],
        help_text=_("Daily limit of each account that has none of its own."),
    )
    use_business_time = models.BooleanField(
        _("Use working hours"),
        default=False,
        help_text=_("Send only in the hours and on the days below. Friday, Saturday and Sunday are off unless ticked."),
    )
    business_time_start = models.TimeField(_("start of working hours"), default=datetime.time(8, 30))
    business_time_end = models.TimeField(_("end of working hours"), default=datetime.time(17, 30))
    working_days = models.JSONField(_("working days"), default=default_working_days, validators=[validate_working_days])
    time_zone = models.CharField(
        _("time zone"),
        max_length=64,
        default=default_time_zone,
        validators=[validate_time_zone],
        help_text=_("Working hours and daily limits are counted in this time zone."),
    )
    unsubscribe_url = models.CharField(
        _("URL to unsubscribe"),
        max_length=500,
        blank=True,
        validators=[URLValidator(schemes=["http", "https"])],
        help_text=_(
            "Page on your company's website that says “You have unsubscribed”. "
            "Recipients are sent there, so that the address of this site is not shown."
        ),
    )
    gap_min = models.PositiveIntegerField(
        _("shortest gap"),
        default=15,
        validators=[MaxValueValidator(86400)],
        help_text=_("Seconds between two mails of an account, at least."),
    )
    gap_max = models.PositiveIntegerField(
        _("longest gap"),
        default=35,
        validators=[MaxValueValidator(86400)],
        help_text=_("Seconds between two mails of an account, at most."),
    )
    spread_evenly = models.BooleanField(
        _("spread evenly"),
        default=False,
        help_text=_("Spread what is left of an account's daily limit over what is left of the day."),
    )

    emails_per_hour_to_domain = models.PositiveIntegerField(
        _("emails per hour to one domain"),
        default=0,
        help_text=_(
            "What one account sends to the recipients of one domain (what stands after the @) from one full hour to "
            "the next. 0: no limit."
        ),
    )
    domain_limits = models.TextField(
        _("domains with a limit of their own"),
        blank=True,
        validators=[validate_domain_limits],
        help_text=_("One a line, with its number of emails per hour: “gmail.com 50”. 0: no limit."),
    )
    emails_per_recipient = models.PositiveIntegerField(
        _("emails to one recipient"),
        default=0,
        help_text=_("Mails of all mailings together within the days beside. Who has had them waits. 0: no limit."),
    )
    recipient_days = models.PositiveIntegerField(
        _("within days"),
        default=7,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text=_("Days over which the mails to one recipient are counted."),
    )
    emails_per_company = models.PositiveIntegerField(
        _("emails a day to one company"),
        default=0,
        help_text=_("Mails of all accounts to the people of one company on one day. The others wait. 0: no limit."),
    )

    bounce_limit = models.DecimalField(
        _("bounce limit"),
        max_digits=5,
        decimal_places=2,
        default=Decimal(5),
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_(
            "A mailing pauses, and an account is put on hold, when more than this percentage of the mails is "
            "undeliverable. 0: never. Providers expect less than 2 to 5."
        ),
    )
    complaint_limit = models.DecimalField(
        _("complaint limit"),
        max_digits=5,
        decimal_places=2,
        default=Decimal("0.3"),
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_(
            "The same for mails that are reported as spam. 0: never. "
            "Gmail and Yahoo block senders at 0.3 and want less than 0.1."
        ),
    )
    refusal_limit = models.DecimalField(
        _("refusal limit"),
        max_digits=5,
        decimal_places=2,
        default=Decimal(10),
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_(
            "An account is put on hold when more than this percentage of its mails is refused for other reasons. "
            "0: never."
        ),
    )
    guard_days = models.PositiveIntegerField(
        _("days that count"),
        default=7,
        validators=[MinValueValidator(1), MaxValueValidator(90)],
        help_text=_("An account is judged by the mail of so many days."),
    )
    limit_sample = models.PositiveIntegerField(
        _("smallest sample"),
        default=50,
        validators=[MinValueValidator(1)],
        help_text=_(
            "Mails that must have been sent before these limits are applied. Fewer than three failures never count."
        ),
    )

    class Meta:
        app_label = "massmail_settings"
        verbose_name = _("Massmail Settings")
        verbose_name_plural = _("Massmail Settings")
        constraints = [
            models.CheckConstraint(condition=models.Q(pk=1), name="massmail_settings_one_row"),
        ]

    def __str__(self) -> str:
        return str(_("Massmail Settings"))

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.pk = 1
        kwargs.pop("force_insert", None)
        super().save(*args, **kwargs)

    def clean(self) -> None:
        errors = {}
        if self.business_time_start and self.business_time_end and self.business_time_start >= self.business_time_end:
            errors["business_time_end"] = _("The end of working hours must come after their start.")
        if self.gap_min is not None and self.gap_max is not None and self.gap_min > self.gap_max:
            errors["gap_max"] = _("The longest gap can't be shorter than the shortest gap.")
        if errors:
            raise ValidationError(errors)

    @classmethod
    def load(cls) -> MassmailSettings:
        """Return the row, or the defaults (unsaved) where nobody has changed anything yet."""
        return cls.objects.filter(pk=1).first() or cls(pk=1)

    @property
    def limits_of_domains(self) -> dict[str, int]:
        """The limits per hour of the domains that have one of their own."""
        return parse_domain_limits(self.domain_limits)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)
