"""`SecretField`: text that is encrypted in the database and stays encrypted in every export."""

from __future__ import annotations

import base64
import re
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import models

from massmail.conf import conf

PREFIX = "fernet:"
#: What `encrypt` gives, and nobody types: a Fernet token begins with its version and the high bytes of a time stamp.
_ENCRYPTED = re.compile(r"fernet:gAAAAA[\w-]{90,}={0,2}")


class Undecryptable(str):
    """An empty string that remembers the token no key could open, so that saving the row keeps it."""

    __slots__ = ("token",)
    token: str


class Secret(str):
    """A text that does not show itself in a traceback: `repr` gives dots."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'••••'" if self else "''"


def _derived(secret: str) -> bytes:
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=b"massmail", info=b"SecretField").derive(secret.encode())
    return base64.urlsafe_b64encode(key)


def keyring() -> MultiFernet:
    """Return the keys in force: `MASSMAIL_FIELD_KEYS`, or else keys derived from `SECRET_KEY` and its fallbacks."""
    keys = [key.encode() for key in conf.field_keys]
    keys = keys or [_derived(secret) for secret in (settings.SECRET_KEY, *map(str, settings.SECRET_KEY_FALLBACKS))]
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(value: str) -> str:
    return PREFIX + keyring().encrypt(value.encode()).decode()


def decrypt(stored: str) -> str:
    """Return the clear text, or an `Undecryptable` when none of the keys fits."""
    if not stored.startswith(PREFIX):
        return stored
    token = stored.removeprefix(PREFIX)
    try:
        return Secret(keyring().decrypt(token.encode()).decode())
    except InvalidToken:
        lost = Undecryptable("")
        lost.token = token
        return lost


class SecretField(models.TextField):
    """A text encrypted at rest with MultiFernet.

    Reads with any key of the ring, writes with the first. `dumpdata` gives and `loaddata` takes the encrypted form.
    A value no key can open reads as an empty `Undecryptable` and survives being saved.
    """

    def get_prep_value(self, value: Any) -> str | None:
        value = super().get_prep_value(value)
        if isinstance(value, Undecryptable):
            return PREFIX + value.token
        return encrypt(value) if value else value

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str | None:
        return decrypt(value) if value else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and _ENCRYPTED.fullmatch(value):
            return decrypt(value)
        return value if isinstance(value, Undecryptable) else super().to_python(value)

    def value_to_string(self, obj: models.Model) -> str:
        return self.get_prep_value(self.value_from_object(obj)) or ""
