"""Looking at pages as every reader should be able to: what is wrong with how they are laid out, coloured and sent.

A page is opened once, then looked at on a desktop and on a phone, in the light and in the dark: that costs much less
than to open it four times, and shows what goes wrong when somebody turns the phone too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.conf import settings

from tests.adminpages import client_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

try:
    from axe_playwright_python.base import AXE_SCRIPT, AxeResults
except ImportError:  # comes with the extra "browser"; the fixture `browser` says so
    AXE_SCRIPT = AxeResults = None

DESKTOP, PHONE = 1280, 390
HEIGHT = 900
#: The rules of axe whose answer rests on colours, the most expensive ones; the others give the same in the dark.
COLOURS = ["color-contrast", "link-in-text-block"]
EVERYTHING: dict[str, Any] = {}
ONLY_COLOURS = {"runOnly": COLOURS}
NO_COLOURS = {"rules": {rule: {"enabled": False} for rule in COLOURS}}
#: The four views, in turn, and what axe is asked there. Colours don't change with the width.
VIEWS = [
    (DESKTOP, "light", EVERYTHING),
    (DESKTOP, "dark", ONLY_COLOURS),
    (PHONE, "dark", NO_COLOURS),
    (PHONE, "light", None),
]

#: Django's own: breadcrumbs and the search's "Show all" are links without underlines, Select2 has fields without
#: labels. Frames hold the authors' mails.
NOT_OURS = [[".breadcrumbs"], ["#changelist-search"], [".select2"], ["iframe"]]
#: What stands in the quotes of an attribute is no attribute.
INLINE = re.compile(r"""<script(?![^>]*\ssrc=)[^>]*>|<style|<[a-z](?:[^>"']|"[^"]*"|'[^']*')*?\s(?:style|on[a-z]+)=""")


def let_in(context: Any, person: Any, address: str) -> None:
    """Let somebody into the admin at `address` without the form."""
    session = client_of(person).cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": address}])


@contextmanager
def window_of(browser: Browser, person: Any, address: str) -> Iterator[Page]:
    """Open a window on a desktop, in the light, for a person who is let in (or for anybody, if None)."""
    context = browser.new_context(color_scheme="light", viewport={"width": DESKTOP, "height": HEIGHT})
    if person is not None:
        let_in(context, person, address)
    page = context.new_page()
    page.set_default_timeout(30_000)
    yield page
    context.close()


def view(page: Page, width: int, scheme: Any) -> None:
    """Turn to a width and a colour scheme, at once."""
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.getAnimations().forEach(each => each.finish())")  # colours fade into others


def faults(page: Page) -> list[str]:
    """Return what is wrong with the page that is open, in each of the four views, and leave it as it was."""
    page.evaluate(AXE_SCRIPT)
    found = [fault for width, scheme, rules in VIEWS for fault in _faults_in(page, width, scheme, rules)]
    view(page, DESKTOP, "light")
    return found


def faults_of(page: Page, addresses: Iterable[str]) -> list[str]:
    """Open each address and return all that is wrong there, in its headers, its source and the console too."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(f"{page.url}: {error}"))
    page.on("console", lambda said: found.append(f"{page.url}: {said.text}") if said.type == "error" else None)
    for address in addresses:
        response = page.goto(address)
        if not response.headers.get("content-security-policy", "").startswith("default-src 'self'"):
            found.append(f"{address} is sent without the strict policy")
        if inline := INLINE.search(response.text()):
            found.append(f"{address} has inline: {inline.group()}")
        page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true; })")
        found += faults(page)
    return found


def shown(found: Sequence[str]) -> str:
    return "\n".join(found)


def _faults_in(page: Page, width: int, scheme: str, rules: dict[str, Any] | None) -> list[str]:
    """Return whether the page is wider than the window in this view, and the obstacles that the `rules` find."""
    view(page, width, scheme)
    found, name = [], f"{page.url} ({width}, {scheme})"
    if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
        found.append(f"{name} is {wide} pixels wide")
    if rules is not None:
        # Without `preload` axe fetches no style sheets for rules that are not asked here.
        options = {"resultTypes": ["violations"], "preload": False} | rules
        answer = page.evaluate("([context, options]) => axe.run(context, options)", [{"exclude": NOT_OURS}, options])
        found += [f"{name}: {AxeResults(answer).generate_report()}"] if answer["violations"] else []
    return found
