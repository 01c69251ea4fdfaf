"""Green, amber or red: how an account stands by what is on record, and whether that stops mailings. Asks no DNS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.utils.translation import gettext as _

from massmail.choices import AuditAction, HoldReason, Light, Verdict
from massmail.deliverability import Finding
from massmail.engine.holds.hold import Hold
from massmail.exceptions import LifecycleError
from massmail.models import Checkup, EmailAccount
from massmail.models.mailings import audit

#: The worst comes first.
_ORDER = (Verdict.BAD, Verdict.WARNING, Verdict.UNKNOWN, Verdict.GOOD)


@dataclass(frozen=True)
class Standing:
    """What is on record about an account: its findings, the worst first, and those that an administrator let pass."""

    findings: tuple[Finding, ...]
    allowed: frozenset[str]

    @cached_property
    def light(self) -> Light:
        verdicts = {finding.verdict for finding in self.findings if finding.counts}
        if not verdicts:
            return Light.UNCHECKED
        if Verdict.BAD in verdicts:
            return Light.RED
        if Verdict.WARNING in verdicts:
            return Light.AMBER
        return Light.UNKNOWN if Verdict.UNKNOWN in verdicts else Light.GREEN

    @property
    def bad(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict == Verdict.BAD]

    @property
    def stops(self) -> bool:
        """Whether mailings through the account do not start. A permission is for the findings it was given for."""
        return not self.allowed.issuperset(finding.code for finding in self.bad)

    @property
    def permitted(self) -> bool:
        """Whether the account is red and may send all the same."""
        return bool(self.bad) and not self.stops


def subject_of(account: EmailAccount) -> str:
    """Return what a check of `account` is about; when this changes, what was found before says nothing any more."""
    return f"{account.domain.lower()} {account.smtp_host.lower()} {account.relay_address or ''}"


def test_subject_of(account: EmailAccount) -> str:
    """Return what a test mail of `account` is about."""
    return f"{account.domain.lower()} {account.smtp_host.lower()}"


def standing_of(account: EmailAccount, checkup: Checkup | None) -> Standing:
    """Return how `account` stands by its `checkup`, None where nothing was looked at yet."""
    if checkup is None:
        return Standing(findings=(), allowed=frozenset())
    stored = [
        *(checkup.findings if checkup.subject == subject_of(account) else ()),
        *(checkup.test_findings if checkup.test_subject == test_subject_of(account) else ()),
    ]
    findings = sorted(_read(stored), key=lambda finding: _ORDER.index(finding.verdict))
    return Standing(findings=tuple(findings), allowed=frozenset(checkup.allowed))


def _read(stored: Iterable[dict[str, Any]]) -> Iterable[Finding]:
    for each in stored:
        with suppress(KeyError):  # of another version of the app
            yield Finding.from_dict(each)


def standings(accounts: Iterable[EmailAccount]) -> dict[int, Standing]:
    """Return how `accounts` stand, by primary key, in one query."""
    accounts = list(accounts)
    checkups = {row.account_id: row for row in Checkup.objects.filter(account__in=accounts)}
    return {account.pk: standing_of(account, checkups.get(account.pk)) for account in accounts}


def obstacles(accounts: Sequence[EmailAccount]) -> list[Hold]:
    """Return a hold for each of `accounts` whose mail would not be accepted: no mailing starts with it."""
    found = standings(accounts)
    return [_hold(account, found[account.pk]) for account in accounts if found[account.pk].stops]


def _hold(account: EmailAccount, standing: Standing) -> Hold:
    worst = next(finding for finding in standing.bad if finding.code not in standing.allowed)
    return Hold(
        reason=HoldReason.UNDELIVERABLE,
        detail=_("Much of the mail of the account “%(account)s” would be refused or filed as spam: %(finding)s")
        % {"account": account.name, "finding": worst.seen},
        remedy=_("Its page “Deliverability” shows what to do. Then check again there."),
        about=account,
    )


def allow(account: EmailAccount, *, by: Any) -> None:
    """Let mailings start although `account` is red, until something else is found bad; on record in the audit.

    Raises `LifecycleError` for anybody but superusers.
    """
    if not by.is_superuser:
        raise LifecycleError(_("Only an administrator can let a red account send."))
    checkup = Checkup.objects.filter(account=account).first()
    standing = standing_of(account, checkup)
    if checkup is None or not standing.stops:
        return
    codes = sorted({finding.code for finding in standing.bad})
    Checkup.objects.filter(pk=checkup.pk).update(allowed=codes)
    audit(AuditAction.RED_ALLOWED, by=by, account=account, text=", ".join(codes))
