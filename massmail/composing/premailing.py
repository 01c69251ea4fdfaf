"""Premailer, kept from the network: it puts the rules of a page's style sheets into the elements."""

from __future__ import annotations

import logging
from typing import Any
from xml.dom import DOMException

import cssutils
from cssselect import SelectorError
from django.utils.translation import gettext as _
from premailer import Premailer
from premailer.premailer import PremailerError

from massmail.exceptions import CompositionError


class OfflinePremailer(Premailer):
    """Premailer that fetches nothing: by itself it follows `<link>` and, even with `allow_network=False`, `@import`."""

    def _parse_css_string(self, css_body: str, validate: bool = True) -> Any:
        parser = cssutils.CSSParser(
            loglevel=logging.CRITICAL,
            raiseExceptions=False,
            validate=validate,
            fetcher=lambda url: ("utf-8", b""),
        )
        return parser.parseString(css_body)

    def _load_external(self, url: str) -> str:
        raise ValueError(url)

    def _load_external_url(self, url: str) -> str:
        raise ValueError(url)


def inline_styles(root: Any) -> None:
    """Do it in place. Raises `CompositionError` for a sheet that can't be worked in."""
    try:
        OfflinePremailer(
            root,
            allow_network=False,
            cache_css_parsing=False,
            strip_important=False,
            disable_validation=True,
            cssutils_logging_level=logging.CRITICAL,
            align_floating_images=False,
        ).transform()
    except (PremailerError, SelectorError, DOMException, ValueError, AssertionError) as error:
        raise CompositionError(
            _("The style sheet cannot be worked in: %(error)s. Correct or remove that rule.") % {"error": error}
        ) from error
