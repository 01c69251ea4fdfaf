"""Fills the CRM with companies, contacts and leads, in batches."""

import datetime
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.contrib.auth.models import User
from django.db import models, transaction

from example_project.crm.models import ClientType, Company, Contact, Country, Deal, Industry, Lead, Owned, Request, Tag
from example_project.crm.seeding.cultures import CLIENT_TYPES, CULTURES, INDUSTRIES, SOURCES, TAGS, Culture
from example_project.crm.seeding.people import Inventor

BATCH = 2000
#: Of a hundred recipients 60 are contacts, 25 leads, 15 companies.
COMPANY_SHARE = 0.15
LEAD_SHARE = 0.25
#: Who looks after how many in a hundred records; None: nobody yet.
WORKLOAD = {"alice": 45, "bob": 30, "eve": 20, None: 5}
#: Her mailings are to end while one looks on: none of her addresses is refused for the time being.
PROMPT_OWNER = "alice"
#: How many in a thousand want no newsletter, and how many are disqualified.
NO_NEWSLETTER = 0.03
DISQUALIFIED = 0.02
WEBSITE = "https://www."
DAYS = 3 * 365
CULTURE_OF = {culture.country: culture for culture in CULTURES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """How many rows of each kind there shall be."""

    companies: int
    contacts: int
    leads: int

    @classmethod
    def of(cls, recipients: int, companies: int | None = None) -> "Targets":
        """Split `recipients` by the shares above; a given number of `companies` leaves the rest to people."""
        firms = round(recipients * COMPANY_SHARE) if companies is None else min(companies, recipients)
        leads = round((recipients - firms) * LEAD_SHARE / (1 - COMPANY_SHARE))
        return cls(companies=firms, contacts=recipients - firms - leads, leads=leads)


class CustomerSeed:
    """Brings the CRM's tables up to `targets`; what is there already stays, so that a second run adds nothing.

    The random source depends on the numbers only: two machines get the same records.
    """

    def __init__(self, targets: Targets, owners: dict[str, User], today: datetime.date) -> None:
        self.missing: dict[type[Owned], int] = {
            Company: targets.companies - Company.objects.count(),
            Contact: targets.contacts - Contact.objects.count(),
            Lead: targets.leads - Lead.objects.count(),
        }
        self.owners = owners
        self.prompt_owner = owners[PROMPT_OWNER].pk
        self.today = today
        self.rng = random.Random(f"massmail {list(self.missing.values())}")
        self.inventor = Inventor(self.rng, _addresses())
        self.countries = _named(Country, CULTURE_OF)
        self.industries = _named(Industry, INDUSTRIES)
        self.types = list(_named(ClientType, CLIENT_TYPES).values())
        self.tags = list(_named(Tag, TAGS).values())

    @transaction.atomic
    def run(self) -> dict[type[Owned], int]:
        """Add what is missing; return how many rows of each model were added."""
        added: dict[type[Owned], int] = {
            Company: self._insert(Company, self._companies()),
            Contact: self._insert(Contact, self._contacts()),
            Lead: self._insert(Lead, self._leads()),
        }
        if not Request.objects.exists():
            self._correspondence()
        return added

    def _insert(self, model: type[Owned], endless: Iterator[Any]) -> int:
        added, rows = 0, islice(endless, max(self.missing[model], 0))
        while batch := list(islice(rows, BATCH)):
            model._default_manager.bulk_create(batch)
            self._tag(model, batch)
            added += len(batch)
        return added

    def _tag(self, model: type[Owned], rows: list[Any]) -> None:
        through: Any = model.tags.through
        key = f"{model._meta.model_name}_id"
        chosen = [row for row in rows if self.rng.random() < 0.25]
        through.objects.bulk_create(through(**{key: row.pk, "tag_id": self.rng.choice(self.tags).pk}) for row in chosen)

    def _companies(self) -> Iterator[Company]:
        while True:
            business, owner = self.inventor.business(), self._owner()
            yield Company(
                full_name=business.name,
                city_name=business.city,
                website=f"{WEBSITE}{business.domain}/",
                industry_id=self.industries[business.industry].pk,
                type_id=self.rng.choice(self.types).pk,
                **self._record("info", business.domain, business.culture, owner),
            )

    def _contacts(self) -> Iterator[Contact]:
        companies = list(
            Company.objects.filter(country__name__in=CULTURE_OF, website__startswith=WEBSITE)
            .order_by("pk")
            .values_list("pk", "owner", "country__name", "website")
        )
        while companies:
            company, owner, country, website = self.rng.choice(companies)
            domain = website.removeprefix(WEBSITE).rstrip("/")
            yield Contact(company_id=company, **self._person(domain, CULTURE_OF[country], owner))

    def _leads(self) -> Iterator[Lead]:
        while True:
            business = self.inventor.business()
            yield Lead(
                company_name=business.name,
                industry_id=self.industries[business.industry].pk,
                source=self.rng.choice(SOURCES),
                **self._person(business.domain, business.culture, self._owner()),
            )

    def _person(self, domain: str, culture: Culture, owner: int | None) -> dict[str, Any]:
        name = self.inventor.person(culture)
        return {
            "first_name": name.first,
            "last_name": name.last,
            "title": name.title,
            "language": name.language,
            **self._record(name.local_part, domain, culture, owner),
        }

    def _record(self, local_part: str, domain: str, culture: Culture, owner: int | None) -> dict[str, Any]:
        """Return the fields that companies, contacts and leads have in common."""
        return {
            "email": self.inventor.email(local_part, domain, postponing=owner != self.prompt_owner),
            "phone": self.inventor.phone(culture),
            "country_id": self.countries[culture.country].pk,
            "owner_id": owner,
            "massmail": self.rng.random() >= NO_NEWSLETTER,
            "disqualified": self.rng.random() < DISQUALIFIED,
            "creation_date": self.today - datetime.timedelta(days=self.rng.randrange(DAYS)),
        }

    def _owner(self) -> int | None:
        """Return the key of the manager who gets the next record, or None."""
        (name,) = self.rng.choices(list(WORKLOAD), weights=list(WORKLOAD.values()))
        return self.owners[name].pk if name in self.owners else None

    def _correspondence(self) -> None:
        """Add some requests, and deals that came of them."""
        contacts = list(Contact.objects.filter(owner__isnull=False).select_related("company")[:40])
        requests = Request.objects.bulk_create(
            Request(
                ticket=f"R{number:06}",
                subject=f"Offer for {contact.company.full_name}",
                text="Please send us your price list and the delivery times.",
                owner_id=contact.owner_id,
                contact=contact,
                creation_date=self.today - datetime.timedelta(days=self.rng.randrange(60)),
            )
            for number, contact in enumerate(contacts, start=1)
        )
        Deal.objects.bulk_create(
            Deal(
                ticket=f"D{number:06}",
                name=request.subject,
                request=request,
                contact_id=request.contact_id,
                owner_id=request.owner_id,
                amount=self.rng.randrange(500, 90_000, 50),
                creation_date=request.creation_date,
            )
            for number, request in enumerate(requests[::2], start=1)
        )


def _named(model: type[models.Model], names: Iterable[str]) -> dict[str, Any]:
    return {name: model._default_manager.get_or_create(name=name)[0] for name in names}


def _addresses() -> set[str]:
    """Return every address in the CRM, so that new records get other ones."""
    return {
        address.strip().lower()
        for model in (Company, Contact, Lead)
        for field in model.objects.exclude(email="").values_list("email", flat=True).iterator()
        for address in field.split(",")
    }
