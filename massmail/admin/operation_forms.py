"""The forms of the pages on which operations ask first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminDateWidget, AdminSplitDateTime
from django.core.exceptions import ValidationError
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from massmail.admin.numbers import grouped
from massmail.models import Mailing, MassmailSettings, Message


class ScheduleForm(forms.Form):
    start_at = forms.SplitDateTimeField(
        label=gettext_lazy("Start at"),
        widget=AdminSplitDateTime,
        required=False,
        help_text=gettext_lazy("Empty: as soon as the mailing is resumed."),
    )

    def __init__(self, data: Any = None, *, mailing: Mailing) -> None:
        super().__init__(data, initial={"start_at": mailing.start_at})
        date, time = self.fields["start_at"].widget.widgets
        # Django writes "Date:" and "Time:" beside them, but not as labels.
        date.attrs["aria-label"], time.attrs["aria-label"] = _("Start at: date"), _("Start at: time")

    def clean_start_at(self) -> dt.datetime | None:
        start = self.cleaned_data["start_at"]
        if start is not None and start <= timezone.now():
            raise ValidationError(_("This moment has passed. Leave it empty to go on as soon as it is resumed."))
        return start


class ExcludeForm(forms.Form):
    message = forms.ModelChoiceField(
        label=gettext_lazy("Message"),
        queryset=Message.objects.none(),
        help_text=gettext_lazy("Who received it from any mailing is left out, whatever its name and recipients were."),
    )
    since = forms.DateField(
        label=gettext_lazy("Since"),
        widget=AdminDateWidget,
        required=False,
        help_text=gettext_lazy("Empty: whenever they received it."),
    )

    def __init__(self, data: Any = None, *, mailing: Mailing) -> None:
        super().__init__(data, initial={"message": mailing.message_id})
        choice: Any = self.fields["message"]
        choice.queryset = Message.objects.filter(owner=mailing.owner_id).defer("content", "plain_text")

    def clean_since(self) -> dt.datetime | None:
        """Return the beginning of the day, where the mailings are sent from."""
        day = self.cleaned_data["since"]
        zone = MassmailSettings.load().zone
        return dt.datetime.combine(day, dt.time(), tzinfo=zone) if day else None


class DuplicateForm(forms.Form):
    """`after` tells a second click from the first: see `operations.duplicate`."""

    after = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, mailings: Sequence[Mailing]) -> None:
        newest = Mailing.objects.filter(parent__in=mailings).aggregate(newest=Max("pk"))["newest"]
        super().__init__(data, initial={"after": newest or 0})


class _MailingChoices(forms.ModelMultipleChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        texts = {"mailing": obj, "status": obj.get_status_display().lower(), "count": grouped(obj.total)}
        return _("%(mailing)s (%(status)s, addresses: %(count)s)") % texts


class MergeForm(forms.Form):
    mailings = _MailingChoices(
        label=gettext_lazy("Mailings"), queryset=Mailing.objects.none(), widget=forms.CheckboxSelectMultiple
    )
    name = forms.CharField(label=gettext_lazy("Name of the merged mailing"), max_length=250)

    def __init__(self, data: Any = None, *, candidates: Sequence[Mailing], chosen: Sequence[Mailing]) -> None:
        ticked = chosen if len(chosen) > 1 else candidates
        initial = {"mailings": [mailing.pk for mailing in ticked], "name": chosen[0].name}
        super().__init__(data, initial=initial)
        choices: Any = self.fields["mailings"]
        choices.queryset = Mailing.objects.filter(pk__in=[mailing.pk for mailing in candidates]).order_by("pk")

    def clean_mailings(self) -> Any:
        mailings = self.cleaned_data["mailings"]
        if len(mailings) < 2:
            raise ValidationError(_("Choose two mailings or more to merge."))
        return mailings
