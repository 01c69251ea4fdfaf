"""The sums of what came back for a mailing: a row each, so that nobody has to count deliveries."""

from __future__ import annotations

from django.db.models import F

from massmail.models import Returns


def add(mailing_id: int, **changes: int) -> None:
    """Add `changes` to the columns of the mailing's `Returns`, in the caller's transaction."""
    rows = Returns.objects.filter(mailing=mailing_id)
    added = {name: F(name) + number for name, number in changes.items() if number}
    if added and not rows.update(**added):
        # Ignored if another process is quicker.
        Returns.objects.bulk_create([Returns(mailing_id=mailing_id)], ignore_conflicts=True)
        rows.update(**added)
