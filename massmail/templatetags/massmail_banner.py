"""`{% massmail_banner %}`: says on top of the app's pages that nobody is there to send what is under way."""

from __future__ import annotations

from typing import Any

from django import template

from massmail.admin.banner import banner

register = template.Library()


@register.inclusion_tag("massmail/admin/banner.html", takes_context=True)
def massmail_banner(context: dict[str, Any]) -> dict[str, Any]:
    """Show the banner to those who have mailings under way; nothing where all is well, and nothing in a pop-up."""
    request = context.get("request")
    return {"banner": banner(request) if request is not None and not context.get("is_popup") else None}
