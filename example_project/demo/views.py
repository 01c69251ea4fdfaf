"""The demo's public pages: where to begin, the catcher's inbox, the company's "You have unsubscribed"."""

from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from example_project.crm.seeding.managers import ADMIN, CHIEF, COMPANY, MANAGERS
from example_project.demo.mailstore import Mail, MailStore
from example_project.demo.reading import read

PER_PAGE = 50
TABS = {"letter": "Letter", "text": "Text part", "structure": "Headers and structure"}
#: A mail's HTML is somebody else's: no script, no form, nothing fetched but pictures.
LETTER_CSP = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src https: data:; frame-ancestors 'self'"


class StoredMails:
    """What a paginator needs of the store: a length and slices."""

    def __init__(self, store: MailStore, search: str) -> None:
        self.store = store
        self.search = search

    def count(self) -> int:
        return self.store.count(search=self.search)

    def __len__(self) -> int:
        return self.count()

    def __getitem__(self, rows: slice) -> list[Mail]:
        return self.store.page(search=self.search, offset=rows.start, limit=rows.stop - rows.start)


@require_safe
@never_cache
def start(request: HttpRequest) -> HttpResponse:
    """Say who to log in as and what to try."""
    keys = dict(User.objects.values_list("username", "pk"))
    managers = [(person, keys.get(person.username)) for person in MANAGERS]
    with MailStore(settings.DEMO_MAIL_DIR) as store:
        caught = store.count()
    context = {"managers": managers, "admin": ADMIN, "chief": CHIEF, "seeded": ADMIN.username in keys, "caught": caught}
    return render(request, "demo/start.html", context)


@require_safe
@never_cache
def inbox(request: HttpRequest) -> HttpResponse:
    """List the caught mail, newest first; `q` is part of an address, `page` the page's number."""
    search = request.GET.get("q", "").strip()
    with MailStore(settings.DEMO_MAIL_DIR) as store:
        pages: Paginator[Mail] = Paginator(StoredMails(store, search), PER_PAGE)  # type: ignore[arg-type]
        page = pages.get_page(request.GET.get("page"))
        return render(request, "demo/inbox.html", {"page": page, "search": search})


@require_safe
@never_cache
def mail(request: HttpRequest, number: int) -> HttpResponse:
    """Show one message; `tab` is one of `TABS`."""
    found, path = _find(number)
    tab = request.GET.get("tab", "letter")
    context = {
        "mail": found,
        "letter": read(path.read_bytes()),
        "tab": tab if tab in TABS else "letter",
        "tabs": TABS.items(),
    }
    return render(request, "demo/mail.html", context)


@require_safe
@xframe_options_sameorigin
def mail_html(request: HttpRequest, number: int) -> HttpResponse:
    """Give the message's HTML part alone, for the frame of the message page."""
    html = read(_find(number)[1].read_bytes()).html
    headers = {"Content-Security-Policy": LETTER_CSP, "Referrer-Policy": "no-referrer"}
    return HttpResponse(html, headers=headers)


@require_safe
def mail_source(request: HttpRequest, number: int) -> HttpResponse:
    """Give the message as it came over the wire."""
    return HttpResponse(_find(number)[1].read_bytes(), content_type="text/plain; charset=utf-8")


@require_safe
def unsubscribed(request: HttpRequest) -> HttpResponse:
    """Be the page of the company's own website that unsubscribed people are sent to."""
    return render(request, "demo/unsubscribed.html", {"company": COMPANY})


def _find(number: int) -> tuple[Mail, Path]:
    with MailStore(settings.DEMO_MAIL_DIR) as store:
        found, path = store.get(number), store.file(number)
    if found is None or not path.exists():
        raise Http404("There is no such message.")
    return found, path
