"""Rules about links and the addresses of images. Nothing is fetched: what an address leads to is not known here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from django.utils.translation import gettext as _

from massmail.choices import Level, Rule
from massmail.composing.headers import ascii_domain
from massmail.composing.linting.draft import Draft, Page, Remark
from massmail.exceptions import CompositionError

#: What mail programs follow nowhere: they leave the link without effect, or remove it.
DEAD_SCHEMES = {"javascript", "vbscript", "file", "about", "blob"}
#: Characters of an address or text that a remark repeats.
SHOWN = 80

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(?=:)", re.IGNORECASE)
_WRITTEN_ADDRESS = re.compile(r"(?:(?P<scheme>https?)://)?(?P<host>[\w-]+(?:\.[\w-]+)+)(?::\d+)?(?:[/?#]\S*)?", re.I)
_RESERVED = re.compile(r"https?://(?:[\w-]+\.)*example\.(?:com|net|org)(?![\w.-])", re.IGNORECASE)
_MAIL = re.compile(r"[^\s@<>]+@[\w-]+(?:\.[\w-]+)+")
#: Last labels by which a bare "acme.com" is an address; "Node.js" is none.
_TOP_LEVEL = re.compile(
    r"(?:com|org|net|edu|gov|int|info|biz|shop|online|store|app|dev|cloud|example|eu|(?!js|py|md|sh|rs|ts|so)[a-z]{2})\Z"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address in a page: of a link, or of a picture (`is_picture`); `value` has its tags masked."""

    page: Page
    element: Any
    value: str
    is_picture: bool

    @property
    def shown(self) -> str:
        text = self.page.plain(self.value)
        return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"

    @property
    def begins_with_tag(self) -> bool:
        return bool(self.page.mask.pattern.match(self.value))

    @property
    def scheme(self) -> str:
        """The scheme in lower case; empty where there is none, or where a tag fills it in."""
        found = _SCHEME.match(self.value)
        return found[0].lower() if found and not self.page.mask.pattern.search(found[0]) else ""

    def remark(self, level: Level, rule: Rule, text: str, remedy: str) -> Remark:
        line = self.element.sourceline
        return Remark(level=level, rule=rule, text=text, remedy=remedy, field=self.page.field, line=line)


def addresses_in(page: Page) -> Iterator[Address]:
    """Yield the addresses of `page` in their order."""
    for element in page.root.iter("a", "area", "img", "td", "th", "table", "body"):
        link = element.tag in ("a", "area")
        name = "href" if link else "src" if element.tag == "img" else "background"
        value = element.get(name)
        if value is not None and (value.strip() or name != "background"):
            yield Address(page=page, element=element, value=value.strip(), is_picture=not link)


def about_addresses(draft: Draft) -> Iterator[Remark]:
    """Yield what is wrong with each address: the first of what can be."""
    for page in draft.pages:
        names = {element.get(name) for element in page.root.iter() for name in ("id", "name") if element.get(name)}
        for address in addresses_in(page):
            if not address.begins_with_tag:
                yield from _nowhere(address, names) or next(filter(None, (rule(address) for rule in _IN_ORDER)), [])


def _nowhere(address: Address, names: set[str]) -> list[Remark]:
    value = address.value
    if value and not (value.startswith("#") and unquote(value[1:]) not in names):
        return []
    if address.is_picture:
        text, remedy = _("An image has no address."), _("Choose one from the library, or delete it.")
        return [address.remark(Level.ERROR, Rule.BROKEN_LINK, text, remedy)]
    text = _("The link “%(text)s” leads nowhere.") % {"text": _text_of(address) or address.shown}
    return [address.remark(Level.WARNING, Rule.BROKEN_LINK, text, _("Write the address of a page into its href."))]


def _relative(address: Address) -> list[Remark]:
    if address.scheme or address.value.startswith("#"):
        return []
    text = _("“%(address)s” is not a whole address: in a mail there is no website that it could belong to.")
    remedy = _("Begin it with https:// and the name of the website.")
    if re.match(r"//|www\.", address.value, re.IGNORECASE):
        remedy = _("Begin it with https://.")
    return [address.remark(Level.ERROR, Rule.RELATIVE_LINK, text % {"address": address.shown}, remedy)]


def _broken(address: Address) -> list[Remark]:
    if not _is_broken(address):
        return []
    text = _("“%(address)s” is no address that a recipient can open.") % {"address": address.shown}
    remedy = _("Write the address as your browser shows it when you open the page.")
    if address.scheme == "mailto":
        remedy = _("Write mailto: and a mail address.")
    return [address.remark(Level.ERROR, Rule.BROKEN_LINK, text, remedy)]


def _is_broken(address: Address) -> bool:
    scheme, value = address.scheme, address.value
    if scheme in DEAD_SCHEMES or len(scheme) == 1:  # "C:\\pictures\\logo.png"
        return True
    if scheme == "mailto":
        return not address.page.mask.find(value) and not re.match(r"mailto:([^?\s]+@[^?\s]+|\?\S*to=)", value, re.I)
    if scheme not in ("http", "https"):
        return False
    try:
        host = urlsplit(value).hostname or ""
    except ValueError:
        return True
    if address.page.mask.pattern.search(host):
        return False
    return not _is_public(host)


def _is_public(host: str) -> bool:
    """Return whether `host` may be a name, or number, that is known everywhere."""
    try:
        ascii_form = ascii_domain(host.rstrip("."))
    except CompositionError:
        return False
    if ":" in ascii_form:
        return True
    return bool(re.fullmatch(r"[\w-]{1,63}(\.[\w-]{1,63})+", ascii_form)) and not ascii_form.endswith(
        (".localhost", ".local", ".invalid")
    )


def _reserved(address: Address) -> list[Remark]:
    """Say that the address stands for one that the author knows: these names are nobody's (RFC 2606, 3)."""
    if not _RESERVED.match(address.value):
        return []
    text = _("“%(address)s” is an example, as it stands in the templates to start from: there is no such website.")
    remedy = _("Write the address of your own page.")
    return [address.remark(Level.WARNING, Rule.LEFTOVER, text % {"address": address.shown}, remedy)]


def _insecure(address: Address) -> list[Remark]:
    if address.scheme != "http":
        return []
    text = _("“%(address)s” is not encrypted: browsers warn of such pages, and mail programs of such images.")
    remedy = _("Begin it with https://, if the website knows it.")
    return [address.remark(Level.WARNING, Rule.INSECURE_LINK, text % {"address": address.shown}, remedy)]


#: What can be wrong with an address that leads somewhere: the first of them that is, is said.
_IN_ORDER = (_relative, _broken, _reserved, _insecure)


def about_link_texts(draft: Draft) -> Iterator[Remark]:
    """Yield links whose text is an address, but not theirs: filters take them, and readers should, for a fraud."""
    for page in draft.pages:
        for address in addresses_in(page):
            written = "" if address.is_picture else _text_of(address)
            if written and not page.mask.find(address.value) and _is_another(written, address):
                text = _("The link text “%(text)s” is an address, but the link leads to “%(address)s”.")
                words = {"text": written[:SHOWN], "address": address.shown}
                remedy = _("Write words as its text, or the address it leads to.")
                yield address.remark(Level.WARNING, Rule.MISLEADING_LINK, text % words, remedy)


def _text_of(address: Address) -> str:
    return " ".join(address.page.mask.pattern.sub("", address.element.text_content()).split())


def _is_another(written: str, address: Address) -> bool:
    if address.scheme == "mailto":
        given = unquote(address.value[len("mailto:") :].partition("?")[0]).strip().lower()
        return bool(_MAIL.fullmatch(written)) and written.lower() != given
    found = _WRITTEN_ADDRESS.fullmatch(written)
    if address.scheme not in ("http", "https") or not found or not _looks_like_one(found):
        return False
    try:
        return not _belong_together(_site(found["host"]), _site(urlsplit(address.value).hostname or ""))
    except (ValueError, CompositionError):
        return False


def _looks_like_one(found: re.Match[str]) -> bool:
    host = found["host"].lower()
    return bool(found["scheme"]) or host.startswith("www.") or bool(_TOP_LEVEL.search(host.rpartition(".")[2]))


def _site(host: str) -> str:
    return ascii_domain(host).lower().rstrip(".").removeprefix("www.")


def _belong_together(one: str, other: str) -> bool:
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
