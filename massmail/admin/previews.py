"""Messages as their recipients see them: documents without scripts, locked up in a sandbox.

Both the page around the frame and the document itself say so: a preview that is opened by itself is locked up as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from massmail.composing import Links, Prepared, Rendered, prepare, preview, thaw, variables_used, with_pictures
from massmail.composing.templates import UNSUBSCRIBE
from massmail.exceptions import CompositionError
from massmail.models import Delivery, Mailing, Message, Signature
from massmail.recipient_types import RecipientType, find_type, recipient_types
from massmail.tokens import NOBODY, unsubscribe_link

#: What shows a mail's pictures and styles, and nothing else: no scripts, forms, frames or plug-ins.
POLICY = "sandbox; default-src 'none'; img-src data: https:; style-src 'unsafe-inline'; frame-ancestors 'self'"
PLAIN = "text/plain; charset=utf-8"
#: What a style sheet asks for the colours of night or day.
_SCHEME = re.compile(r"\(\s*prefers-color-scheme\s*:\s*(dark|light)\s*\)", re.IGNORECASE)
#: The least a message may be.
BARE = f'<p><a href="{{{{ {UNSUBSCRIBE} }}}}">%s</a></p>'


def only_signature(signature: Signature) -> Message:
    """Return an unsaved message that is nothing but `signature`, saved or not."""
    # Without its name, which errors would repeat on its own page.
    unnamed = Signature(owner_id=signature.owner_id, type=signature.type, content=signature.content)
    content = BARE % _("Unsubscribe")
    return Message(owner_id=signature.owner_id, subject=_("Signature"), content=content, signature=unnamed)


def mailing_preview(mailing: Mailing, delivery: Delivery | None = None) -> Rendered:
    """Return what the recipient of `delivery`, by default the first one, reads of `mailing`.

    What was sent already is shown from the record: the message as frozen, the values as filled in. Raises
    `CompositionError` where there is no message, or none that can be sent.
    """
    return _fill(*mailing_parts(mailing, delivery))


def mailing_parts(mailing: Mailing, delivery: Delivery | None = None) -> tuple[Prepared, Mapping[str, Any]]:
    """Return what `mailing_preview` is made of: the message, prepared, and the values to be filled in."""
    delivery = delivery or first_delivery(mailing)
    version = delivery.version if delivery and delivery.version else mailing.version
    prepared = thaw(version) if version else prepare(mailing.message or Message())
    return prepared, _values(mailing, delivery)


def first_delivery(mailing: Mailing) -> Delivery | None:
    # In the order of the claim's index, which finds the first of a million at once.
    return Delivery.objects.filter(mailing=mailing).order_by("account", "status", "id").first()


def _values(mailing: Mailing, delivery: Delivery | None) -> Mapping[str, Any]:
    if delivery and delivery.values is not None:
        return delivery.values
    model = mailing.content_type.model_class()
    recipient_type = find_type(model) if model else None
    if recipient_type is None:
        return {}
    found = recipient_type.fetch([delivery.object_id]) if delivery else {}
    return recipient_type.values(found[delivery.object_id]) if delivery and found else stand_ins(recipient_type)


def message_preview(message: Message, values: Mapping[str, Any] | None = None) -> Rendered:
    """Return what the recipient with these `values` reads, by default that of `usual_values`.

    Raises `CompositionError` if the message can't be sent.
    """
    prepared = prepare(message)
    return _fill(prepared, usual_values(message) if values is None else values)


def usual_values(message: Message) -> Mapping[str, Any]:
    """Return the values of a recipient of the owner: the first of a type that has all the variables used.

    Raises `CompositionError` if the message can't be read.
    """
    used = variables_used(message)
    for recipient_type in recipient_types():
        if used <= set(recipient_type.variables):
            someone = recipient_type.queryset().filter(**{recipient_type.owner: message.owner_id}).first()
            if someone is not None:
                return recipient_type.values(someone)
    return {name: meaning for each in recipient_types() for name, meaning in stand_ins(each).items()}


def stand_ins(recipient_type: RecipientType) -> dict[str, str]:
    """Return the variables' meanings in place of values, where there is no recipient to show."""
    return {name: f"[{meaning}]" for name, meaning in recipient_type.variables.items()}


def _fill(prepared: Prepared, values: Mapping[str, Any]) -> Rendered:
    rendered = preview(prepared, values=values, links=Links(unsubscribe=unsubscribe_link(NOBODY)))
    html = with_pictures(rendered.html, prepared)
    return Rendered(subject=rendered.subject, html=html, text=rendered.text)


def shown(request: HttpRequest, rendered: Rendered) -> HttpResponse:
    """Return the document for the frame: the HTML part, with `scheme=dark` by night, or with `part=text` the text."""
    asked = request.POST if request.method == "POST" else request.GET
    if asked.get("part") == "text":
        return locked_up(HttpResponse(rendered.text, content_type=PLAIN))
    return locked_up(HttpResponse(in_scheme(rendered.html, "dark" if asked.get("scheme") == "dark" else "light")))


def in_scheme(html: str, scheme: str) -> str:
    """Return `html` as a mail program shows it by day ("light") or by night, whatever this browser's own scheme is."""
    return _SCHEME.sub(lambda asked: "(min-width: 0)" if asked[1].lower() == scheme else "(max-width: 0)", html)


def failed(error: CompositionError) -> HttpResponse:
    return locked_up(HttpResponse(str(error), content_type=PLAIN))


def locked_up(response: HttpResponse) -> HttpResponse:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response
