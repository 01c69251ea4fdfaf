"""One conversation of the scripted SMTP server of `tests.smtpd`."""

from __future__ import annotations

import base64
import contextlib
import hmac
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.smtpd import SMTPServer

#: Instead of a reply: close the connection, or say nothing until the server ends.
DROP = "drop"
STALL = "stall"

#: Every step at which `answers` may replace the server's own answer. BODY is the moment when a message has begun.
STEPS = ("CONNECT", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BODY", "DOT", "RSET", "NOOP", "QUIT")

REFUSED = {
    "grey": "450 4.2.0 Greylisted, try again later",
    "full": "452 4.2.2 Mailbox full",
    "nouser": "550 5.1.1 No such user here",
    "busy": "421 4.7.0 Too busy, come back later",
    "quota": "550 5.4.5 Daily user sending quota exceeded",
}
SPAM = "554 5.7.1 Looks like spam"
TROUBLE = re.compile(r"(grey|full|nouser|spam|busy|quota|dropdata|dropbody|dropdot|slow)(?![a-z])", re.IGNORECASE)

MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
PATH = re.compile(r"(?:FROM|TO):<(.*?)>((?: \S+)*)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An accepted message; `at` in seconds since the epoch. `data` is never in the journal."""

    sender: str
    recipients: tuple[str, ...]
    message_id: str
    at: float
    login: str
    connection: int
    secure: bool
    size: int
    data: bytes = field(default=b"", repr=False)


class Gone(Exception):
    """The conversation is over."""


class Session:
    """One client's conversation, in a thread of its own. The methods named after commands answer them."""

    def __init__(self, server: SMTPServer, sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number
        self.user = ""
        self._buffer = bytearray()
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._troubles: set[str] = set()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def end(self) -> None:
        with contextlib.suppress(OSError):
            # Not SSLSocket's own: that takes the TLS object away from under the reading thread.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        self.thread.join()

    def _run(self) -> None:
        with contextlib.suppress(Gone, OSError):
            if self.server.security == "ssl":
                self._encrypt()
            self._answer("CONNECT", "220 test.example ESMTP ready")
            while True:
                self._obey(self._line())
        self.sock.close()

    def _obey(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        if self.server.keep:
            self.server.commands.append(text)
        verb, _, argument = text.partition(" ")
        command = getattr(self, verb.lower(), None) if verb.upper() in STEPS else None
        if command:
            command(argument)
        else:
            self._say("500 5.5.1 What?")

    # Commands

    def ehlo(self, name: str) -> None:
        server = self.server
        lines = ["test.example", *server.extensions]
        if server.security == "starttls" and not self._secure:
            lines.append("STARTTLS")
        elif server.mechanisms:
            lines.append("AUTH " + " ".join(server.mechanisms))
        self._answer("EHLO", "\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))

    def starttls(self, argument: str) -> None:
        if self.server.security != "starttls":
            self._say("502 5.5.1 Not offered")
        elif self._answer("STARTTLS", "220 2.0.0 Go ahead"):
            self._encrypt()

    def auth(self, argument: str) -> None:
        mechanism, _, first = argument.partition(" ")
        if "AUTH" in self.server.answers:
            self._answer("AUTH", "")
        elif mechanism.upper() not in self.server.mechanisms:
            self._say("504 5.5.4 Unrecognized authentication type")
        else:
            with contextlib.suppress(ValueError):  # not base64, or not what the mechanism wants
                self.user = getattr(self, "_" + mechanism.lower().replace("-", "_"))(first)
            self._say("235 2.7.0 Welcome" if self.user else "535 5.7.8 User name or password wrong")

    def mail(self, argument: str) -> None:
        path = PATH.match(argument)
        if self.server.users and not self.user:
            self._say("530 5.7.0 Log in first")
        elif not path:
            self._say("501 5.5.4 Not an address")
        elif not path[1].isascii() and "SMTPUTF8" not in path[2]:
            self._say("553 5.6.7 SMTPUTF8 was not asked for")
        elif self._answer("MAIL", "250 2.1.0 Sender ok"):
            self._forget()
            self._sender = path[1]

    def rcpt(self, argument: str) -> None:
        path = PATH.match(argument)
        if self._sender is None or not path:
            self._say("503 5.5.1 MAIL first" if path else "501 5.5.4 Not an address")
            return
        trouble = self._trouble(path[1])
        if trouble == "grey" and not self.server.still_grey(path[1]):
            trouble = ""
        if self._answer("RCPT", REFUSED.get(trouble, "250 2.1.5 Recipient ok")):
            self._recipients.append(path[1])
            self._troubles.add(trouble)

    def data(self, argument: str) -> None:
        if not self._recipients:
            self._say("503 5.5.1 RCPT first")
        elif "dropdata" in self._troubles:
            raise Gone
        elif self._answer("DATA", "354 Go ahead"):
            self._end_of_data(self._message())
            self._forget()

    def rset(self, argument: str) -> None:
        self._forget()
        self._answer("RSET", "250 2.0.0 Forgotten")

    def noop(self, argument: str) -> None:
        self._answer("NOOP", "250 2.0.0 Yes")

    def quit(self, argument: str) -> None:
        self._answer("QUIT", "221 2.0.0 Bye")

    # The message

    def _message(self) -> bytes:
        if "dropbody" in self._troubles or "BODY" in self.server.answers:
            self._fill()
            self._answer("BODY", DROP)
        searched = 0
        while not (self._buffer.startswith(b".\r\n") or (end := self._buffer.find(b"\r\n.\r\n", searched)) >= 0):
            searched = max(0, len(self._buffer) - 4)
            self._fill()
        if self._buffer.startswith(b".\r\n"):
            del self._buffer[:3]
            return b""
        text = bytes(self._buffer[: end + 2])
        del self._buffer[: end + 5]
        text = text.replace(b"\r\n.", b"\r\n")
        return text.removeprefix(b".")

    def _end_of_data(self, message: bytes) -> None:
        if "spam" in self._troubles:
            self._say(SPAM)
            return
        if "slow" in self._troubles:
            self.server.stopping.wait(self.server.slow)
        scripted = self.server.answers.get("DOT", "250")
        if scripted == DROP or scripted.startswith("2"):
            self._store(message)
        if "dropdot" in self._troubles:
            raise Gone
        self._answer("DOT", "250 2.0.0 Accepted")

    def _store(self, message: bytes) -> None:
        found = MESSAGE_ID.search(message.partition(b"\r\n\r\n")[0])
        self.server.store(
            Record(
                sender=self._sender or "",
                recipients=tuple(self._recipients),
                message_id=found[1].decode("utf-8", "replace") if found else "",
                at=time.time(),
                login=self.user,
                connection=self.number,
                secure=self._secure,
                size=len(message),
                data=message if self.server.keep else b"",
            )
        )

    def _forget(self) -> None:
        self._sender = None
        self._recipients = []
        self._troubles = set()

    @staticmethod
    def _trouble(recipient: str) -> str:
        found = TROUBLE.match(recipient)
        return found[1].lower() if found else ""

    # Logins

    def _plain(self, first: str) -> str:
        response = base64.b64decode(first) if first else self._challenge(b"")
        _, username, password = response.decode().split("\0")
        return self._checked(username, password)

    def _login(self, first: str) -> str:
        username = base64.b64decode(first) if first else self._challenge(b"Username:")
        return self._checked(username.decode(), self._challenge(b"Password:").decode())

    def _cram_md5(self, first: str) -> str:
        challenge = b"<17.42@test.example>"
        username, _, digest = self._challenge(challenge).decode().rpartition(" ")
        expected = hmac.new(self.server.users.get(username, "").encode(), challenge, "md5").hexdigest()
        return username if digest == expected else ""

    def _xoauth2(self, first: str) -> str:
        user, token, *_rest = (base64.b64decode(first) if first else self._challenge(b"")).decode().split("\1")
        return self._taken(user.removeprefix("user="), token)

    def _oauthbearer(self, first: str) -> str:
        header, token, *_rest = (base64.b64decode(first) if first else self._challenge(b"")).decode().split("\1")
        return self._taken(header.removeprefix("n,a=").rstrip(","), token)

    def _taken(self, username: str, token: str) -> str:
        taken = self._checked(username, token.removeprefix("auth=Bearer "))
        if not taken:
            self._challenge(b'{"status":"401","schemes":"Bearer"}')
        return taken

    def _challenge(self, words: bytes) -> bytes:
        self._say("334 " + base64.b64encode(words).decode())
        return base64.b64decode(self._line())

    def _checked(self, username: str, password: str) -> str:
        return username if not self.server.users or self.server.users.get(username) == password else ""

    # The line

    @property
    def _secure(self) -> bool:
        return isinstance(self.sock, ssl.SSLSocket)

    def _encrypt(self) -> None:
        if self.server.tls is None:
            raise Gone
        self._buffer.clear()
        self.sock = self.server.tls.wrap_socket(self.sock, server_side=True)

    def _answer(self, step: str, default: str) -> bool:
        """Say what the script has for this step, or else `default`; return whether that was a yes."""
        reply = self.server.answers.get(step, default)
        if reply == STALL:
            self.server.stopping.wait()
        if reply in (STALL, DROP):
            raise Gone
        self._say(reply)
        return reply[:1] in "23"

    def _say(self, reply: str) -> None:
        self.sock.sendall(reply.encode() + b"\r\n")
        if reply.startswith(("221", "421")):
            raise Gone

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _fill(self) -> None:
        chunk = self.sock.recv(65536)
        if not chunk:
            raise Gone
        if self.server.keep and not self._secure:
            self.server.heard += chunk
        self._buffer += chunk
