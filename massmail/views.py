"""The public side: the page behind the unsubscribe link, and the one-click POST of mail programs (RFC 8058).

Nobody is logged in here and nothing is revealed. A token that leads nowhere gets the very answers of one that does.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.decorators import method_decorator
from django.utils.translation import check_for_language, pgettext
from django.utils.translation.trans_real import parse_accept_lang_header
from django.views import View
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from massmail import outcomes
from massmail.conf import conf
from massmail.models import Delivery, MassmailSettings, Recipient
from massmail.throttling import Throttle
from massmail.tokens import parse_link_name

#: Bytes that a POST may have: a one-click form has some thirty, in multipart two hundred.
LARGEST_BODY = 10_000


@method_decorator([csrf_exempt, login_not_required], name="dispatch")
class Unsubscribe(View):
    """Looking changes nothing, since mail scanners open every link; a POST unsubscribes.

    The CSRF token is missing on purpose: mail programs post without ever having seen the page, and what a forged POST
    would need is the link's own token, a secret of the recipient. No address of the network is kept: the token, which
    only the mail contains, is the evidence.
    """

    http_method_names = ["get", "head", "post", "options"]

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        response = self._refusal(request, str(kwargs["token"])) or super().dispatch(request, *args, **kwargs)
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Robots-Tag"] = "noindex"
        return response

    def _refusal(self, request: HttpRequest, token: str) -> HttpResponse | None:
        """Answer a body too large to be a mail program's, and who asks too often, before anything is looked up."""
        length = request.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > LARGEST_BODY:
            return HttpResponse(status=413)
        throttle = Throttle(request)
        if throttle.too_often(token) or (not one_click(request) and throttle.guesses_too_often()):
            return too_many_requests(request, throttle.seconds)
        return None

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        mailed = recently_mailed(token)
        if mailed is None:
            Throttle(request).note_guess()
        return page(request, token, by_itself=not mailed)

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        if target := outcomes.find_recipient(token):
            outcomes.unsubscribe(*target, source=source(request))
        else:
            Throttle(request).note_guess()
        if one_click(request):
            # RFC 8058, 3.1: no redirect, the mail program would not follow it.
            return HttpResponse(content_type="text/plain")
        company_page = MassmailSettings.load().unsubscribe_url
        return HttpResponseRedirect(company_page, status=303) if company_page else page(request, token, done=True)


@login_not_required
@require_safe
@cache_control(public=True, max_age=86400)
def unsubscribe_script(request: HttpRequest) -> HttpResponse:
    """Return the script that presses the page's button."""
    return HttpResponse(render_to_string("massmail/unsubscribe.js"), content_type="text/javascript")


def one_click(request: HttpRequest) -> bool:
    """Tell whether a mail program posts this by itself, in one encoding or the other (RFC 8058, 3.2)."""
    return request.method == "POST" and request.POST.get("List-Unsubscribe") == "One-Click"


def source(request: HttpRequest) -> str:
    """Return how somebody unsubscribed: a button's name is posted if a person pressed it, not by the page's script."""
    if one_click(request):
        return "one-click"
    return "button" if "button" in request.POST else "link"


def recently_mailed(name: str) -> bool | None:
    """Tell whether the recipient of a link was given mail within the last `MASSMAIL_UNSUBSCRIBE_GRACE` seconds.

    None for a link that leads nowhere, which takes the same single query. Scanners that run scripts come by in the
    first minutes, some even before their server has answered the final dot; so the start of the sending counts as
    well as its end.
    """
    link, since = parse_link_name(name), timezone.now() - timedelta(seconds=conf.unsubscribe_grace)
    deliveries = Delivery.objects.filter(Q(sent_at__gte=since) | Q(sending_at__gte=since))
    recent = deliveries.filter(object_id=OuterRef("object_id"), mailing__content_type=OuterRef("content_type"))
    known = Recipient.objects.filter(token=link.token) if link else Recipient.objects.none()
    return known.annotate(recent=Exists(recent)).values_list("recent", flat=True).first()


def page(request: HttpRequest, name: str, *, by_itself: bool = False, done: bool = False) -> HttpResponse:
    """Return the page with the button, which presses it `by_itself`, or the one that says it is `done`.

    It is rendered without the request: context processors of the host might touch the session, which sets a cookie.
    Its language is the one that the link names: what the recipient's record says now would tell known tokens from
    unknown ones, and nothing any more once it is deleted.
    """
    link = parse_link_name(name)
    with translation.override(language_of(request, link.language if link else "")):
        html = render_to_string("massmail/unsubscribe.html", {"by_itself": by_itself, "done": done})
    response = HttpResponse(html)
    response.headers["Content-Security-Policy"] = content_security_policy()
    return response


def too_many_requests(request: HttpRequest, seconds: int) -> HttpResponse:
    with translation.override(language_of(request, "")):
        text = pgettext("unsubscribe page", "Too many requests. Please try again in a minute.")
    return HttpResponse(
        text, status=429, content_type="text/plain; charset=utf-8", headers={"Retry-After": str(seconds)}
    )


def language_of(request: HttpRequest, wanted: str) -> str:
    """Return the first that the page is translated into: of `wanted`, the browser's, the site's, and English."""
    accepted = (code for code, _weight in parse_accept_lang_header(request.headers.get("Accept-Language", "")))
    known = dict(settings.LANGUAGES)
    for code in (wanted, *accepted, settings.LANGUAGE_CODE):
        # No code that a visitor thought up is asked for: Django keeps a catalogue in memory for each.
        for candidate in (code, code.partition("-")[0]):
            if (candidate in known or "-" not in candidate) and is_translated(candidate):
                return candidate
    return "en"


def is_translated(code: str) -> bool:
    """Tell whether there is a page in the language `code`; Django fills up a catalogue with the site's language."""
    if not code or not check_for_language(code):
        return False
    with translation.override(code):
        return pgettext("code of the language this page is in", "en").partition("-")[0] == code.partition("-")[0]


def content_security_policy() -> str:
    style = hashlib.sha256(render_to_string("massmail/unsubscribe.css").encode()).digest()
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            f"style-src 'sha256-{base64.b64encode(style).decode()}'",
            # Chromium holds redirects after a POST to it as well, and who knows where the company's page leads on to.
            "form-action 'self' http: https:",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )
