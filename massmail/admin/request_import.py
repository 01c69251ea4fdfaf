"""The button "Import request from email" on the list of requests, and the mailbox behind it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from massmail.admin.correspondence import MassmailConversationMixin, wrap
from massmail.admin.places import link_to, page_url
from massmail.conversations import ConversationType, find_conversation_type
from massmail.inbound.conversations import mailbox
from massmail.inbound.conversations.importing import Imported, import_mail
from massmail.inbound.conversations.mailbox import Entry, MailboxUnavailable
from massmail.models import EmailAccount, Mailing


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A mail as the list shows it, with links for those who may follow them."""

    entry: Entry
    mailing: Mailing | None
    mailing_url: str
    person_url: str
    person_type: str
    imported: Any
    imported_url: str


class MassmailRequestAdminMixin(MassmailConversationMixin):
    """For the `ModelAdmin` of requests: `class RequestAdmin(MassmailRequestAdminMixin, admin.ModelAdmin)`.

    Besides the block of `MassmailConversationMixin` it puts a button on the list, in whatever template the list has,
    for those who may add requests. Everybody imports from the mailboxes of their own accounts only.
    """

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_massmail"
        # A connection to a server may take its time: no transaction waits for it.
        view = transaction.non_atomic_requests(self.admin_site.admin_view(self.massmail_mailbox_view))
        return [
            path("massmail/import/", self.admin_site.admin_view(self.massmail_import_view), name=f"{name}_import"),
            path("massmail/import/<int:key>/", view, name=f"{name}_mailbox"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data is not None and self._importable(request):
            response.context_data["massmail_import_url"] = page_url(self.admin_site, self.model, "massmail_import")
            wrap(response, "massmail/admin/requests_change_list.html")
        return response

    def massmail_import_view(self, request: HttpRequest) -> HttpResponse:
        """Let the user choose among his own accounts that import; with one only there is nothing to choose."""
        self._kind(request)
        accounts = list(_accounts(request))
        if len(accounts) == 1:
            return HttpResponseRedirect(self._mailbox_url(accounts[0]))
        context = {
            **self._import_page(request, _("Import request from email")),
            "accounts": [(account, self._mailbox_url(account)) for account in accounts],
            "accounts_url": self._accounts_url(request),
        }
        return TemplateResponse(request, "massmail/admin/import_accounts.html", context)

    def massmail_mailbox_view(self, request: HttpRequest, key: int) -> HttpResponse:
        """Show the mailbox of one of the user's own accounts; import what was ticked in a posted form."""
        kind = self._kind(request)
        account = _accounts(request).filter(pk=key).first() if key < 1 << 63 else None
        if account is None:
            raise Http404(_("There is no such page."))
        if request.method == "POST":
            return self._import(request, account, kind)
        view, trouble = None, None
        try:
            view = mailbox.look(account, kind, number=_number(request.GET.get("page", "")))
        except MailboxUnavailable as error:
            trouble = error
        several = _accounts(request).count() > 1
        context = {
            **self._import_page(request, _("Import request from email")),
            "account": account,
            "account_url": link_to(request, self.admin_site, account),
            "others_url": page_url(self.admin_site, self.model, "massmail_import") if several else "",
            "view": view,
            "trouble": trouble,
            "rows": [self._row(request, entry) for entry in view.entries] if view else [],
            "lead_name": self._lead_name(request, kind),
        }
        return TemplateResponse(request, "massmail/admin/import_mailbox.html", context)

    def _row(self, request: HttpRequest, entry: Entry) -> Row:
        mailing = entry.delivery.mailing if entry.delivery else None
        about = entry.imported.conversation.about if entry.imported else None
        return Row(
            entry=entry,
            mailing=mailing,
            mailing_url=link_to(request, self.admin_site, mailing),
            person_url=link_to(request, self.admin_site, entry.person),
            person_type=str(entry.person._meta.verbose_name) if entry.person else "",
            imported=about,
            imported_url=link_to(request, self.admin_site, about),
        )

    def _import(self, request: HttpRequest, account: EmailAccount, kind: ConversationType) -> HttpResponse:
        numbers = [each for each in request.POST.getlist("uid")[: mailbox.PAGE] if each.isdecimal() and len(each) < 11]
        validity = request.POST.get("validity", "")
        back = f"{self._mailbox_url(account)}?page={_number(request.POST.get('page', ''))}"
        if not numbers or not (validity.isdecimal() and len(validity) < 20):
            self.message_user(request, _("Nothing was imported. Tick one mail or more."), messages.WARNING)
            return HttpResponseRedirect(back)
        leads = bool(request.POST.get("leads")) and bool(self._lead_name(request, kind))
        done: list[Imported] = []
        try:
            for fetched in mailbox.fetch(account, [int(each) for each in numbers], validity=int(validity)):
                done.append(import_mail(account, fetched, kind, leads=leads, now=timezone.now()))
                self._note(request, done[-1])
        except MailboxUnavailable as error:
            self.message_user(request, f"{error} {error.remedy}", messages.ERROR)
        gone = len(set(numbers)) - len(done)
        self._report(request, done)
        if gone:
            text = ngettext(
                "%(count)d mail was not imported: it is not in the mailbox any more, or was not reached.",
                "%(count)d mails were not imported: they are not in the mailbox any more, or were not reached.",
                gone,
            )
            self.message_user(request, text % {"count": gone}, messages.WARNING)
        return HttpResponseRedirect(self._where_to(request, done) or back)

    def _note(self, request: HttpRequest, imported: Imported) -> None:
        """Keep in the admin's log who made what."""
        if imported.made:
            self.log_addition(request, imported.about, [{"added": {}}])
        if imported.lead is not None:
            self.log_addition(request, imported.lead, [{"added": {}}])

    def _report(self, request: HttpRequest, done: list[Imported]) -> None:
        count = Counter("made" if each.made else "added" if each.added else "known" for each in done)
        texts = {
            "made": ngettext("%(count)d request made.", "%(count)d requests made.", count["made"]),
            "added": ngettext(
                "%(count)d mail belongs to a request that is there already, and was added to it.",
                "%(count)d mails belong to requests that are there already, and were added to them.",
                count["added"],
            ),
            "known": ngettext(
                "%(count)d mail is imported already.", "%(count)d mails are imported already.", count["known"]
            ),
        }
        for key, text in texts.items():
            if count[key]:
                level = messages.INFO if key == "known" else messages.SUCCESS
                self.message_user(request, text % {"count": count[key]}, level)

    def _where_to(self, request: HttpRequest, done: list[Imported]) -> str:
        """Return the page of the only request, or the list of all."""
        if len(done) == 1:
            return link_to(request, self.admin_site, done[0].about)
        return page_url(self.admin_site, self.model, "changelist") if done else ""

    # Who may, and where ---------------------------------------------------------------------------------------------

    def _importable(self, request: HttpRequest) -> bool:
        kind = find_conversation_type(self.model)
        return kind is not None and kind.importable and self.has_add_permission(request)

    def _kind(self, request: HttpRequest) -> ConversationType:
        kind = find_conversation_type(self.model)
        if kind is None or not self._importable(request):
            raise PermissionDenied
        return kind

    def _lead_name(self, request: HttpRequest, kind: ConversationType) -> str:
        """Return what a new object for an unknown sender is called, or "" if the user may not add one."""
        model = kind.lead_class
        if model is None or not request.user.has_perm(
            f"{model._meta.app_label}.{get_permission_codename('add', model._meta)}"
        ):
            return ""
        return str(model._meta.verbose_name)

    def _mailbox_url(self, account: EmailAccount) -> str:
        return page_url(self.admin_site, self.model, "massmail_mailbox", account.pk)

    def _accounts_url(self, request: HttpRequest) -> str:
        model_admin = self.admin_site._registry.get(EmailAccount)
        if model_admin is None or not model_admin.has_view_permission(request):
            return ""
        return page_url(self.admin_site, EmailAccount, "changelist")

    def _import_page(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "list_url": page_url(self.admin_site, self.model, "changelist"),
        }


def _accounts(request: HttpRequest) -> QuerySet[EmailAccount]:
    """Return the user's own accounts to import from: nobody looks into another one's mailbox, not even a superuser."""
    mine = EmailAccount.objects.filter(owner=request.user.pk, do_import=True).exclude(imap_host="")
    return mine.select_related("owner").order_by("-main", "name", "pk")


def _number(text: str) -> int:
    """Return the number of a page, 1 where there is none."""
    return int(text) if text.isdecimal() and len(text) < 8 else 1
