"""The block "Correspondence" on the pages of requests and deals: what was written, its files, and the answer form."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core import checks
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F
from django.forms import Media
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from massmail.admin.owned import VIEW_ALL
from massmail.admin.places import link_to, page_url
from massmail.choices import DeliveryStatus, Direction, InboundKind
from massmail.conversations import find_conversation_type
from massmail.exceptions import AnswerError
from massmail.inbound.conversations.answering import ANSWERABLE, answer
from massmail.inbound.conversations.belonging import conversations_of
from massmail.models import Correspondence, CorrespondenceFile, EmailAccount

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    Base = object

#: Mails of a request or deal that its page shows.
LATEST = 100
DOUBTFUL = (DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One mail. `stranger` says that its sender had no part in the conversation before."""

    mail: Correspondence
    outgoing: bool
    stranger: bool
    automatic: str
    doubtful: bool
    mailing: str
    mailing_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What the template shows, in the order in which it was written."""

    lines: Sequence[Line]
    older: bool
    form: AnswerForm | None


class AnswerForm(forms.Form):
    """An answer to one of the mails that came in, through one of the user's own accounts that import."""

    account = forms.ModelChoiceField(
        label=gettext_lazy("Through"), queryset=EmailAccount.objects.none(), empty_label=None
    )
    to = forms.ModelChoiceField(
        label=gettext_lazy("To"), queryset=Correspondence.objects.none(), empty_label=None, required=True
    )
    text = forms.CharField(
        label=gettext_lazy("Answer"),
        max_length=50_000,
        widget=forms.Textarea(attrs={"rows": 8, "class": "vLargeTextField"}),
    )
    key = forms.RegexField("^[0-9a-f]{32}$", widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, user: Any, mails: Sequence[Correspondence]) -> None:
        last = _to_be_answered(mails)
        started = {"key": secrets.token_hex(16), "to": last, "account": last.account_id if last else None}
        super().__init__(data, initial=started, auto_id="id_massmail_%s")
        account, to = self.fields["account"], self.fields["to"]
        account.queryset = EmailAccount.objects.filter(owner=user, do_import=True)  # type: ignore[attr-defined]
        account.label_from_instance = str  # type: ignore[attr-defined]
        # The last mail of each address; the one that is proposed stands for its own.
        answerable = {last.answers_go_to: last.pk} if last else {}
        for each in filter(_is_answerable, reversed(mails)):
            answerable.setdefault(each.answers_go_to, each.pk)
        to.queryset = Correspondence.objects.filter(pk__in=answerable.values())  # type: ignore[attr-defined]
        to.label_from_instance = lambda mail: mail.answers_go_to  # type: ignore[attr-defined]

    @property
    def has_accounts(self) -> bool:
        return bool(self.fields["account"].choices)  # type: ignore[attr-defined]


def _is_answerable(mail: Correspondence) -> bool:
    return mail.direction == Direction.IN and mail.kind in ANSWERABLE and bool(mail.answers_go_to)


def _to_be_answered(mails: Sequence[Correspondence]) -> Correspondence | None:
    """Return the last mail of somebody known: a ticket that fell into the wrong hands diverts no answer by itself."""
    answerable = [mail for mail in mails if _is_answerable(mail)]
    if not answerable:
        return None
    known = _participants(answerable[0])
    for mail in mails:
        if mail.direction == Direction.OUT:
            known |= _participants(mail)
    return next((mail for mail in reversed(answerable) if mail.from_address in known), answerable[0])


def _participants(mail: Correspondence) -> set[str]:
    return {mail.from_address, *(address.strip() for address in mail.to.split(",") if address.strip())}


class MassmailConversationMixin(Base):
    """For the `ModelAdmin` of a request or deal: `class DealAdmin(MassmailConversationMixin, admin.ModelAdmin)`.

    The block stands below whatever template the page would have had. With `massmail_correspondence = False` it stands
    where the host's own template says `{% include "massmail/admin/correspondence.html" %}`, which must be outside of
    the page's form. The object's owner and superusers see it and answer, holders of `massmail.view_all` look on.
    """

    massmail_correspondence: bool = True

    @property
    def media(self) -> Media:
        return super().media + Media(css={"all": ["massmail/admin.css", "massmail/correspondence.css"]})

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        errors = super().check(**kwargs)
        if find_conversation_type(self.model) is None:
            text = f"No conversation type for {self.model._meta.label}: add one to MASSMAIL_CONVERSATIONS."
            errors.append(checks.Error(text, obj=type(self), id="massmail.E012"))
        return errors

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_massmail"
        # A connection to a server may take its time: no transaction waits for it.
        answering = transaction.non_atomic_requests(self.admin_site.admin_view(self.massmail_answer_view))
        download = self.admin_site.admin_view(self.massmail_file_view)
        return [
            path("<path:object_id>/massmail/answer/", answering, name=f"{name}_answer"),
            path("<path:object_id>/massmail/file/<int:key>/", download, name=f"{name}_file"),
            *super().get_urls(),
        ]

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        shown = obj is not None and self._massmail_may_read(request, obj)
        if shown:
            context.update(self._massmail_correspondence(request, obj))
        response = super().render_change_form(request, context, add, change, form_url, obj)
        if shown and self.massmail_correspondence and isinstance(response, TemplateResponse):
            wrap(response, "massmail/admin/correspondence_change_form.html")
        return response

    def massmail_answer_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send an answer: by POST, if the owner of the object or a superuser may change it."""
        obj = self._massmail_found(request, object_id)
        if not self._massmail_may_answer(request, obj):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = AnswerForm(request.POST, user=request.user, mails=_mails(obj))
        if form.is_valid():
            try:
                sent = self._massmail_send(form)
            except AnswerError as error:
                form.add_error(None, str(error))
            else:
                self._massmail_tell(request, sent)
                return HttpResponseRedirect(self._massmail_page(obj, "change") + "#massmail-correspondence")
        context = {
            **self.admin_site.each_context(request),
            **self._massmail_correspondence(request, obj, form=form),
            "title": _("Answer"),
            "subtitle": str(obj),
            "original": obj,
            "opts": self.opts,
            "media": self.media,
            "change_url": self._massmail_page(obj, "change"),
            "list_url": page_url(self.admin_site, self.model, "changelist"),
        }
        return TemplateResponse(request, "massmail/admin/correspondence_page.html", context)

    def _massmail_send(self, form: AnswerForm) -> Correspondence:
        given = form.cleaned_data
        to: Correspondence = given["to"]
        return answer(
            to.conversation,
            to=to,
            account=given["account"],
            text=given["text"],
            key=given["key"],
            now=timezone.now(),
        )

    def _massmail_tell(self, request: HttpRequest, sent: Correspondence) -> None:
        if sent.status == DeliveryStatus.SENT:
            self.message_user(request, _("The answer to %(to)s is sent.") % {"to": sent.to}, messages.SUCCESS)
            return
        text = _(
            "The server did not say whether it took the answer to %(to)s. Look into the folder of sent mail, "
            "or ask, before you write it again."
        )
        self.message_user(request, text % {"to": sent.to}, messages.WARNING)

    def massmail_file_view(self, request: HttpRequest, object_id: str, key: int) -> HttpResponse | FileResponse:
        """Hand out an attachment as a download. No browser is to open it."""
        obj = self._massmail_found(request, object_id)
        files = CorrespondenceFile.objects.filter(correspondence__conversation__in=conversations_of(obj))
        file = files.filter(pk=key).first() if key < 1 << 63 else None
        if file is None or not file.file.storage.exists(str(file.file.name)):
            raise Http404(_("There is no such page."))
        response = FileResponse(
            file.file.open("rb"), as_attachment=True, filename=file.name, content_type="application/octet-stream"
        )
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = "sandbox; default-src 'none'"
        response["Cache-Control"] = "private, no-store"
        return response

    # Who may --------------------------------------------------------------------------------------------------------

    def _massmail_found(self, request: HttpRequest, object_id: str) -> Any:
        obj = self.get_object(request, unquote(object_id))
        if obj is None or not self._massmail_may_read(request, obj):
            raise Http404(_("There is no such page."))
        return obj

    def _massmail_may_read(self, request: HttpRequest, obj: Any) -> bool:
        if not self.has_view_permission(request, obj):
            return False
        return request.user.has_perm(VIEW_ALL) or self._massmail_owns(request, obj)

    def _massmail_may_answer(self, request: HttpRequest, obj: Any) -> bool:
        return self.has_change_permission(request, obj) and self._massmail_owns(request, obj)

    def _massmail_owns(self, request: HttpRequest, obj: Any) -> bool:
        """Tell whose the object is by the database, whatever a form has done to it. One query."""
        kind = find_conversation_type(self.model)
        if kind is None:
            return False
        owners = kind.model_class._default_manager.filter(pk=obj.pk).order_by().values_list(F(kind.owner), flat=True)
        owner = owners.first()
        return request.user.is_superuser or (owner is not None and owner == request.user.pk)

    # What is shown --------------------------------------------------------------------------------------------------

    def _massmail_page(self, obj: Any, page: str) -> str:
        return page_url(self.admin_site, self.model, page, obj.pk)

    def _massmail_correspondence(
        self, request: HttpRequest, obj: Any, *, form: AnswerForm | None = None
    ) -> dict[str, Any]:
        """Return what the template of the block needs; a constant number of queries."""
        mails = _mails(obj)
        may_answer = any(map(_is_answerable, mails)) and self._massmail_may_answer(request, obj)
        if form is None and may_answer:
            form = AnswerForm(user=request.user, mails=mails)
        shown = mails[-LATEST:]
        panel = Panel(
            lines=_lines(request, self.admin_site, mails)[-LATEST:],
            older=len(mails) > len(shown),
            form=form if may_answer else None,
        )
        return {
            "massmail_correspondence": panel,
            "massmail_answer_url": self._massmail_page(obj, "massmail_answer"),
            "massmail_file_base": self._massmail_page(obj, "massmail_answer").removesuffix("answer/") + "file/",
        }


def _mails(obj: Any) -> list[Correspondence]:
    """Return what was written last, the oldest first."""
    mails = Correspondence.objects.filter(conversation__in=conversations_of(obj))
    mails = mails.select_related("conversation", "account", "delivery__mailing__owner").prefetch_related("files")
    return list(mails.order_by("-at", "-pk")[: LATEST + 1])[::-1]


def _lines(request: HttpRequest, site: admin.AdminSite, mails: Sequence[Correspondence]) -> list[Line]:
    lines, known = [], set[str]()
    for mail in mails:
        automatic = mail.kind not in ANSWERABLE and mail.kind != ""
        mailing = mail.delivery.mailing if mail.delivery else None
        outgoing = mail.direction == Direction.OUT
        lines.append(
            Line(
                mail=mail,
                outgoing=outgoing,
                stranger=bool(known) and not outgoing and not automatic and mail.from_address not in known,
                automatic=str(InboundKind(mail.kind).label) if automatic and not outgoing else "",
                doubtful=mail.status in DOUBTFUL,
                mailing=str(mailing) if mailing else "",
                mailing_url=link_to(request, site, mailing),
            )
        )
        known |= _participants(mail)
    return lines


def wrap(response: TemplateResponse, template: str) -> None:
    """Have `template` stand around the one that the page would have had."""
    if response.context_data is not None:
        response.context_data["massmail_inner_page"] = response.resolve_template(response.template_name)
        response.template_name = template
