"""Accounts on hold: the provider said no to the account, and nobody's delivery fails for it."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from massmail.choices import AccountTrouble, AuditAction
from massmail.models import EmailAccount
from massmail.models.mailings import audit


def hold_account(
    account: EmailAccount,
    reason: str,
    *,
    until: dt.datetime | None = None,
    trouble: AccountTrouble | Literal[""] = "",
) -> None:
    """Put `account` on hold until the moment `until`, or until somebody releases it.

    `reason` are the provider's own words, `trouble` decides what its owner is advised to do.
    """
    EmailAccount.objects.filter(pk=account.pk).update(hold_reason=reason, held_until=until, hold_trouble=trouble)
    account.hold_reason, account.held_until, account.hold_trouble = reason, until, trouble
    audit(AuditAction.ACCOUNT_HELD, by=None, account=account, text=reason)


def release_account(account: EmailAccount, *, by: Any) -> None:
    """End the hold of `account`; no-op if there is none."""
    held = EmailAccount.objects.filter(pk=account.pk).exclude(hold_reason="")
    if held.update(hold_reason="", held_until=None, hold_trouble=""):
        audit(AuditAction.ACCOUNT_RELEASED, by=by, account=account, text=account.hold_reason)
    account.hold_reason, account.held_until, account.hold_trouble = "", None, ""
