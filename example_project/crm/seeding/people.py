"""Invents people, companies and their addresses, in reserved domains only (RFC 2606: `.example`)."""

import random
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from example_project.crm.seeding.cultures import CULTURES, LETTERS, TITLES, TRADES, Culture

#: How many in a thousand records have an address that needs care, and which.
AWKWARD = {"empty": 10, "invalid": 10, "two": 10, "capitals": 15, "duplicate": 15, "idn": 3}
#: Local parts the demo's mail catcher refuses for good, and those it refuses for the time being.
REFUSED = ("nouser", "spam")
POSTPONED = ("full", "grey")
REFUSED_SHARE = 0.04
INVALID = ("{0}.example", "{0}@", "{0}@@mail.example", "{0} at mail.example", "{0}@mail..example", "n/a")


@lru_cache(maxsize=20_000)
def ascii_slug(text: str, separator: str = "-") -> str:
    """Return `text` in lower-case ASCII letters and digits, words joined by `separator`."""
    latin = unicodedata.normalize("NFKD", text.lower().translate(LETTERS)).replace("'", "")
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in latin if not unicodedata.combining(c)).split()
    return separator.join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    first: str
    last: str
    title: str
    language: str

    @property
    def local_part(self) -> str:
        return f"{ascii_slug(self.first, '')}.{ascii_slug(self.last, '')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Business:
    name: str
    domain: str
    industry: str
    city: str
    culture: Culture


class Inventor:
    """Makes up records from one random source; addresses and domains it gave out before are not repeated.

    `taken` holds the addresses there are already, in lower case.
    """

    def __init__(self, rng: random.Random, taken: set[str]) -> None:
        self.rng = rng
        self.taken = taken
        self.domains = {address.rpartition("@")[2] for address in taken}
        self.earlier = ""

    def business(self) -> Business:
        culture = self.rng.choice(CULTURES)
        trade, industry = self.rng.choice(TRADES)
        surname = self.rng.choice(culture.surnames).partition("/")[0]
        city = self.rng.choice(culture.cities)
        words = [surname, trade]
        if f"{ascii_slug(' '.join(words))}.example" in self.domains:
            words.append(city)
        return Business(
            name=" ".join([*words, self.rng.choice(culture.legal_forms)]),
            domain=self._free_domain(ascii_slug(" ".join(words))),
            industry=industry,
            city=city,
            culture=culture,
        )

    def person(self, culture: Culture) -> Name:
        female = self.rng.random() < 0.5
        man, _, woman = self.rng.choice(culture.surnames).partition("/")
        return Name(
            first=self.rng.choice(culture.women if female else culture.men),
            last=woman if female and woman else man,
            title=self.rng.choice(TITLES),
            language=culture.language,
        )

    def phone(self, culture: Culture) -> str:
        return f"{culture.phone} 555 {self.rng.randrange(10_000):04}"

    def email(self, local: str, domain: str, *, postponing: bool) -> str:
        """Return the email field of one record: mostly one new address, in a few cases an awkward one.

        With `postponing` some of the refused ones are refused for the time being, so that their deliveries stay open.
        """
        kind = self._kind()
        if kind == "empty":
            return ""
        if kind == "invalid":
            return self.rng.choice(INVALID).format(local)
        if kind == "duplicate" and self.earlier:
            return self.earlier
        if kind == "idn":
            domain = f"büro-{domain}"
        refused = self.rng.random() < REFUSED_SHARE
        if refused:
            local = f"{self.rng.choice(REFUSED + POSTPONED if postponing else REFUSED)}.{local}"
        address = self._new(local, domain)
        if not refused:
            self.earlier = address
        if kind == "two":
            return f"{address}, {self._new('office', domain)}"
        return address.upper() if kind == "capitals" else address

    def _kind(self) -> str:
        dice = self.rng.randrange(1000)
        for kind, share in AWKWARD.items():
            dice -= share
            if dice < 0:
                return kind
        return "plain"

    def _free_domain(self, stem: str) -> str:
        domain, number = f"{stem}.example", 1
        while domain in self.domains:
            number += 1
            domain = f"{stem}-{number}.example"
        self.domains.add(domain)
        return domain

    def _new(self, local: str, domain: str) -> str:
        address, number = f"{local}@{domain}", 1
        while address in self.taken:
            number += 1
            address = f"{local}{number}@{domain}"
        self.taken.add(address)
        return address
