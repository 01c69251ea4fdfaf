"""Real Celery processes for tests: started in sessions of their own, so that a kill takes the whole family."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.servers import die_with_parent, eventually

#: Runs a management command and prints how much memory that took at most, in kilobytes. Linux only. What getrusage
#: tells would include the parent's memory before exec.
MEASURED = [
    sys.executable,
    "-c",
    "import re, sys; from pathlib import Path; import django; django.setup();"
    "from django.core.management import call_command;"
    "call_command(*sys.argv[1:], verbosity=0);"
    "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])",
]
CELERY = [sys.executable, "-m", "celery", "-A", "example_project"]


class Process:
    """A program with all its children, which ends with the test that runs it, however that ends."""

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, signal.SIGKILL),
            )

    def children(self) -> list[int]:
        """Return the ids of the program's own children, where the system tells."""
        listed = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        with contextlib.suppress(OSError):
            return [int(child) for child in listed.read_text().split()]
        return []

    @property
    def ended(self) -> bool:
        """Whether the program is no longer there."""
        return self.popen.poll() is not None

    def kill(self) -> None:
        """End the program and its children as kill -9 does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def stop(self) -> None:
        """Ask the program to end, and make sure."""
        self.popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(15)
        self.kill()


def worker(
    env: Mapping[str, str], log: Path, *, concurrency: int = 2, name: str = "w1", app: str = "example_project"
) -> Process:
    """Start a Celery worker of `app` with `concurrency` child processes."""
    command = [*CELERY[:-1], app, "worker", "--pool=prefork", f"--concurrency={concurrency}", f"--hostname={name}@test"]
    return Process([*command, "--without-gossip", "--without-mingle", "--loglevel=WARNING"], env, log)


def start_beat(env: Mapping[str, str], log: Path) -> Process:
    """Start Celery beat with django-celery-beat's schedule."""
    return Process([*CELERY, "beat", "--max-interval=1", "--pidfile=", "--loglevel=WARNING"], env, log)


@contextlib.contextmanager
def beat(env: Mapping[str, str], log: Path) -> Iterator[Process]:
    """Run Celery beat with django-celery-beat's schedule."""
    process = start_beat(env, log)
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def smtp_server(journal: Path, *arguments: str) -> Iterator[int]:
    """Run the scripted SMTP server in a process of its own; yield its port."""
    command = [sys.executable, "-m", "tests.smtpd", "--port", "0", "--journal", str(journal), *arguments]
    log = journal.with_suffix(".log")
    process = Process(command, os.environ, log)
    try:
        if not eventually(lambda: b"listening on" in log.read_bytes()):
            raise RuntimeError(f"The SMTP server did not start:\n{log.read_text()}")
        yield int(log.read_text().split("listening on")[1].split()[0])
    finally:
        process.kill()
