"""`{% massmail_dashboard %}`: the block on the app's index, which a host may put on a page of its own as well."""

from __future__ import annotations

from typing import Any

from django import template

from massmail.admin.dashboard import dashboard

register = template.Library()


@register.inclusion_tag("massmail/admin/dashboard.html", takes_context=True)
def massmail_dashboard(context: dict[str, Any]) -> dict[str, Any]:
    """Show what is running, held, and waits for the user of an admin page; nothing to those who may see no mailings."""
    request = context.get("request")
    return {"dashboard": dashboard(request) if request is not None else None}
