"""Looking an account's domain up in the DNS, and keeping what was found."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict

import dns.resolver

from massmail.choices import Check, Verdict
from massmail.deliverability import Finding, Limits, Signature, check_domain, make_resolver
from massmail.engine.checkup.standing import subject_of, test_subject_of
from massmail.models import Checkup, EmailAccount

#: How long findings hold before a worker looks again, and how long where something got no answer.
RENEWED_AFTER, RETRIED_AFTER = dt.timedelta(days=1), dt.timedelta(hours=1)
#: What each of the five checks may use, while somebody waits in front of a screen.
LIMITS = Limits(queries=60, seconds=5.0, lifetime=2.0)


def check_account(
    account: EmailAccount, *, now: dt.datetime, resolver: dns.resolver.Resolver | None = None
) -> tuple[Finding, ...]:
    """Look up what the DNS says of `account`, by `resolver` or the one in force, and keep and return it.

    Takes a second as a rule, and 25 at most. Writes one row.
    """
    before = Checkup.objects.filter(account=account).first()
    findings = check_domain(
        account.domain,
        resolver=resolver or make_resolver(),
        smtp_host=account.smtp_host,
        signatures=signatures_of(account, before),
        relay=account.relay_address or "",
        limits=LIMITS,
    )
    facts = {"subject": subject_of(account), "checked_at": now, "findings": stored(findings)}
    Checkup.objects.update_or_create(account=account, defaults=facts)
    return findings


def renew(account_id: int, *, now: dt.datetime) -> None:
    """Check the account if that is due, as `due` says; a ring that comes twice does nothing the second time."""
    account = EmailAccount.objects.filter(pk=account_id, massmail=True).select_related("checkup").first()
    if account is not None and _is_due(account, getattr(account, "checkup", None), now):
        check_account(account, now=now)


def stored(findings: Sequence[Finding]) -> list[dict[str, object]]:
    return [asdict(finding) for finding in findings]


def signatures_of(account: EmailAccount, checkup: Checkup | None) -> list[Signature]:
    """Return the signatures that were seen in mail of `account` as it is now: of this domain, through this server."""
    if checkup is None or checkup.test_subject != test_subject_of(account):
        return []
    return [Signature(**each) for each in checkup.signatures]


def due(*, now: dt.datetime) -> list[int]:
    """Return the accounts for mailing that were never checked, not lately, or not as they are now; in one query."""
    accounts = EmailAccount.objects.filter(massmail=True).select_related("checkup").order_by("pk")
    return [account.pk for account in accounts if _is_due(account, getattr(account, "checkup", None), now)]


def _is_due(account: EmailAccount, checkup: Checkup | None, now: dt.datetime) -> bool:
    if checkup is None or checkup.checked_at is None or checkup.subject != subject_of(account):
        return True
    return checkup.checked_at <= now - (RETRIED_AFTER if _unanswered(checkup) else RENEWED_AFTER)


def _unanswered(checkup: Checkup) -> bool:
    findings = (Finding.from_dict(each) for each in checkup.findings)
    try:
        return any(
            each.verdict == Verdict.UNKNOWN and not each.guessed and each.check != Check.MAIL for each in findings
        )
    except KeyError:  # of another version of the app
        return True
