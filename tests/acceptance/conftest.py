"""A real browser, a company's website, and the surroundings of real workers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import unavailable

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

try:
    from playwright.sync_api import sync_playwright
except ImportError:  # an extra of its own: "browser"
    sync_playwright = None

CHROMIUM_OPTIONS = [
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if sync_playwright is None:
        unavailable("Playwright is not installed: pip install -e '.[browser]'")
    if program is None:
        unavailable("Chromium is not installed (Debian: apt-get install chromium)")
    # Playwright keeps an event loop in this thread; without this Django refuses queries beside it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page in a profile of its own. An error in a script of the page fails the test."""
    context = browser.new_context()
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert not errors


@pytest.fixture
def expect(page: Page) -> Any:
    """Playwright's assertions, which wait for what they expect."""
    from playwright.sync_api import expect

    return expect


class CompanyPages(BaseHTTPRequestHandler):
    """The company's site. Its page moved, as pages do, to another host."""

    def do_GET(self) -> None:
        if self.path == "/unsubscribed":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/moved")
        else:
            self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>We let you go</h1>")

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture(scope="session")
def company_page() -> Iterator[str]:
    """The address of the company's page. It outlives the browser's pages, which may still ask for its icon."""
    with ThreadingHTTPServer(("127.0.0.1", 0), CompanyPages) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/unsubscribed"
        server.shutdown()


@pytest.fixture
def env(process_env: dict[str, str], redis_url: str, settings: Any) -> dict[str, str]:
    """The environment of workers and beat: a broker of their own, mail that really leaves, short ticks and leases."""
    settings.MASSMAIL_TICK_SECONDS = 1
    return process_env | {
        "BROKER_URL": redis_url,
        "MASSMAIL_TRANSPORT": "massmail.transport.smtp.SMTPConnection",
        "MASSMAIL_LEASE_SECONDS": "2",
        "MASSMAIL_TICK_SECONDS": "1",
    }
