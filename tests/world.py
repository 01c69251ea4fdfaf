"""Builders for tests: customers, accounts, messages, mailings."""

from __future__ import annotations

import datetime as dt
from typing import Any

from example_project.crm.models import Company, Contact, Lead
from massmail.audience import create_mailing
from massmail.engine import lifecycle
from massmail.engine.standalone import SimulatedClock
from massmail.models import EmailAccount, Mailing, MassmailSettings, Message

TODAY = dt.date(2026, 11, 2)
CONTENT = (
    "<html><head><style>p { color: #333 }</style></head><body><p>Dear {{ first_name }} of {{ company }},</p>"
    '<p>news!</p><p><a href="{{ unsubscribe_url }}">UNSUBSCRIBE</a></p></body></html>'
)


def berlin(text: str) -> dt.datetime:
    """Return the moment "2026-11-23 09:00" of the wall clock in Berlin."""
    from zoneinfo import ZoneInfo

    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin"))


#: A Monday morning, with nothing special about it.
MONDAY = berlin("2026-11-23 10:00")


def settings(**changes: Any) -> MassmailSettings:
    """Return the saved settings row: ready to send, gaps of a second unless told otherwise."""
    row = MassmailSettings.load()
    row.unsubscribe_url = "https://www.acme.example/unsubscribed/"
    row.time_zone = "Europe/Berlin"
    for name, value in changes.items():
        setattr(row, name, value)
    row.full_clean()
    row.save()
    return row


def company(owner: Any, **fields: Any) -> Company:
    fields = {"full_name": "Acme Metall GmbH", "creation_date": TODAY} | fields
    return Company.objects.create(owner=owner, **fields)


def contacts(owner: Any, number: int = 1, *, prefix: str = "person", **fields: Any) -> list[Contact]:
    """Return `number` new contacts of one company with addresses person0@…, person1@…"""
    firm = fields.pop("company", None) or Company.objects.filter(owner=owner).first() or company(owner)
    return Contact.objects.bulk_create(
        [
            Contact(
                **{
                    "owner": owner,
                    "company": firm,
                    "creation_date": TODAY,
                    "first_name": f"First{n}",
                    "last_name": f"Last{n}",
                    "email": f"{prefix}{n}@{owner.username if owner else 'nobody'}.example",
                }
                | fields
            )
            for n in range(number)
        ]
    )


def lead(owner: Any, **fields: Any) -> Lead:
    fields = {"first_name": "Lea", "email": "lea@lead.example", "creation_date": TODAY} | fields
    return Lead.objects.create(owner=owner, **fields)


def account(owner: Any, name: str = "second", **fields: Any) -> EmailAccount:
    """Return an account marked Massmail; a relay unless `paced` says otherwise."""
    fields = {
        "from_email": f"{name}@{owner.username}-mail.example",
        "massmail": True,
        "paced": False,
        "smtp_host": "127.0.0.1",
        "smtp_port": 2525,
        "smtp_security": "none",
    } | fields
    return EmailAccount.objects.create(owner=owner, name=name, **fields)


def message(owner: Any, **fields: Any) -> Message:
    fields = {"subject": "News for {{ first_name }}", "content": CONTENT} | fields
    return Message.objects.create(owner=owner, **fields)


def mailing(owner: Any, recipients: Any = None, **fields: Any) -> Mailing:
    """Return a draft to `recipients`, by default all of the owner's contacts."""
    if recipients is None:
        recipients = Contact.objects.filter(owner=owner)
    text = fields.pop("message", None) or message(owner)
    made = create_mailing(owner=owner, recipients=recipients, message=text, **fields)
    return made.mailing


def started(owner: Any, recipients: Any = None, **fields: Any) -> Mailing:
    """Return a mailing under way."""
    return lifecycle.start(mailing(owner, recipients, **fields), by=owner, now=MONDAY)


def clock(text: str = "2026-11-23 10:00") -> SimulatedClock:
    return SimulatedClock(berlin(text))
