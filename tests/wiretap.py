"""What others could see of a conversation: a packet capture by tcpdump, and a proxy that takes STARTTLS away."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from massmail.transport.login import MECHANISMS
from tests.servers import Unavailable, eventually, free_port, running

PROGRAM_PATH = f"{os.environ['PATH']}:/usr/sbin"


def spellings(username: str, secret: str) -> set[bytes]:
    """Return how a password or token looks on the wire: plainly, and as each login mechanism writes it."""
    answers = [answer for mechanism in MECHANISMS.values() for answer in mechanism(username, secret)]
    said = [answer(b"") for answer in answers]
    return {secret.encode()} | {base64.b64encode(each) for each in said if secret.encode() in each}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """All packets from and to some ports, once the block of `capture` has ended."""

    file: Path

    def holds(self, text: bytes) -> bool:
        return text in self.file.read_bytes()

    def shows(self, username: str, secret: str) -> bool:
        """Tell whether somebody who listens learns the secret."""
        return any(map(self.holds, spellings(username, secret)))

    def connections(self, port: int) -> int:
        """Return how often somebody began to connect to `port`."""
        began = f"tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn and dst port {port}"
        # No check: while packets are being written, the last one in the file may be half there.
        told = subprocess.run([_tcpdump(), "-n", "-r", self.file, began], check=False, capture_output=True)
        return len(told.stdout.splitlines())


@contextlib.contextmanager
def capture(home: Path, *ports: int) -> Iterator[Capture]:
    """Write down what goes over the loopback interface from and to `ports`, in `home`; read it after the block.

    Raises `Unavailable` without tcpdump or the right to listen.
    """
    probe = free_port()
    chosen = " or ".join(f"tcp port {port}" for port in (*ports, probe))
    if os.geteuid() != 0:
        raise Unavailable("Only root may listen to packets")
    wire = Capture(file=home / "packets")
    # 32 MB to keep what a busy machine has no time to write; -Z: as root, since the directory is ours alone.
    options = ["-i", "lo", "-n", "-U", "--immediate-mode", "-B", "32768", "-Z", "root"]

    def listens() -> bool:
        return b"listening on" in (home / "log").read_bytes()

    with running([_tcpdump(), *options, "-w", wire.file, chosen], home, ready=listens, stop=signal.SIGINT):
        yield wire
        # Packets come in their order: with this one, all are there.
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", probe)).close()
        assert eventually(lambda: wire.connections(probe) > 0)


def _tcpdump() -> str:
    program = shutil.which("tcpdump", path=PROGRAM_PATH)
    if program is None:
        raise Unavailable("tcpdump is not installed (Debian: apt-get install tcpdump)")
    return program


class Stripper:
    """A man in the middle, at `port` while its `with` block runs: the server at `behind` seems not to know STARTTLS.

    The word is crossed out both ways, as some firewalls do, and a login in clear is offered. `heard` is what clients
    said, `connections` how often somebody came, `stripped` how many lines were changed.
    """

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.heard = bytearray()
        self.connections = self.stripped = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.port: int = self._listener.getsockname()[1]
        self._stopping = threading.Event()

    def __enter__(self) -> Stripper:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        # Closing alone would not wake the thread that waits in accept().
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            client, _address = self._listener.accept()
            if self._stopping.is_set():
                client.close()
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self.behind))
            for reads, writes, change in ((client, server, self._hear), (server, client, self._strip)):
                threading.Thread(target=_pass_on, args=(reads, writes, change), daemon=True).start()

    def _hear(self, line: bytes) -> bytes:
        self.heard += line
        return line.replace(b"STARTTLS", b"XXXXXXXX")

    def _strip(self, line: bytes) -> bytes:
        changed = line.replace(b" LOGINDISABLED", b" AUTH=PLAIN").replace(b" STARTTLS", b" XXXXXXXX")
        changed = re.sub(rb"^250([- ])STARTTLS", rb"250-XXXXXXXX\r\n250\1AUTH PLAIN LOGIN", changed)
        self.stripped += changed != line
        return changed


def _pass_on(reads: socket.socket, writes: socket.socket, change: Callable[[bytes], bytes]) -> None:
    """Pass lines on until one side has enough; then the other side has too."""
    with contextlib.suppress(OSError), reads, writes, reads.makefile("rb") as lines:
        for line in lines:
            writes.sendall(change(line))
        writes.shutdown(socket.SHUT_RDWR)
