"""Pictures of every page, to be looked at by people: `make screenshots` writes them to `var/screenshots`.

Each page on a desktop and on a phone, in the light and in the dark: with nothing there yet (empty), with mailings in
every state, held and failed things among them (desk), with 50,000 recipients and names that are too long or written
from right to left (crowd), and these in a language that is read from right to left (rtl). No test: nothing is asserted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from example_project.crm.models import Contact
from massmail.models import EmailAccount, Mailing
from massmail.outcomes import hold_account
from tests import desk as desks
from tests import world
from tests.acceptance.looking import DESKTOP, PHONE, view, window_of
from tests.adminpages import client_of
from tests.crowd import fill
from tests.permissions import ROWS, Things

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TARGET = Path(os.environ.get("SCREENSHOTS", "var/screenshots"))
CROWD = 50_000
LONG = "A name as long as nobody would say it, and longer still: " * 4
ARABIC = "فاطمة الزهراء عرض الربيع "
#: What is looked at again where there is much of it, or where it is read from right to left.
MAIN = re.compile("massmail_(mailing|delivery|leftout|emailaccount)_|crm_contact_(changelist|change|massmail)$|^index$")


def pages_of(desk: Things, person: Any) -> dict[str, str]:
    """Return the addresses of the permission matrix that show a page to `person`, and of the index, by name."""
    client, found = client_of(person), {"index": "/admin/massmail/"}
    for model, rows in ROWS.items():
        addresses = {page: row.address(f"{model}_{page}", desk) for page, row in rows.items()}
        found |= {f"{model}_{page}": address for page, address in addresses.items() if is_page(client, address)}
    return found


def is_page(client: Client, address: str) -> bool:
    answer = client.get(address)
    return answer.status_code == 200 and not answer.streaming and b'id="content"' in answer.content


def shoot(page: Any, root: str, state: str, pages: Iterable[tuple[str, str]]) -> None:
    for name, address in pages:
        page.goto(root + address, wait_until="networkidle")
        for width, device in ((DESKTOP, "desktop"), (PHONE, "phone")):
            for scheme in ("light", "dark"):
                view(page, width, scheme)
                page.screenshot(path=TARGET / state / f"{name}-{device}-{scheme}.png", full_page=True)


@pytest.fixture
def desk(alice: Any, bob: Any, boss: Any, settings: Any, tmp_path: Any) -> Things:
    settings.MEDIA_ROOT = tmp_path
    return desks.laid_out(alice, bob) | {"owner": alice, "boss": boss}


@pytest.fixture
def crowded(desk: Things) -> Things:
    fill(desk, recipients=CROWD, mailings=20, others=20, mark="crowd")
    for number, mailing in enumerate(Mailing.objects.order_by("pk")):
        mailing.name = (LONG, ARABIC * 3, mailing.name)[number % 3][:200]
        mailing.save(update_fields=["name"])
    Contact.objects.filter(pk=desk["contact"].pk).update(first_name=ARABIC, last_name="Wolfeschlegelsteinhausen" * 4)
    Contact.objects.filter(pk=desk["vip"].pk).update(first_name=LONG[:100])
    EmailAccount.objects.filter(pk=desk["office"].pk).update(name=LONG[:100], from_name=ARABIC)
    desk["office"].refresh_from_db()
    hold_account(desk["office"], "535 5.7.8 Username and Password not accepted: " + "https://support.example.com/" * 6)
    return desk


def test_empty(browser: Any, live_server: Any, eve: Any) -> None:
    world.settings()
    names = ("changelist", "add", "create")
    addresses = [
        (f"{model}_{page}", rows[page].address(f"{model}_{page}", {}))
        for model, rows in ROWS.items()
        for page in names
        if page in rows
    ]
    client = client_of(eve)
    pages = [("index", "/admin/massmail/"), *(each for each in addresses if is_page(client, each[1]))]
    with window_of(browser, eve, live_server.url) as page:
        shoot(page, live_server.url, "empty", pages)


def test_desk(browser: Any, live_server: Any, desk: Things, boss: Any) -> None:
    pages = pages_of(desk, boss)
    states = ("active", "edited", "paused", "done", "cancelled")
    pages |= {
        f"massmail_mailing_change-{state}": f"/admin/massmail/mailing/{desk[state].pk}/change/" for state in states
    }
    accounts = ("account", "connected", "read", "red")
    pages |= {
        f"massmail_emailaccount_change-{name}": f"/admin/massmail/emailaccount/{desk[name].pk}/change/"
        for name in accounts
    }
    with window_of(browser, boss, live_server.url) as page:
        shoot(page, live_server.url, "desk", pages.items())


def test_crowd(browser: Any, live_server: Any, crowded: Things, boss: Any, settings: Any) -> None:
    pages = [(name, address) for name, address in pages_of(crowded, boss).items() if MAIN.search(name)]
    with window_of(browser, boss, live_server.url) as page:
        shoot(page, live_server.url, "crowd", pages)
        settings.LANGUAGE_CODE = "ar"
        shoot(page, live_server.url, "rtl", [(name, address) for name, address in pages if "history" not in name])
