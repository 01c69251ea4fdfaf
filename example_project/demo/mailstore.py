"""Where the demo's mail catcher keeps what it got: a file per message, and an index of the envelopes in SQLite."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from email.utils import parseaddr
from pathlib import Path
from types import TracebackType

SCHEMA = """
CREATE TABLE IF NOT EXISTS mail (
    id INTEGER PRIMARY KEY, received REAL NOT NULL, sender TEXT NOT NULL, recipients TEXT NOT NULL,
    author TEXT NOT NULL, subject TEXT NOT NULL, size INTEGER NOT NULL
)
"""
INSERT = "INSERT INTO mail (received, sender, recipients, author, subject, size) VALUES (?, ?, ?, ?, ?, ?)"
SELECT = "SELECT id, received, sender, recipients, author, subject, size FROM mail"
MATCHING = " WHERE instr(recipients, ?) OR instr(sender, ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What the index knows of a message: its envelope, the readable From and Subject, its size in bytes."""

    id: int
    received: datetime
    sender: str
    recipients: str
    author: str
    subject: str
    size: int

    @property
    def author_name(self) -> str:
        name, address = parseaddr(self.author)
        return name or address or self.sender


def readable(value: str) -> str:
    """Return a header's text with its encoded words (RFC 2047) decoded, as far as they can be."""
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, UnicodeError):
        return value


class MailStore:
    """The box in the directory `path`, made where there is none. A context manager: leaving it closes the index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        # One thread uses a store at a time, but the one that made it need not be the one that uses it.
        self.index = sqlite3.connect(path / "index.sqlite3", timeout=20, check_same_thread=False)
        self.index.execute("PRAGMA journal_mode=WAL")
        # Losing the last second of a demo's mail in a power cut harms nobody; a sync per message takes its time.
        self.index.execute("PRAGMA synchronous=OFF")
        self.index.execute(SCHEMA)

    def __enter__(self) -> "MailStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.index.close()

    def add(self, *, sender: str, recipients: Sequence[str], raw: bytes) -> int:
        """Keep a message and return its number. Its file is complete before the index names it."""
        headers = BytesHeaderParser().parsebytes(raw)
        author, subject = (readable(str(headers.get(name, ""))) for name in ("From", "Subject"))
        with self.index:
            row = (datetime.now(UTC).timestamp(), sender, ", ".join(recipients), author, subject, len(raw))
            number = int(self.index.execute(INSERT, row).lastrowid or 0)
            self.file(number).write_bytes(raw)
        return number

    def page(self, *, search: str = "", offset: int = 0, limit: int = 50) -> list[Mail]:
        """Return up to `limit` messages, newest first, from or to an address that holds the text `search`."""
        where, values = _matching(search)
        rows = self.index.execute(f"{SELECT}{where} ORDER BY id DESC LIMIT ? OFFSET ?", (*values, limit, offset))
        return [_mail(row) for row in rows]

    def count(self, *, search: str = "") -> int:
        where, values = _matching(search)
        (number,) = self.index.execute(f"SELECT count(*) FROM mail{where}", values).fetchone()  # noqa: S608  no user text in it
        return int(number)

    def get(self, number: int) -> Mail | None:
        row = self.index.execute(f"{SELECT} WHERE id = ?", (number,)).fetchone()
        return _mail(row) if row else None

    def file(self, number: int) -> Path:
        return self.path / f"{number:08}.eml"


def _matching(search: str) -> tuple[str, tuple[str, ...]]:
    return (MATCHING, (search, search)) if search else ("", ())


def _mail(row: tuple[int, float, str, str, str, str, int]) -> Mail:
    number, received, sender, recipients, author, subject, size = row
    return Mail(
        id=number,
        received=datetime.fromtimestamp(received, UTC),
        sender=sender,
        recipients=recipients,
        author=author,
        subject=subject,
        size=size,
    )
