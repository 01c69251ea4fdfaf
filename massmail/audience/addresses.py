"""What is an address: in Python by email-validator, in SQL for the plain ones, which are nearly all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.db.models import BooleanField, Func
from email_validator import EmailNotValidError, ValidatedEmail, validate_email

#: What SQL may take as an address by itself: never more than email-validator would. At most 64 characters in all
#: keep the local part (64) and every label (63) within RFC 5321, 4.5.3.1.
PLAIN_LENGTH = 64
#: Names that are in no public DNS (RFC 6761, 6762, 7686): for email-validator to refuse.
SPECIAL = ("arpa", "invalid", "local", "localhost", "onion")
# Possessive: what matched is never tried again in another way, which takes a third of the time.
_PLAIN = re.compile(
    r"[a-z0-9_+-]++(?:\.[a-z0-9_+-]++)*+@(?:[a-z0-9]++(?:-[a-z0-9]++)*+\.)+"
    rf"(?!(?:{'|'.join(SPECIAL)})\Z)[a-z]{{2,}}+\Z"
)
# The same for PostgreSQL, whose look-ahead costs more than all the rest: ends of special names are told by their last
# five letters. That turns a few others away ("acme.mylocal"), which email-validator then looks at.
_PLAIN_POSTGRES = r"^[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\.)+[A-Za-z]{2,}$"
_SPECIAL_ENDS = sorted({f".{name}"[-5:] for name in SPECIAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address as somebody typed it, and in the form that is compared and stored."""

    typed: str
    normalised: str


def parse_address(text: str) -> Address | None:
    """Return the one address in `text` ("a@b.example" or "Name <a@b.example>"), or None if it is not valid.

    Normalised are the local part and the domain in lower case, an international domain as punycode.
    """
    typed = text.strip()
    if typed.endswith(">") and "<" in typed:
        typed = typed[typed.rindex("<") + 1 : -1].strip()
    found = _validated(typed)
    if found is None or not found.local_part.isascii():
        return None
    return Address(typed=typed, normalised=f"{found.local_part}@{found.ascii_domain}".lower())


def needs_smtputf8(text: str) -> bool:
    """Tell whether `text` is a valid address that only servers with SMTPUTF8 (RFC 6531) take, each one on the way.

    Those are few, and a mail that one of them can't pass on comes back: such addresses get no mailings.
    """
    typed = text.strip().removesuffix(">").rpartition("<")[2].strip()
    if typed.rpartition("@")[0].isascii():
        return False
    found = _validated(typed)
    return found is not None and not found.local_part.isascii()


def _validated(typed: str) -> ValidatedEmail | None:
    try:
        found = validate_email(
            typed, check_deliverability=False, allow_quoted_local=True, test_environment=True, strict=True
        )
    except EmailNotValidError:
        return None
    if not re.search(r"\.[^.]*[a-z][^.]*\Z", found.ascii_domain, re.IGNORECASE):
        return None  # "root@localhost", "a@1.2.3.4": no mailbox on the public internet
    return found


def parse_addresses(text: str) -> tuple[list[Address], list[str]]:
    """Return the valid addresses in `text`, separated by commas, semicolons or line breaks, and the invalid pieces."""
    pieces = [piece.strip() for piece in re.findall(r'(?:"[^"]*"|[^,;\r\n])+', text)]
    valid, invalid = [], []
    for piece in filter(None, pieces):
        address = parse_address(piece)
        if address is None:
            invalid.append(piece)
        else:
            valid.append(address)
    return valid, invalid


def is_plain(text: str) -> bool:
    """Tell whether `text` is beyond doubt one address; its normalised form is its lower case without spaces around."""
    return text.isascii() and len(text) <= PLAIN_LENGTH and _PLAIN.match(text.strip(" ").lower()) is not None


class Plain(Func):
    """`is_plain` in SQL, of a text that is not null; on PostgreSQL it takes a little less for plain."""

    function = "massmail_is_plain"
    arity = 1
    output_field = BooleanField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # SQLite has no regular expressions but those of Python, and a function of our own is twice as quick as them.
        # It is made once a connection: while rows are read SQLite refuses to make it anew.
        connection.ensure_connection()
        if getattr(connection, "massmail_plain", None) is not connection.connection:
            connection.connection.create_function(self.function, 1, is_plain, deterministic=True)
            connection.massmail_plain = connection.connection
        return self.as_sql(compiler, connection, **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        text, params = compiler.compile(self.source_expressions[0])
        ends = ", ".join(["%s"] * len(_SPECIAL_ENDS))
        # Compared by code point: what a language thinks of letters takes as long again.
        form = f'LENGTH({text}) <= {PLAIN_LENGTH} AND TRIM({text}) COLLATE "C" ~ %s'
        sql = f"({form} AND LOWER(RIGHT(TRIM({text}), 5)) NOT IN ({ends}))"
        return sql, [*params, *params, _PLAIN_POSTGRES, *params, *_SPECIAL_ENDS]
