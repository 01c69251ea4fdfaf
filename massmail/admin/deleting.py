"""Which accounts may be deleted, and why the rest stays: mail that was sent stays on record."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q
from django.utils.translation import gettext as _

from massmail.models import AccountDay, EmailAccount, InboundMessage


def accounts_with_history(accounts: Iterable[EmailAccount]) -> list[str]:
    """Return, for each of `accounts` that can't be deleted, the reason in words."""
    keys = [account.pk for account in accounts]
    used = AccountDay.objects.filter(account__in=keys, used__gt=0).values("account")
    answered = InboundMessage.objects.filter(account__in=keys, delivery__isnull=False).values("account")
    kept = EmailAccount.objects.filter(Q(pk__in=used) | Q(pk__in=answered))
    return [
        _("Mail was sent through “%(account)s”, so it stays. Untick “Massmail” on its page to send no more.")
        % {"account": account.name}
        for account in kept
    ]
