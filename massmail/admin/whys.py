"""Why somebody is in a mailing: how its recipients were chosen, and by whom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from massmail.admin.owned import VIEW_ALL
from massmail.choices import AuditAction
from massmail.models import AuditEntry, Mailing

#: Characters of the filters in words.
LONGEST = 160


def whys(request: HttpRequest, keys: Iterable[int]) -> dict[int, str]:
    """Return for each mailing with a key of `keys` how its recipients were chosen and by whom, in one sentence.

    Two queries whatever the number of mailings. Of somebody else's mailing only those who see everybody's learn it.
    """
    mailings = Mailing.objects.filter(pk__in=set(keys)).select_related("parent", "owner").defer("forecast")
    made_by = _makers(keys)
    everything = request.user.has_perm(VIEW_ALL)
    return {
        mailing.pk: _why(mailing, made_by.get(mailing.pk) or mailing.owner)
        if everything or mailing.owner_id == request.user.pk
        else ""
        for mailing in mailings
    }


def _makers(keys: Iterable[int]) -> dict[int, Any]:
    """Return who made each mailing, as far as the log says; of those made from another one it says it there."""
    entries = AuditEntry.objects.filter(mailing__in=set(keys), action=AuditAction.CREATED, by__isnull=False)
    return {entry.mailing_id: entry.by for entry in entries.select_related("by") if entry.mailing_id}


def _why(mailing: Mailing, by: Any) -> str:
    if mailing.parent is not None and mailing.relation:
        values = {"relation": mailing.get_relation_display(), "mailing": mailing.parent, "by": by}
        return _("%(relation)s: “%(mailing)s”; made by %(by)s") % values
    words = " · ".join(f"{label}: {value}" for label, value in mailing.filters.get("words", []))
    if words:
        return _("Chosen by filters (%(filters)s) by %(by)s") % {"filters": Truncator(words).chars(LONGEST), "by": by}
    if "type" in mailing.filters:
        return _("Chosen with all others of the type, by %(by)s") % {"by": by}
    return _("Selected in the list by %(by)s") % {"by": by}
