"""The admin as tests use it: addresses, logged-in clients, filled-in forms."""

from __future__ import annotations

from typing import Any

from django.contrib.messages import get_messages
from django.db import connection
from django.db.models import Model
from django.forms import MultiWidget
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

PASSWORD_FIELDS = ("new_smtp_password", "new_imap_password")


def url(model: type[Model] | Model, page: str, *args: Any) -> str:
    """Return the address of an admin page of a model, or of an object."""
    meta = model._meta
    keys = args or ((model.pk,) if isinstance(model, Model) else ())
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=keys)


def client_of(user: Any, **options: Any) -> Client:
    client = Client(**options)
    if user is not None:
        client.force_login(user)
    return client


def filled_in(client: Client, address: str) -> dict[str, Any]:
    """Return what a browser would post from the form at `address` if nobody touched it."""
    context = client.get(address).context
    inlines = [each.formset for each in context.get("inline_admin_formsets", ())]
    forms = [
        context["adminform"].form,
        *(part for each in inlines for part in (each.management_form, *each.initial_forms)),
    ]
    data: dict[str, Any] = {}
    for bound in (bound for form in forms for bound in form):
        value = bound.value()
        if isinstance(bound.field.widget, MultiWidget):
            parts = bound.field.widget.decompress(value)
            data |= {f"{bound.html_name}_{number}": part or "" for number, part in enumerate(parts)}
        elif value is not None and value is not False:
            data[bound.html_name] = value
    return {name: value for name, value in data.items() if name not in PASSWORD_FIELDS}


def submit(client: Client, page: str, /, **changes: Any) -> Any:
    """Post the form at the address `page` with `changes`; None takes a value away."""
    data = filled_in(client, page) | changes
    return client.post(page, {name: value for name, value in data.items() if value is not None})


def act(client: Client, model: type[Model], action: str, objects: Any = None, *, everywhere: bool = False) -> Any:
    """Choose `action` in the action menu of a list for `objects`, or with "select all matching"."""
    keys = [obj.pk for obj in objects] if objects is not None else [model._default_manager.first().pk]
    data = {"action": action, "_selected_action": keys, "select_across": "1" if everywhere else "0"}
    return client.post(url(model, "changelist"), data)


def said(response: Any) -> list[str]:
    """Return the messages that the answer to a POST left for the next page."""
    return [str(message) for message in get_messages(response.wsgi_request)]


def queries(client: Client, address: str) -> int:
    """Return how many queries a page takes; the first visit fills the caches."""
    client.get(address)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)
