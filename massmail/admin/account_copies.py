"""Copying an account: its servers and limits, never its passwords, tokens, hold or role."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from massmail.admin.forms import one_line
from massmail.choices import AuditAction
from massmail.models import EmailAccount
from massmail.models.mailings import audit

#: What a copy has from its original. A column that is not named here, be it new or secret, begins as in a new account.
COPIED = (
    "from_email",
    "from_name",
    "reply_to",
    "smtp_host",
    "smtp_port",
    "smtp_security",
    "smtp_username",
    "relay_address",
    "imap_host",
    "imap_port",
    "imap_security",
    "imap_username",
    "emails_per_day",
    "emails_per_hour",
    "ramp_start",
    "ramp_step",
    "paced",
    "lanes",
)


class CopyForm(forms.Form):
    """What the copy is called, and for superusers whose it will be."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=100,
        validators=[one_line],
        widget=forms.TextInput({"class": "vTextField"}),
    )
    owner: Any = forms.ModelChoiceField(label=gettext_lazy("Owner"), queryset=None)

    def __init__(self, data: Any = None, *, account: EmailAccount, user: Any) -> None:
        name = _("%(account)s (copy)") % {"account": account.name[:80]}
        super().__init__(data, initial={"name": name, "owner": account.owner_id})
        users = get_user_model()._default_manager.filter(is_active=True)
        if user.is_superuser:
            self.fields["owner"].queryset = users  # type: ignore[attr-defined]
        else:
            del self.fields["owner"]


@transaction.atomic
def copy_account(account: EmailAccount, *, name: str, owner: Any, by: Any) -> EmailAccount:
    """Return a new account of `owner` with the servers and limits of `account`, not yet used for mailings."""
    values = {field: getattr(account, field) for field in COPIED}
    copy = EmailAccount.objects.create(owner=owner, name=name, **values)
    audit(AuditAction.ACCOUNT_COPIED, by=by, account=copy, text=str(account))
    return copy
