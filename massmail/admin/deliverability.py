"""The page "Deliverability" of an account: what was last found, what to do about it, and the buttons that look again.

Opening it asks nobody: findings are read from the record. Only its buttons, which post, touch the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.forms import Media, Script
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail.admin.owned import OwnedModelAdmin
from massmail.admin.places import change_url, page_url
from massmail.choices import Verdict
from massmail.deliverability import Finding
from massmail.engine.checkup.checking import check_account
from massmail.engine.checkup.selftest import is_awaited, send_self_test
from massmail.engine.checkup.standing import Standing, allow, standing_of, subject_of
from massmail.exceptions import CompositionError, LifecycleError, TrialError
from massmail.models import Checkup, EmailAccount

#: What stands under which heading of the page, the worst first; how it looks.
GROUPS = (Verdict.BAD, Verdict.WARNING, Verdict.UNKNOWN, Verdict.GOOD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The findings of one verdict."""

    verdict: Verdict
    title: str
    findings: Sequence[Finding]


class DeliverabilityMixin(OwnedModelAdmin):
    """For the admin of accounts: the page and its buttons."""

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        # A name server or a mail server may take its time: no transaction waits for it.
        check = transaction.non_atomic_requests(wrap(self.check_view))
        self_test = transaction.non_atomic_requests(wrap(self.self_test_view))
        page, name = "<path:object_id>/deliverability/", "massmail_emailaccount_deliverability"
        return [
            path(page, wrap(self.deliverability_view), name=name),
            path(f"{page}check/", check, name=f"{name}_check"),
            path(f"{page}mail/", self_test, name=f"{name}_mail"),
            path(f"{page}allow/", wrap(self.allow_view), name=f"{name}_allow"),
            *super().get_urls(),
        ]

    def deliverability_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what is on record; with `?part=1` the findings alone, for the script that waits for the test mail."""
        account = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, account):
            raise PermissionDenied
        checkup = Checkup.objects.filter(account=account).first()
        context = self._findings_context(request, account, checkup, standing_of(account, checkup))
        if request.GET.get("part"):
            return render(request, "massmail/admin/deliverability.html", context)
        page = {
            **self.admin_site.each_context(request),
            "title": _("Deliverability"),
            "subtitle": account.name,
            "opts": self.opts,
            "media": self.media + _script(),
            "change_url": change_url(self.admin_site, account),
        }
        return render(request, "massmail/admin/deliverability_page.html", page | context)

    def _findings_context(
        self, request: HttpRequest, account: EmailAccount, checkup: Checkup | None, standing: Standing
    ) -> dict[str, Any]:
        changeable = self.has_change_permission(request, account)
        return {
            "account": account,
            "checkup": checkup,
            "standing": standing,
            "groups": _groups(standing.findings),
            "outdated": bool(checkup and checkup.checked_at and checkup.subject != subject_of(account)),
            "waiting": bool(checkup and is_awaited(checkup, now=timezone.now())),
            "page_url": self._url("", account),
            "check_url": self._url("_check", account) if changeable else "",
            "test_url": self._url("_mail", account) if account.owner_id == request.user.pk and changeable else "",
            "allow_url": self._url("_allow", account) if request.user.is_superuser and standing.stops else "",
        }

    def _url(self, page: str, account: EmailAccount) -> str:
        return page_url(self.admin_site, EmailAccount, f"deliverability{page}", account.pk)

    # The buttons -----------------------------------------------------------------------------------------------------

    def check_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask the DNS now: by POST, and only by those who may change the account."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        account = self._changed(request, object_id)
        check_account(account, now=timezone.now())
        return self._back(account)

    def self_test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send the account a test mail of its own: by POST, and only by its owner."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        account = self._changed(request, object_id)
        try:
            report = send_self_test(account, by=request.user, now=timezone.now())
        except (TrialError, CompositionError) as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            if not report.accepted:
                words = _("%(report)s The server said: %(reply)s") % {"report": report.text, "reply": report.reply}
                self.message_user(request, words, messages.ERROR)
        return self._back(account)

    def allow_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let mailings start although the account is red: by POST, and only by superusers."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        account = self._changed(request, object_id)
        try:
            allow(account, by=request.user)
        except LifecycleError as error:
            raise PermissionDenied from error
        words = _("Mailings through “%(account)s” may start now.") % {"account": account.name}
        self.message_user(request, words, messages.SUCCESS)
        return self._back(account)

    def _changed(self, request: HttpRequest, object_id: str) -> EmailAccount:
        account: EmailAccount = self.get_object(request, unquote(object_id))
        if not self.has_change_permission(request, account):
            raise PermissionDenied
        return account

    def _back(self, account: EmailAccount) -> HttpResponse:
        return HttpResponseRedirect(self._url("", account))


def _groups(findings: Sequence[Finding]) -> list[Group]:
    titles = {
        Verdict.BAD: _("Mend this first"),
        Verdict.WARNING: _("Should be better"),
        Verdict.UNKNOWN: _("Could not be looked up, or shows only in a mail"),
        Verdict.GOOD: _("In order"),
    }
    found = {verdict: [finding for finding in findings if finding.verdict == verdict] for verdict in GROUPS}
    return [Group(verdict=verdict, title=titles[verdict], findings=each) for verdict, each in found.items() if each]


def _script() -> Media:
    scripts: list[Any] = [Script("massmail/deliverability.js", defer=True)]
    return Media(js=scripts)
