from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PreferencesConfig(AppConfig):
    """The heading "Settings" of the admin index. Its one model is `massmail.models.MassmailSettings`."""

    name = "massmail.preferences"
    label = "massmail_settings"
    verbose_name = _("Settings")
    default_auto_field = "django.db.models.BigAutoField"
