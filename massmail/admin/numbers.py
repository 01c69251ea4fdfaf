"""Numbers as people read them."""

from __future__ import annotations

from django.utils.formats import number_format


def grouped(number: int) -> str:
    """Return `number` as people read it, "50,000", in the words of the language in force."""
    return number_format(number, use_l10n=True, force_grouping=True)
