"""A small IMAP server for tests: mailboxes in memory, and faults on demand. `Mailbox` holds mail, `serve` runs it."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import re
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@dataclass
class Mail:
    uid: int
    data: bytes
    received_at: dt.datetime


@dataclass
class Box:
    """A folder; `flags` as LIST shows them."""

    name: str
    flags: str = r"\HasNoChildren"
    validity: int = 1
    next_uid: int = 1
    mails: list[Mail] = field(default_factory=list)

    def add(self, data: bytes, received_at: dt.datetime | None = None) -> int:
        uid = self.next_uid
        self.next_uid += 1
        when = received_at or dt.datetime.now(dt.UTC)
        self.mails.append(Mail(uid, data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), when))
        return uid

    def renumber(self) -> None:
        """Number all mail anew, as servers do after a restore."""
        self.validity += 1
        self.next_uid += 100
        for mail in self.mails:
            mail.uid = self.next_uid
            self.next_uid += 1


#: Answers a command line itself and returns True, or leaves it to the server. It may raise `HangUp`.
Fault = Callable[["Session", bytes], bool]


class HangUp(Exception):
    """End the connection without a word."""


@dataclass
class World:
    """What the server has and does; `commands` are the lines it was told."""

    boxes: dict[str, Box]
    port: int = 0
    password: str = "secret"
    capabilities: str = "IMAP4rev1 AUTH=PLAIN"
    greeting: bytes = b"* OK hello\r\n"
    fault: Fault | None = None
    commands: list[bytes] = field(default_factory=list)
    connections: int = 0
    tls: ssl.SSLContext | None = None
    starttls: bool = False

    @property
    def inbox(self) -> Box:
        return self.boxes["INBOX"]

    def said(self, word: bytes) -> int:
        """Return in how many lines the client said `word`."""
        return sum(word in line for line in self.commands)


class Session(socketserver.StreamRequestHandler):
    """One connection."""

    world: World

    def setup(self) -> None:
        if self.world.tls and not self.world.starttls:
            self.request = self.world.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.request.close()

    def handle(self) -> None:
        self.world.connections += 1
        self.box: Box | None = None
        with contextlib.suppress(HangUp, OSError):
            self.say(self.world.greeting)
            while line := self.rfile.readline():
                self.world.commands.append(line)
                if self.world.fault is None or not self.world.fault(self, line):
                    self.obey(line.rstrip(b"\r\n"))

    def say(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def obey(self, line: bytes) -> None:
        self.tag, _, rest = line.partition(b" ")
        verb, _, args = rest.partition(b" ")
        if verb.upper() == b"UID":
            verb, _, args = args.partition(b" ")
        getattr(self, "do_" + verb.decode().lower(), self.unknown)(args)

    def done(self, text: bytes = b"OK done") -> None:
        self.say(self.tag + b" " + text + b"\r\n")

    def unknown(self, args: bytes) -> None:
        self.done(b"BAD what?")

    def do_capability(self, args: bytes) -> None:
        self.say(b"* CAPABILITY " + self.world.capabilities.encode() + b"\r\n")
        self.done()

    def do_noop(self, args: bytes) -> None:
        self.done()

    def do_logout(self, args: bytes) -> None:
        self.say(b"* BYE bye\r\n")
        self.done()
        raise HangUp

    def do_starttls(self, args: bytes) -> None:
        self.done()
        self.request = self.world.tls.wrap_socket(self.request, server_side=True)
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb")

    def do_login(self, args: bytes) -> None:
        self.log_in(self.world.password.encode() in args)

    def do_authenticate(self, args: bytes) -> None:
        self.say(b"+ \r\n")
        self.log_in(self.world.password.encode() in base64.b64decode(self.rfile.readline()))

    def log_in(self, right: bool) -> None:
        self.done(b"OK welcome" if right else b"NO [AUTHENTICATIONFAILED] wrong password")

    def do_list(self, args: bytes) -> None:
        for box in self.world.boxes.values():
            self.say(f'* LIST ({box.flags}) "/" "{box.name}"\r\n'.encode())
        self.done()

    def do_examine(self, args: bytes) -> None:
        self.box = self.world.boxes[args.decode().strip('"')]
        self.say(
            f"* {len(self.box.mails)} EXISTS\r\n* OK [UIDVALIDITY {self.box.validity}] x\r\n"
            f"* OK [UIDNEXT {self.box.next_uid}] x\r\n".encode()
        )
        self.done(b"OK [READ-ONLY] done")

    def do_search(self, args: bytes) -> None:
        text = args.decode()
        uids = [mail.uid for mail in self.box.mails if self.fits(mail, text)]
        if not uids and "UID" in text and self.box.mails:
            uids = [self.box.mails[-1].uid]  # "n:*" means the last one at least
        self.say(b"* SEARCH" + b"".join(b" %d" % uid for uid in uids) + b"\r\n")
        self.done()

    def fits(self, mail: Mail, text: str) -> bool:
        if found := re.search(r"UID (\d+):\*", text):
            return mail.uid >= int(found[1])
        if found := re.search(r"SINCE (\d+)-(\w+)-(\d+)", text):
            day = dt.date(int(found[3]), MONTHS.index(found[2]) + 1, int(found[1]))
            return mail.received_at.date() >= day
        return any(value.encode() in mail.data for value in re.findall(r'HEADER "?[\w-]+"? "?<?([^" >]+)', text))

    def do_fetch(self, args: bytes) -> None:
        uids = {int(uid) for uid in args.split()[0].split(b",")}
        limit = int(re.search(rb"<0\.(\d+)>", args)[1])
        for number, mail in enumerate(self.box.mails, 1):
            if mail.uid in uids:
                when = mail.received_at.strftime(f"%d-{MONTHS[mail.received_at.month - 1]}-%Y %H:%M:%S %z")
                part = mail.data[:limit]
                self.say(
                    f'* {number} FETCH (UID {mail.uid} RFC822.SIZE {len(mail.data)} INTERNALDATE "{when}" '
                    f"BODY[]<0> {{{len(part)}}}\r\n".encode()
                    + part
                    + b")\r\n"
                )
        self.done()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def handle_error(self, request: object, address: object) -> None:
        """Handshakes that fail are what some tests are about."""


@contextlib.contextmanager
def serve(*boxes: Box, tls: ssl.SSLContext | None = None, starttls: bool = False) -> Iterator[World]:
    """Run the server on the loopback interface, with TLS from the start or on request where there is a context."""
    world = World({box.name: box for box in boxes or (Box("INBOX"),)}, tls=tls, starttls=starttls)
    with Server(("127.0.0.1", 0), type("Handler", (Session,), {"world": world})) as server:
        world.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield world
        finally:
            server.shutdown()
            thread.join()
