"""Messages as their recipients see them: documents without scripts, locked up in a sandbox.

Both the page around the frame and the document itself say so: a preview that is opened by itself is locked up as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from massmail.composing import Links, Prepared, Rendered, prepare, preview, thaw, variables_used, with_pictures
from massmail.composing.templates import UNSUBSCRIBE
from massmail.exceptions import CompositionError
from massmail.models import Delivery, Mailing, Message, Signature
from massmail.recipient_types import RecipientType, recipient_types, type_for
from massmail.tokens import NOBODY, unsubscribe_link

#: What shows a mail's pictures and styles, and nothing else: no scripts, forms, frames or plug-ins.
POLICY = "sandbox; default-src 'none'; img-src data: https:; style-src 'unsafe-inline'; frame-ancestors 'self'"
PLAIN = "text/plain; charset=utf-8"
#: The least a message may be.
BARE = f'<p><a href="{{{{ {UNSUBSCRIBE} }}}}">{UNSUBSCRIBE}</a></p>'


def only_signature(signature: Signature) -> Message:
    """Return an unsaved message that is nothing but `signature`, saved or not."""
    # Without its name, which errors would repeat on its own page.
    unnamed = Signature(owner_id=signature.owner_id, type=signature.type, content=signature.content)
    return Message(owner_id=signature.owner_id, subject=_("Signature"), content=BARE, signature=unnamed)


def mailing_preview(mailing: Mailing) -> Rendered:
    """Return what the first recipient of `mailing` reads, of the frozen message once it was started.

    Raises `CompositionError` where there is no message, or none that can be sent.
    """
    model = mailing.content_type.model_class()
    recipient_type = type_for(model) if model else None
    prepared = thaw(mailing.version) if mailing.version else prepare(mailing.message or Message())
    return _fill(prepared, _first_values(mailing, recipient_type) if recipient_type else {})


def _first_values(mailing: Mailing, recipient_type: RecipientType) -> Mapping[str, Any]:
    # In the order of the claim's index, which finds the first of a million at once.
    delivery = Delivery.objects.filter(mailing=mailing).order_by("account", "status", "id").first()
    if delivery is None:
        return stand_ins(recipient_type)
    if delivery.values:
        return delivery.values
    found = recipient_type.fetch([delivery.object_id])
    return recipient_type.values(found[delivery.object_id]) if found else stand_ins(recipient_type)


def message_preview(message: Message) -> Rendered:
    """Return what a recipient of the owner reads: the first of a type that has all the variables used.

    Raises `CompositionError` if the message can't be sent.
    """
    prepared = prepare(message)
    used = variables_used(message)
    for recipient_type in recipient_types():
        if used <= set(recipient_type.variables):
            someone = recipient_type.queryset().filter(**{recipient_type.owner: message.owner_id}).first()
            if someone is not None:
                return _fill(prepared, recipient_type.values(someone))
    return _fill(prepared, {name: meaning for each in recipient_types() for name, meaning in stand_ins(each).items()})


def stand_ins(recipient_type: RecipientType) -> dict[str, str]:
    """Return the variables' meanings in place of values, where there is no recipient to show."""
    return {name: f"[{meaning}]" for name, meaning in recipient_type.variables.items()}


def _fill(prepared: Prepared, values: Mapping[str, Any]) -> Rendered:
    rendered = preview(prepared, values=values, links=Links(unsubscribe=unsubscribe_link(NOBODY)))
    html = with_pictures(rendered.html, prepared)
    return Rendered(subject=rendered.subject, html=html, text=rendered.text)


def shown(request: HttpRequest, rendered: Rendered) -> HttpResponse:
    """Return the document for the frame: the HTML part, or the text part with `?part=text`."""
    if request.GET.get("part") == "text":
        return locked_up(HttpResponse(rendered.text, content_type=PLAIN))
    return locked_up(HttpResponse(rendered.html))


def failed(error: CompositionError) -> HttpResponse:
    return locked_up(HttpResponse(str(error), content_type=PLAIN))


def locked_up(response: HttpResponse) -> HttpResponse:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response
