"""What somebody filled in on the page "Create mailing": filters, owner, message, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from massmail.admin.create_mailing_filters import Offer, offer
from massmail.admin.host_list_page import HostListPage
from massmail.admin.listed import Listed, listed
from massmail.audience import Creation, Expectation, create_mailing, expect, sole_owner
from massmail.audience.filters import SHOWN, Choice, Filter, Option
from massmail.exceptions import AudienceError
from massmail.models import Mailing, Message
from massmail.models.received import Received
from massmail.recipient_types import RecipientType, recipient_types

#: Fields of filters begin with this, so that nothing of the host's can be taken for one of the page's own.
PREFIX = "f-"
#: Messages and owners that are offered at most, the newest and those with recipients.
LONGEST_LIST = 200
LONGEST_NAME = 250

Data = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One input of a filter: its name in the form, its id on the page, and what is written in it."""

    part: str
    name: str
    id: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One option of a filter, ticked or not."""

    value: str
    label: str
    checked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A filter as the page shows it. With `more`, there are options that are not shown: they are found by typing."""

    name: str
    kind: str
    label: str
    parts: Sequence[Part]
    boxes: Sequence[Box]
    more: bool
    sought: str
    error: str

    @property
    def tells_apart(self) -> bool:
        """Whether it can be of use: boxes of which there is only one, "None", narrow nothing."""
        alone = self.kind == Choice.kind and len(self.boxes) == 1
        return not alone or self.boxes[0].checked or self.more or bool(self.error)


def types_for(request: HttpRequest, site: AdminSite) -> list[RecipientType]:
    """Return the types of recipients that the user may see."""
    return [each for each in recipient_types() if _may_see(request, site, each)]


def _may_see(request: HttpRequest, site: AdminSite, recipient_type: RecipientType) -> bool:
    model = recipient_type.model_class
    model_admin = site._registry.get(model)
    if model_admin is not None:
        return bool(model_admin.has_view_permission(request))
    return bool(request.user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"))


class CreateForm:
    """The page's form for one type of recipients, filled in with `data`; `errors` are sentences by field."""

    def __init__(self, request: HttpRequest, site: AdminSite, recipient_type: RecipientType, data: Data) -> None:
        self.request = request
        self.type = recipient_type
        self.data = data
        self.errors: dict[str, str] = {}
        self.listed: Listed | None = None
        self.visible = self._visible(site)
        self.offer: Offer = offer(request, site, recipient_type, self.visible)
        self.values = self._read()

    def _visible(self, site: AdminSite) -> QuerySet[Any]:
        """Return the objects of the type that the user sees in the host's own list, narrowed if it comes from there."""
        model_admin = site._registry.get(self.type.model_class)
        if model_admin is None:
            return self.type.queryset()
        if self.text("list") and isinstance(model_admin, HostListPage):
            try:
                self.listed = listed(self.request, model_admin, self.text("list"))
            except AudienceError as error:
                self.errors["list"] = str(error)
            else:
                return self.listed.objects
        return model_admin.get_queryset(self.request)

    def _read(self) -> dict[str, Any]:
        own = {key.removeprefix(PREFIX): texts for key, texts in self.data.items() if key.startswith(PREFIX)}
        known = {each.key(part) for each in self.offer.filters for part in each.parts}
        for key in sorted(own.keys() - known):
            self.errors[key] = _("“%(filter)s” is not a filter that is offered here.") % {"filter": key[:100]}
        values: dict[str, Any] = {}
        for each in self.offer.filters:
            try:
                value = each.read(own)
            except AudienceError as error:
                self.errors[each.name] = str(error)
            else:
                values |= {} if value is None else {each.name: value}
        return values

    # What else is asked ------------------------------------------------------------------------------------------

    def text(self, name: str) -> str:
        return (self.data.get(name) or [""])[-1].strip()

    @property
    def only_own(self) -> bool:
        return bool(self.text("only_own"))

    @property
    def chooses_owner(self) -> bool:
        """Whether the user makes mailings for others: superusers do, whoever may only look does not."""
        return bool(self.request.user.is_superuser)

    @cached_property
    def owners(self) -> list[Any]:
        """Those who have recipients of this type."""
        users = get_user_model()._default_manager.filter(
            Exists(self.visible.order_by().filter(**{self.type.owner: OuterRef("pk")}))
        )
        return list(users.order_by(get_user_model().USERNAME_FIELD)[:LONGEST_LIST])

    @cached_property
    def owner(self) -> Any:
        """The user whose mailing it will be. Raises `AudienceError` if that is not clear."""
        if not self.chooses_owner:
            return self.request.user
        if not (key := self.text("owner")):
            return self._sole_owner()
        found = next((user for user in self.owners if str(user.pk) == key), None)
        if found is None:
            raise AudienceError(_("Choose an owner from the list: nobody else has recipients here."))
        return found

    def _sole_owner(self) -> Any:
        try:
            return sole_owner(self._filtered)
        except AudienceError as error:
            raise AudienceError(
                _("Those who match belong to nobody, or to several. Choose whose mailing it is.")
            ) from error

    @cached_property
    def messages(self) -> list[Message]:
        messages = Message.objects.select_related("owner").defer("content", "plain_text").order_by("-pk")
        mine = messages if self.chooses_owner else messages.filter(owner=self.request.user.pk)
        return list(mine[:LONGEST_LIST])

    def _message(self, name: str) -> Message | None:
        """Return the message chosen in the field `name`, one of the owner's."""
        if not (key := self.text(name)):
            return None
        message = next((each for each in self.messages if str(each.pk) == key), None)
        if message is None or message.owner_id != self.owner.pk:
            raise AudienceError(_("Choose a message of the mailing's owner."))
        return message

    @property
    def _received(self) -> Received | None:
        message = self._message("received")
        return Received(message=message) if message else None

    # What comes of it --------------------------------------------------------------------------------------------

    @property
    def _filtered(self) -> QuerySet[Any]:
        recipients = self.visible
        for each in self.offer.filters:
            if each.name in self.values:
                recipients = each.apply(recipients, self.values[each.name])
        return recipients

    @property
    def recipients(self) -> QuerySet[Any]:
        """Those whom the filters let through. Raises `AudienceError` if there is something wrong with them."""
        if self.errors:
            raise AudienceError(" ".join(self.errors.values()))
        return self._filtered.filter(**{self.type.owner: self.owner.pk}) if self.only_own else self._filtered

    def expect(self) -> Expectation:
        return expect(owner=self.owner, recipients=self.recipients, received=self._received)

    def create(self) -> Creation:
        name = self.text("name")
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise AudienceError(
                _("The name must be one line of at most %(count)d characters.") % {"count": LONGEST_NAME}
            )
        return create_mailing(
            owner=self.owner,
            recipients=self.recipients,
            message=self._message("message"),
            name=name,
            received=self._received,
            filters=self.kept(),
            by=self.request.user,
        )

    def kept(self) -> dict[str, Any]:
        """Return what is kept on the mailing: the values, to be used again, and what they are in words."""
        chosen = [each for each in self.offer.filters if each.name in self.values]
        words = [[each.label, each.words(self.values[each.name])] for each in chosen]
        kept: dict[str, Any] = {"type": label_of(self.type), "values": self.values}
        if self.listed:
            kept["list"] = self.listed.query
            words = [*map(list, self.listed.words), *words]
        if self.only_own:
            kept["only_own"] = True
            words.append([_("Assigned to"), str(self.owner)])
        if received := self._received:
            kept["received"] = received.message.pk
            words.append([_("Without those who received"), received.message.subject])
        return {**kept, "words": words}

    # How it is shown ---------------------------------------------------------------------------------------------

    def drawn(self) -> list[Drawn]:
        return [drawn for drawn in map(self._draw, self.offer.filters) if drawn.tells_apart]

    def _draw(self, each: Filter) -> Drawn:
        sought = self.text(f"q-{each.name}")
        boxes, more = self._boxes(each, sought) if isinstance(each, Choice) else ([], False)
        keys = [(part, PREFIX + each.key(part)) for part in each.parts]
        return Drawn(
            name=each.name,
            kind=each.kind,
            label=each.label,
            parts=[Part(part=part, name=key, id=f"id_{key}", value=self.text(key)) for part, key in keys],
            boxes=boxes,
            more=more or bool(sought),
            sought=sought,
            error=self.errors.get(each.name, ""),
        )

    def _boxes(self, each: Choice, sought: str) -> tuple[list[Box], bool]:
        """Return the options, those that are chosen first, and whether there are more than these."""
        given = [text for text in self.data.get(PREFIX + each.name, []) if text and "\x00" not in text]
        chosen = each.labels(given) if given else {}
        found = each.options(sought)
        shown: list[Option] = found if each.kind == "menu" else found[:SHOWN]
        others = [Box(value=option.value, label=option.label, checked=False) for option in shown]
        if each.kind == "menu":
            return [Box(value=box.value, label=box.label, checked=box.value in chosen) for box in others], False
        first = [Box(value=value, label=label, checked=True) for value, label in chosen.items()]
        return first + [box for box in others if box.value not in chosen], len(found) > SHOWN


def label_of(recipient_type: RecipientType) -> str:
    return recipient_type.model_class._meta.label_lower


def name_of(recipient_type: RecipientType) -> str:
    return str(capfirst(recipient_type.model_class._meta.verbose_name_plural))


def filled_in(mailing: Mailing, filters: Sequence[Filter]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the form's data that `mailing` was made with, and the names of filters that are not offered any more."""
    kept = mailing.filters
    by_name = {each.name: each for each in filters}
    data: dict[str, list[str]] = {}
    lost = []
    for name, value in kept.get("values", {}).items():
        if name in by_name:
            data |= {PREFIX + key: texts for key, texts in by_name[name].fields(value).items()}
        else:
            lost.append(name)
    if kept.get("only_own"):
        data["only_own"] = ["1"]
    if kept.get("list"):
        data["list"] = [kept["list"]]
    if "received" in kept:
        data["received"] = [str(kept["received"])]
    return data, lost
