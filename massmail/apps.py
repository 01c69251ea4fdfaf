from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class MassmailConfig(AppConfig):
    name = "massmail"
    verbose_name = _("Massmail")
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: Any) -> None:
        super().__init__(app_name, app_module)
        # The settings row stands under its own heading on the admin index ("Settings"). Django groups models by app, so
        # the row has an app of its own; it comes along with this one, so that the integrator adds one line and not two.
        heading = AppConfig.create("massmail.preferences")
        heading.apps = apps
        apps.app_configs.setdefault(heading.label, heading)

    def ready(self) -> None:
        from massmail import checks  # noqa: F401  registers the system checks
        from massmail.inbound.conversations import belonging

        belonging.watch()
