"""Where in the admin an object is to be found, for those who may go there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.sites import all_sites
from django.contrib.admin.utils import quote
from django.db import models
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from massmail.recipient_types import recipient_types


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A page and what it is called."""

    name: str
    url: str


def site_of(request: HttpRequest) -> AdminSite | None:
    """Return the admin site that serves `request`, a host's own or Django's."""
    name = getattr(request, "current_app", "")
    return next((site for site in all_sites if site.name == name), None)


def url_name(model: type[models.Model] | models.Model, page: str) -> str:
    """Return the name of an admin page ("change", "changelist", …) of `model`."""
    return f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"


def page_url(site: AdminSite, model: type[models.Model] | models.Model, page: str, *args: Any) -> str:
    """Return the address of a page of `model` on this `site`."""
    return reverse(url_name(model, page), args=[quote(arg) for arg in args], current_app=site.name)


def change_url(site: AdminSite, obj: models.Model) -> str:
    return page_url(site, obj, "change", obj.pk)


def link_to(request: HttpRequest, site: AdminSite, obj: models.Model | None) -> str:
    """Return the address of the page of `obj`, or "" where there is none or the user may not open it."""
    if obj is None:
        return ""
    model_admin = site._registry.get(obj._meta.concrete_model or type(obj))
    if model_admin is None or not model_admin.has_view_permission(request, obj):
        return ""
    try:
        return change_url(site, obj)
    except NoReverseMatch:
        return ""


def add_url(request: HttpRequest, site: AdminSite, model: type[models.Model]) -> str:
    """Return the address of the form for a new `model`, or "" where there is none or the user may not use it."""
    model_admin = site._registry.get(model)
    if model_admin is None or not model_admin.has_add_permission(request):
        return ""
    return page_url(site, model, "add")


def lists_of_recipients(request: HttpRequest, site: AdminSite) -> list[Place]:
    """Return the host's lists on this `site` in which the user may select recipients."""
    models = [recipient_type.model_class for recipient_type in recipient_types()]
    return [
        Place(name=str(model._meta.verbose_name_plural), url=page_url(site, model, "changelist"))
        for model in models
        if model in site._registry and site._registry[model].has_view_permission(request)
    ]
