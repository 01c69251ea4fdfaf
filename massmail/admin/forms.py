"""The forms of the admin pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.forms import Script
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables

from massmail.admin.account_servers import SERVERS, knows_secrets, private_address, trusted
from massmail.admin.providers import provider_choices
from massmail.audience import parse_address
from massmail.choices import Weekday
from massmail.connecting import find_provider
from massmail.connecting.presets import Preset, preset, preset_of_server
from massmail.models import EmailAccount, Suppression

#: Controls, line ends and what turns the direction of writing would forge headers or deceive readers.
one_line = RegexValidator(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]",
    gettext_lazy("This must be one line without control characters."),
    inverse_match=True,
)


#: What a new account is offered to send on its first day.
RAMP_START = 20


class OwnedForm(forms.ModelForm):
    """A form about an object with an owner: what it offers and takes belongs to that owner.

    The admin fills in `user`. A new object is the user's own, unless the form has a field `owner` (superusers').
    """

    user: Any = None
    #: Fields that choose something with an owner.
    owned_choices: Sequence[str] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "owner" in self.fields:
            self.fields["owner"].initial = self.user
        elif self.instance.owner_id is None:
            self.instance.owner = self.user
        for name in self.owned_choices:
            if name in self.fields:
                self._cut(self.fields[name])

    def _cut(self, field: Any) -> None:
        """Offer the owner's objects only, and no buttons that delete what other objects use."""
        field.widget.can_delete_related = field.widget.can_view_related = False
        if "owner" not in self.fields:
            field.queryset = field.queryset.filter(owner=self.instance.owner_id)

    @property
    def owner(self) -> Any:
        """The owner that the object has, or will have when the form is saved."""
        return self.cleaned_data.get("owner") if "owner" in self.fields else self.instance.owner

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in self.owned_choices:
            chosen = cleaned.get(name)
            if chosen is not None and chosen.owner != self.owner:
                self.add_error(name, _("“%(object)s” belongs to somebody else.") % {"object": chosen})
        return cleaned

    def written_fields(self) -> list[str]:
        """Return the columns that saving the form may touch."""
        columns = self.instance._meta.concrete_fields
        return [field.name for field in columns if field.name in self.fields or getattr(field, "auto_now", False)]


class MailingForm(OwnedForm):
    owned_choices = ["message"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "start_at" in self.fields:
            date, time = self.fields["start_at"].widget.widgets
            # Django writes "Date:" and "Time:" beside them, but not as labels.
            date.attrs["aria-label"], time.attrs["aria-label"] = _("Start at: date"), _("Start at: time")


class ProviderSelect(forms.Select):
    """The choice of a provider with the button that fills in its servers, and what has to be switched on there."""

    template_name = "massmail/admin/provider_choice.html"
    fill_url = ""
    shown: Preset | None = None

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        context["widget"]["fill_url"] = self.fill_url
        shown = preset(value or "") or self.shown
        return context | {"preset": shown, "provider": find_provider(shown.oauth) if shown and shown.oauth else None}


class EmailAccountForm(OwnedForm):
    """Passwords go in and never come out: an empty field keeps what is stored.

    The admin fills in `fill_url`, the address that proposes servers.
    """

    class Media:
        js = (Script("massmail/account.js", defer=True),)

    fill_url = ""

    provider = forms.ChoiceField(
        label=gettext_lazy("Provider"),
        required=False,
        choices=provider_choices,
        widget=ProviderSelect,
        help_text=gettext_lazy("“Fill in” proposes servers, ports and limits below. You can change all of them."),
    )
    filled_in = forms.CharField(required=False, widget=forms.HiddenInput(attrs={"autocomplete": "off"}))
    trust_servers = forms.BooleanField(
        label=gettext_lazy("Servers may be in the private network"),
        required=False,
        help_text=gettext_lazy(
            "Tick this for servers of your own that somebody else entered. You trust what you enter."
        ),
    )
    new_smtp_password = forms.CharField(
        label=gettext_lazy("SMTP password"),
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
    )
    remove_smtp_password = forms.BooleanField(label=gettext_lazy("Remove the SMTP password"), required=False)
    new_imap_password = forms.CharField(
        label=gettext_lazy("IMAP password"),
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
    )
    remove_imap_password = forms.BooleanField(label=gettext_lazy("Remove the IMAP password"), required=False)

    secrets = ("smtp_password", "imap_password")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("name", "from_name", "smtp_username", "imap_username"):
            if name in self.fields:
                self.fields[name].validators.append(one_line)
        if self.instance.pk is None and "ramp_start" in self.fields:
            self.fields["ramp_start"].initial = RAMP_START
        for name in self.secrets:
            if f"new_{name}" in self.fields:
                self.fields[f"new_{name}"].help_text = self._explain(name)
        if "provider" in self.fields:
            widget = self.fields["provider"].widget
            widget.fill_url, widget.shown = self.fill_url, preset_of_server(self.instance.smtp_host)

    def _explain(self, name: str) -> str:
        if self.instance.pk is None:
            return _("It is stored encrypted and never shown again.")
        if self.instance.secret_lost and name == "smtp_password":
            return _("The stored password can't be decrypted any more. Enter it again.")
        if getattr(self.instance, name):
            return _("A password is stored. Leave this empty to keep it.")
        return _("No password is stored.")

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        for name in self.secrets:
            if cleaned.get(f"new_{name}") and cleaned.get(f"remove_{name}"):
                self.add_error(f"remove_{name}", _("Either enter a new password or remove the old one."))
        if self.instance.pk is not None:
            self._keep_secrets(cleaned)
        if not self.user.is_superuser:
            self._refuse_private_addresses(cleaned)
        if cleaned.get("main") and self.owner is not None:
            others = EmailAccount.objects.filter(owner=self.owner, main=True).exclude(pk=self.instance.pk)
            if other := others.only("name").first():
                self.add_error(
                    "main",
                    _("“%(account)s” is the main account already. Untick “main” there first.")
                    % {"account": other.name},
                )
        return cleaned

    @sensitive_variables()
    def _keep_secrets(self, cleaned: dict[str, Any]) -> None:
        """Refuse to hand what is stored to another server."""
        for host, _port in SERVERS:
            if not cleaned.get(host) or knows_secrets(self.instance, cleaned[host]):
                continue
            name = "smtp_password" if host == "smtp_host" else self._imap_secret(cleaned)
            if self.instance.oauth_provider:
                self.add_error(
                    host,
                    _("The account's token belongs to its provider, not to %(host)s. Disconnect the account first.")
                    % {"host": cleaned[host]},
                )
            elif getattr(self.instance, name) and not (cleaned.get(f"new_{name}") or cleaned.get(f"remove_{name}")):
                self.add_error(
                    f"new_{name}",
                    _("Enter the password again: the stored one is not handed to another server, %(host)s.")
                    % {"host": cleaned[host]},
                )

    def _imap_secret(self, cleaned: dict[str, Any]) -> str:
        """Return which password logs in for IMAP: that for SMTP, unless there is another one."""
        kept = self.instance.imap_password and not cleaned.get("remove_imap_password")
        return "imap_password" if cleaned.get("new_imap_password") or kept else "smtp_password"

    def _refuse_private_addresses(self, cleaned: dict[str, Any]) -> None:
        for host, port in SERVERS:
            if not {host, port}.isdisjoint(self.changed_data) and cleaned.get(host):
                why = private_address(self.instance, cleaned[host], cleaned.get(port))
                if why:
                    self.add_error(host, why)

    @sensitive_variables()
    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.user.is_superuser:
            everything = self.instance.pk is None or self.cleaned_data.get("trust_servers")
            entered = [name for pair in SERVERS for name in pair] if everything else self.changed_data
            self.instance.trusted_servers = trusted(self.instance, entered=entered)
        for name in self.secrets:
            if new := self.cleaned_data.get(f"new_{name}"):
                setattr(self.instance, name, new)
            elif self.cleaned_data.get(f"remove_{name}"):
                setattr(self.instance, name, "")

    def _get_validation_exclusions(self) -> set[str]:
        # `clean` says which other account is the main one; the constraint could not.
        return super()._get_validation_exclusions() | {"owner"}  # type: ignore[misc]

    def written_fields(self) -> list[str]:
        touched = [
            name
            for name in self.secrets
            if self.cleaned_data.get(f"new_{name}") or self.cleaned_data.get(f"remove_{name}")
        ]
        trust = ["trusted_servers"] if self.user.is_superuser else []
        return [*super().written_fields(), *touched, *trust]


class SuppressionForm(forms.ModelForm):
    class Meta:
        model = Suppression
        fields = ["address", "reason", "source"]
        widgets = {"source": AdminTextareaWidget(attrs={"rows": 2})}

    def clean_address(self) -> str:
        address = parse_address(self.cleaned_data["address"])
        if address is None:
            raise ValidationError(_("This is not a valid email address."))
        return address.normalised


class MassmailSettingsForm(forms.ModelForm):
    working_days = forms.TypedMultipleChoiceField(
        label=gettext_lazy("Working days"),
        choices=Weekday.choices,
        coerce=int,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("Taken into account when “Use working hours” is ticked."),
    )
    time_zone = forms.ChoiceField(
        label=gettext_lazy("Time zone"),
        choices=lambda: [(name, name) for name in sorted(available_timezones())],
        help_text=gettext_lazy("Working hours and daily limits are counted in this time zone."),
    )
