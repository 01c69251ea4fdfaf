"""Looking at pages as every reader should be able to: what is wrong with how they are laid out, coloured and sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings

from tests.adminpages import client_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

try:
    from axe_playwright_python.sync_playwright import Axe
except ImportError:  # comes with the extra "browser"; the fixture `browser` says so
    Axe = None

#: Desktop and phone, light and dark: colours don't depend on the width, nor the layout on the colours.
WINDOWS = [(1280, "light"), (390, "dark")]
each_window = pytest.mark.parametrize("window", WINDOWS, ids=[f"{width}-{scheme}" for width, scheme in WINDOWS])

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
def window_of(browser: Browser, person: Any, address: str, window: tuple[int, str]) -> Iterator[Page]:
    """Open a window of the width and colour scheme in `window`, in which axe may write its styles into pages."""
    width, scheme = window
    context = browser.new_context(bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 900})
    let_in(context, person, address)
    page = context.new_page()
    page.set_default_timeout(30_000)
    yield page
    context.close()


def faults(page: Page) -> list[str]:
    """Return what is wrong with the page that is open: wider than the window, or an obstacle to somebody."""
    found = []
    width = page.viewport_size["width"]
    if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
        found.append(f"{page.url} is {wide} pixels wide in a window of {width}")
    axe = Axe().run(page, context={"exclude": NOT_OURS})
    return [*found, *([f"{page.url}: {axe.generate_report()}"] if axe.violations_count else [])]


def faults_of(page: Page, addresses: Iterable[str]) -> list[str]:
    """Open each address and return all that is wrong there, in its headers, its source and the console too."""
    found: list[str] = []
    heard: list[str] = []
    page.on("pageerror", lambda error: heard.append(f"{page.url}: {error}"))
    page.on("console", lambda said: heard.append(f"{page.url}: {said.text}") if said.type == "error" else None)
    for address in addresses:
        response = page.goto(address)
        if not response.headers.get("content-security-policy", "").startswith("default-src 'self'"):
            found.append(f"{address} is sent without the strict policy")
        if inline := INLINE.search(response.text()):
            found.append(f"{address} has inline: {inline.group()}")
        page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true; })")
        found += heard
        found += faults(page)
        heard.clear()  # axe fetches style sheets by itself, and some in vain
    return found


def shown(found: Sequence[str]) -> str:
    return "\n".join(found)
