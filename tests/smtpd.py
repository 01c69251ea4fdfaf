"""A scripted SMTP server: it takes mail for anybody, and breaks exactly where it is told to.

In a test, as a thread:

    with SMTPServer(answers={"RCPT": "421 4.3.2 Closing"}) as server:
        ... server.port, server.messages, server.commands ...

As a process that outlives the processes under test, with one JSON line for every accepted message:

    python -m tests.smtpd --port 2525 --journal mail.jsonl --user alice:secret --answer "DATA=drop"

Some recipients are trouble at every domain; whatever follows the word but a letter is ignored (`nouser+17@`):

    grey@      450 4.2.0, the first `grey_tries` times or for ever     nouser@    550 5.1.1
    full@      452 4.2.2                                               spam@      554 5.7.1 after the final dot
    busy@      421 4.7.0 and the connection is closed                  quota@     550 5.4.5
    dropdata@  connection lost at DATA, instead of the 354             slow@      250 after `slow` seconds
    dropbody@  connection lost as soon as the message begins           dropdot@   message kept, connection lost,
    (a small message may be sent whole before its sender notices)                 no 250
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.certificates import Certificate
from tests.smtpd_session import DROP, STALL, STEPS, Record, Session

__all__ = ["DROP", "STALL", "STEPS", "Record", "SMTPServer", "copies", "read_journal"]


def read_journal(path: Path | str) -> list[Record]:
    """Return the journal's records. A line that is just being written is left out."""
    if not Path(path).exists():
        return []
    lines = Path(path).read_text().split("\n")[:-1]
    return [Record(**fields | {"recipients": tuple(fields["recipients"])}) for fields in map(json.loads, lines)]


def copies(records: Iterable[Record]) -> Counter[tuple[str, str]]:
    """Return how often each (Message-ID, recipient) was accepted: the oracle of every test about double mail."""
    return Counter((record.message_id, recipient) for record in records for recipient in record.recipients)


class SMTPServer:
    """The server, listening on the loopback interface while its `with` block runs; port 0 takes a free one.

    `security` is "none" (STARTTLS is not offered), "starttls" or "ssl"; with one of these a `certificate` is needed.
    `users` are the passwords by name: with any, a login is demanded and must fit; without, every login is welcome.
    `answers` replaces the answer to one of the `STEPS` by another reply, `DROP` or `STALL`; it may be changed at any
    time. `heard` is all that came in clear, `commands` all that came. Neither is kept, nor are `messages`, if `keep`
    is False.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        security: str = "none",
        certificate: Certificate | None = None,
        users: dict[str, str] | None = None,
        mechanisms: Iterable[str] = ("PLAIN", "LOGIN"),
        extensions: Iterable[str] = ("SIZE 20000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"),
        answers: dict[str, str] | None = None,
        grey_tries: int | None = None,
        slow: float = 1.0,
        journal: Path | str | None = None,
        keep: bool = True,
    ) -> None:
        unknown = set(answers or ()) - set(STEPS)
        if unknown:
            raise ValueError(f"No such steps: {unknown}")
        self.security = security
        self.tls = certificate.server_context() if certificate else None
        self.users = users or {}
        self.mechanisms = tuple(mechanisms)
        self.extensions = tuple(extensions)
        self.answers = answers or {}
        self.grey_tries = grey_tries
        self.slow = slow
        self.keep = keep
        self.messages: list[Record] = []
        self.commands: list[str] = []
        self.heard = bytearray()
        self.connections = 0
        self.stopping = threading.Event()
        self._tries: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._journal = open(journal, "a", encoding="utf-8") if journal else None  # noqa: SIM115 closed by stop()
        self._sessions: list[Session] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> SMTPServer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stopping.set()
        # Closing alone would not wake the thread that waits in accept().
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listener.close()
        for session in self._sessions:
            session.end()
        if self._journal:
            self._journal.close()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self.stopping.is_set():
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._sessions = [session for session in self._sessions if session.thread.is_alive()]
            self._sessions.append(Session(self, sock, self.connections))

    def store(self, record: Record) -> None:
        """Keep an accepted message: in memory, in the journal, or both."""
        with self._lock:
            if self.keep:
                self.messages.append(record)
            if self._journal:
                fields = asdict(record)
                del fields["data"]
                self._journal.write(json.dumps(fields) + "\n")
                self._journal.flush()

    def still_grey(self, recipient: str) -> bool:
        with self._lock:
            self._tries[recipient] += 1
            return self.grey_tries is None or self._tries[recipient] <= self.grey_tries


def main() -> None:
    options = _options()
    with SMTPServer(**options) as server:
        print(f"listening on {server.port}", flush=True)  # noqa: T201 read by whoever started the process
        while True:
            signal.pause()


def _options() -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m tests.smtpd", description="A scripted SMTP server for tests.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; it is printed")
    parser.add_argument("--journal", help="file that gets a JSON line for every accepted message")
    parser.add_argument("--security", choices=("none", "starttls", "ssl"), default="none")
    parser.add_argument("--certificate", nargs=2, type=Path, metavar=("CHAIN", "KEY"), help="PEM files")
    parser.add_argument("--user", action="append", default=[], metavar="NAME:PASSWORD")
    parser.add_argument("--answer", action="append", default=[], metavar="STEP=REPLY", help="or =drop, =stall")
    parser.add_argument("--grey-tries", type=int, help="refusals before grey@ is accepted; default: no end")
    parser.add_argument("--slow", type=float, default=1.0, metavar="SECONDS", help="delay of slow@")
    given = vars(parser.parse_args())
    files = given.pop("certificate")
    return given | {
        "certificate": Certificate(chain=files[0], key=files[1]) if files else None,
        "users": dict(_pair(user, ":") for user in given.pop("user")),
        "answers": dict(_pair(answer, "=") for answer in given.pop("answer")),
        "keep": False,
    }


def _pair(text: str, separator: str) -> tuple[str, str]:
    name, found, value = text.partition(separator)
    if not found:
        raise SystemExit(f"No {separator!r} in {text!r}")
    return name, value


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
