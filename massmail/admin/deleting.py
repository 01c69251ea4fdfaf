"""What may be deleted, and why the rest stays: mail that was sent stays on record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import router, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail.choices import DeliveryStatus, MailingStatus
from massmail.models import AccountDay, Delivery, EmailAccount, InboundMessage, LeftOut, Mailing
from massmail.outcomes import progress


def kept_for_the_record(mailings: Sequence[Mailing]) -> list[str]:
    """Return, for each of `mailings` that can't be deleted, the reason in words."""
    sums = progress(mailings, now=timezone.now())
    under_way = set(
        Delivery.objects.filter(mailing__in=mailings, status=DeliveryStatus.SENDING).values_list("mailing", flat=True)
    )
    kept = []
    for mailing in mailings:
        gone = sums[mailing.pk].sent + sums[mailing.pk].failed + sums[mailing.pk].unknown
        if gone or mailing.pk in under_way:
            kept.append(_("“%(mailing)s” has sent mail and stays as the record of it.") % {"mailing": mailing})
        elif mailing.status in (MailingStatus.ACTIVE, MailingStatus.PAUSED):
            kept.append(_("“%(mailing)s” is started. Cancel it first.") % {"mailing": mailing})
    return kept


@transaction.atomic
def discard(mailing: Mailing) -> None:
    """Delete a mailing that has sent nothing, with its recipients; no-op if it was started in the meantime."""
    locked = Mailing.objects.select_for_update().filter(pk=mailing.pk)
    if not locked.exists() or kept_for_the_record(list(locked)):
        return
    # By hand, as Django would fetch each of a million rows to look for answers to mail that was never sent.
    for model in (Delivery, LeftOut):
        rows = model._default_manager.filter(mailing=mailing)
        rows._raw_delete(router.db_for_write(model))
    mailing.delete()


def accounts_with_history(accounts: Iterable[EmailAccount]) -> list[str]:
    """Return, for each of `accounts` that can't be deleted, the reason in words."""
    keys = [account.pk for account in accounts]
    used = AccountDay.objects.filter(account__in=keys, used__gt=0).values("account")
    answered = InboundMessage.objects.filter(account__in=keys).values("account")
    kept = EmailAccount.objects.filter(Q(pk__in=used) | Q(pk__in=answered))
    return [
        _("Mail was sent through “%(account)s”, so it stays. Untick “Massmail” on its page to send no more.")
        % {"account": account.name}
        for account in kept
    ]
