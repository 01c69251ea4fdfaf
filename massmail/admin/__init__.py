"""The admin pages. `massmail.admin.register(site)` puts them on a site of the host's own as well."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import AdminSite

from massmail.admin.accounts import EmailAccountAdmin
from massmail.admin.actions import MassmailAdminMixin
from massmail.admin.correspondence import MassmailConversationMixin
from massmail.admin.images import ImageAdmin
from massmail.admin.mailings import MailingAdmin
from massmail.admin.messages import MessageAdmin
from massmail.admin.recipients import DeliveryAdmin, LeftOutAdmin
from massmail.admin.request_import import MassmailRequestAdminMixin
from massmail.admin.settings import MassmailSettingsAdmin
from massmail.admin.signatures import SignatureAdmin
from massmail.admin.suppressions import SuppressionAdmin
from massmail.models import (
    Delivery,
    EmailAccount,
    Image,
    LeftOut,
    Mailing,
    MassmailSettings,
    Message,
    Signature,
    Suppression,
)

__all__ = ["MassmailAdminMixin", "MassmailConversationMixin", "MassmailRequestAdminMixin", "register"]

PAGES = {
    Mailing: MailingAdmin,
    Message: MessageAdmin,
    Signature: SignatureAdmin,
    Image: ImageAdmin,
    EmailAccount: EmailAccountAdmin,
    Delivery: DeliveryAdmin,
    LeftOut: LeftOutAdmin,
    Suppression: SuppressionAdmin,
    MassmailSettings: MassmailSettingsAdmin,
}


def register(site: AdminSite) -> None:
    """Put the pages of the app on `site`. Those that stand there already stay."""
    for model, model_admin in PAGES.items():
        if not site.is_registered(model):
            site.register(model, model_admin)


register(admin.site)
