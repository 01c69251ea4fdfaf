"""The public side: the page behind the unsubscribe link, and the one-click POST of mail programs (RFC 8058).

Nobody is logged in here and nothing is revealed. A token that leads nowhere gets the very answers of one that does.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

from django.contrib.auth.decorators import login_not_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from massmail import outcomes
from massmail.conf import conf
from massmail.models import Delivery, MassmailSettings, Recipient


@method_decorator([csrf_exempt, login_not_required], name="dispatch")
class Unsubscribe(View):
    """Looking changes nothing, since mail scanners open every link; a POST unsubscribes.

    The CSRF token is missing on purpose: mail programs post without ever having seen the page, and what a forged POST
    would need is the link's own token, a secret of the recipient.
    """

    http_method_names = ["get", "head", "post", "options"]

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Robots-Tag"] = "noindex"
        return response

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        target = outcomes.find_recipient(token)
        return page(request, by_itself=target is None or not recently_mailed(target[0]))

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        one_click = request.POST.get("List-Unsubscribe") == "One-Click"
        if target := outcomes.find_recipient(token):
            recipient, address = target
            outcomes.unsubscribe(recipient, address, source="one-click" if one_click else "link")
        if one_click:
            # RFC 8058, 3.1: no redirect, the mail program would not follow it.
            return HttpResponse(content_type="text/plain")
        company_page = MassmailSettings.load().unsubscribe_url
        return HttpResponseRedirect(company_page, status=303) if company_page else page(request, done=True)


@login_not_required
@require_safe
@cache_control(public=True, max_age=86400)
def unsubscribe_script(request: HttpRequest) -> HttpResponse:
    """Return the script that presses the page's button."""
    return HttpResponse(render_to_string("massmail/unsubscribe.js"), content_type="text/javascript")


def recently_mailed(recipient: Recipient) -> bool:
    """Tell whether mail was given to a server for `recipient` within the last `MASSMAIL_UNSUBSCRIBE_GRACE` seconds.

    Scanners that run scripts come by in the first minutes, some even before their server has answered the final dot;
    so the start of the sending counts as well as its end.
    """
    since = timezone.now() - timedelta(seconds=conf.unsubscribe_grace)
    mailed = Q(sent_at__gte=since) | Q(sending_at__gte=since)
    same_object = Q(object_id=recipient.object_id, mailing__content_type=recipient.content_type_id)
    return Delivery.objects.filter(mailed, same_object).exists()


def page(request: HttpRequest, *, by_itself: bool = False, done: bool = False) -> HttpResponse:
    """Return the page with the button, which presses it `by_itself`, or the one that says it is `done`.

    It is rendered without the request: context processors of the host might touch the session, which sets a cookie.
    Its language is the browser's, since the recipient's own would tell known tokens from unknown ones.
    """
    with translation.override(translation.get_language_from_request(request)):
        html = render_to_string("massmail/unsubscribe.html", {"by_itself": by_itself, "done": done})
    response = HttpResponse(html)
    response.headers["Content-Security-Policy"] = content_security_policy()
    return response


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
