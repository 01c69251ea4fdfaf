"""The conversation itself: smtplib's client with a strict ear."""

from __future__ import annotations

import base64
import io
import re
import smtplib
import socket
import ssl
import time
from typing import Any

MAX_LINE = 8192
MAX_LINES = 128
CHUNK = 65536

_REPLY_LINE = re.compile(rb"([2-5]\d\d)(-?)[ \t]*(.*?)\s*\Z", re.DOTALL)


class Garbage(smtplib.SMTPException):
    """What the server said is no reply, or none that belongs here."""


class Ear(io.RawIOBase):
    """Reads from a socket until `deadline`: its time-out begins anew with each octet, and some servers drip."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if time.monotonic() > self.deadline:
            raise TimeoutError
        return self.sock.recv_into(buffer)

    def expect_reply(self) -> None:
        """Give the server the socket's time-out for the whole of its next reply."""
        self.deadline = time.monotonic() + (self.sock.gettimeout() or 0)


class Session(smtplib.SMTP):
    """smtplib's client on a socket that is already connected.

    Every failure is an OSError or an SMTPException. smtplib's own `getreply` takes replies without end and tells
    garbage by the code -1; `data` cannot tell whether the final dot was sent. Both are replaced here.
    """

    sock: socket.socket
    _ear: Ear

    def __init__(self, sock: socket.socket, *, name: str) -> None:
        super().__init__(local_hostname=name)
        self.sock = sock

    def getreply(self) -> tuple[int, bytes]:
        """Return code and text of the next reply; its lines are joined by newlines (RFC 5321, 4.2.1)."""
        if self.file is None:
            self._ear = Ear(self.sock)
            self.file = io.BufferedReader(self._ear)
        self._ear.expect_reply()
        texts: list[bytes] = []
        while len(texts) < MAX_LINES:
            line = self.file.readline(MAX_LINE)
            if not line:
                raise smtplib.SMTPServerDisconnected
            found = _REPLY_LINE.match(line)
            if not found or not line.endswith(b"\n"):
                raise Garbage(readable(line))
            code, more, text = found.groups()
            texts.append(text)
            if not more:
                return int(code), b"\n".join(texts)
        raise Garbage(readable(b"\n".join(texts)))

    def say(self, line: str) -> None:
        """Send one command; smtplib's `putcmd` can't say it in UTF-8 before MAIL has been accepted so."""
        self.sock.sendall(line.encode() + b"\r\n")

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Begin TLS. What was slipped in behind the 220 is dropped unread; EHLO forgets the rest (RFC 3207, 4.2)."""
        self.sock = context.wrap_socket(self.sock, server_hostname=host)
        self.file = None

    def send_text(self, rest: memoryview) -> None:
        """Send what stands before the last block of a text. The time-out holds for each block (RFC 5321, 4.5.3.2.5)."""
        while rest:
            self.sock.sendall(rest[:CHUNK])
            rest = rest[CHUNK:]

    def overhear(self) -> bytes | None:
        """Return what the server said unasked, b"" if it hung up, None if it is quiet. Does not wait."""
        patience = self.sock.gettimeout()
        self.sock.settimeout(0)
        try:
            return self.sock.recv(MAX_LINE)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        finally:
            self.sock.settimeout(patience)


def readable(words: bytes) -> str:
    """Return the server's words as text that any database stores and any page shows: no control characters, capped."""
    text = words.decode("utf-8", "replace").strip()[:2000]
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def challenge(words: str) -> bytes:
    """Return what the server asks in a login (RFC 4954, 4). Raises `Garbage` if it is no base64."""
    try:
        return base64.b64decode(words)
    except ValueError:  # also of letters outside of ASCII
        raise Garbage(words) from None
