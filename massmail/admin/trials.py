"""Test mails from the pages of messages and mailings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail.admin.message_forms import TestMailForm, in_words
from massmail.admin.owned import OwnedModelAdmin
from massmail.admin.places import add_url, change_url, page_url
from massmail.composing import Prepared
from massmail.engine.trial import Report, send_test
from massmail.exceptions import CompositionError, TrialError
from massmail.models import EmailAccount


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is to be sent: a prepared message and the values to be filled in."""

    prepared: Prepared
    values: Mapping[str, Any]


class TestMailMixin(OwnedModelAdmin):
    """Adds a button that sends the object to its owner."""

    def letter(self, request: HttpRequest, obj: Any) -> Letter:
        """Return what to send for `obj`, as the recipient that `request.POST` names. Raises `CompositionError`."""
        raise NotImplementedError

    def get_urls(self) -> list[Any]:
        # A connection to a server may take its time: no transaction waits for it.
        view = transaction.non_atomic_requests(self.admin_site.admin_view(self.test_view))
        name = f"massmail_{self.opts.model_name}_test"
        return [path("<path:object_id>/test/", view, name=name), *super().get_urls()]

    def test_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """Return what `massmail/admin/test_mail.html` shows; nothing for those who may only look at `obj`."""
        if not self.has_change_permission(request, obj):
            return {}
        return {
            "test_form": TestMailForm(user=request.user),
            "test_url": page_url(self.admin_site, self.model, "test", obj.pk),
            "add_account_url": add_url(request, self.admin_site, EmailAccount),
        }

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send a test mail to the user: by POST, and only by those who may change the object."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        obj = self.get_object(request, unquote(object_id))
        if not self.has_change_permission(request, obj):
            raise PermissionDenied
        form = TestMailForm(request.POST, user=request.user)
        if form.is_valid():
            self._try(request, obj, form)
        else:
            self.message_user(
                request, _("No test mail was sent. Choose one of your accounts and addresses."), messages.ERROR
            )
        return HttpResponseRedirect(change_url(self.admin_site, obj))

    def _try(self, request: HttpRequest, obj: Any, form: TestMailForm) -> None:
        account, to = form.cleaned_data["account"], form.cleaned_data["address"]
        try:
            letter = self.letter(request, obj)
            report = send_test(
                letter.prepared, by=request.user, account=account, to=to, values=letter.values, now=timezone.now()
            )
        except CompositionError as error:
            self.message_user(request, _("No test mail was sent. %s") % in_words(error), messages.ERROR)
        except TrialError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self._tell(request, report)

    def _tell(self, request: HttpRequest, report: Report) -> None:
        level = messages.SUCCESS if report.accepted else messages.ERROR
        words = _("%(report)s The server's words: %(reply)s") % {"report": report.text, "reply": report.reply}
        self.message_user(request, words, level)
