"""Runs the demo's processes: starts them in groups of their own, shows what they say, ends them all."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

HOST = "127.0.0.1"
PROJECT = Path(__file__).resolve().parent.parent.parent
GUARD = [sys.executable, "-I", str(Path(__file__).with_name("guard.py"))]
#: Seconds a process has to end by itself after SIGTERM.
GRACE = 10.0


class ProcessEnded(Exception):
    """A process that should run on has ended, or did not come up."""


class Stopped(Exception):
    """Somebody asked the demo to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running process, leader of a group with the same id that holds its own children too."""

    name: str
    process: "subprocess.Popen[str]"

    @property
    def group(self) -> int:
        return self.process.pid


def is_free(port: int) -> bool:
    """Return whether `port` can be listened on at the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on.

    The system's choice, at random: of a port wished for, two demos that start at once would both find it free.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Family:
    """The demo's processes. A context manager: leaving it ends them, in reverse order of their start.

    Every child has a session of its own, so that Ctrl-C reaches the supervisor alone. Should the supervisor be killed,
    the guard ends the children. `say` gets each line of their output. Once `stopping` says
    so, whatever waits here raises `Stopped`. Signal handlers only set the flag behind it, so that none of them can come
    between the start of a process and its entry in the list.
    """

    def __init__(self, env: Mapping[str, str], *, say: Callable[[str], object], stopping: Callable[[], bool]) -> None:
        self.env = dict(env)
        self.say = say
        self.stopping = stopping
        self.children: list[Child] = []
        self.guard = subprocess.Popen(GUARD, stdin=subprocess.PIPE, text=True, start_new_session=True)

    def __enter__(self) -> "Family":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start `command` in the project's directory; its output is shown line by line behind `name`."""
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        child = Child(name=name, process=process)
        self._tell_guard(f"+{child.group}")
        self.children.append(child)
        threading.Thread(target=self._relay, args=(child,), daemon=True).start()
        return child

    def run(self, name: str, command: Sequence[str]) -> None:
        """Run `command` to its end. Raises `ProcessEnded` if it fails."""
        child = self.start(name, command)
        while (code := child.process.poll()) is None:
            self.pause(0.05)
        self._forget(child)
        if code:
            raise ProcessEnded(f"{name} failed with exit code {code}.")

    def wait_for_port(self, child: Child, port: int, *, seconds: float = 60) -> None:
        """Wait until `child` listens on `port`.

        Raises `ProcessEnded` if any process ends before, or it takes longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((HOST, port)) == 0:
                    return
            self.pause(0.05)
        raise ProcessEnded(f"{child.name} does not listen on port {port} after {seconds:g} s.")

    def watch(self) -> NoReturn:
        """Look after the processes until one ends (`ProcessEnded`) or it is time to stop (`Stopped`)."""
        while True:
            self.check()
            self.pause(0.25)

    def pause(self, seconds: float) -> None:
        """Sleep. Raises `Stopped` when it is time to."""
        time.sleep(seconds)
        if self.stopping():
            raise Stopped

    def check(self) -> None:
        """Raise `ProcessEnded` if any process has ended."""
        if self.guard.poll() is not None:
            raise ProcessEnded("The guard has ended.")
        for child in self.children:
            code = child.process.poll()
            if code is not None:
                raise ProcessEnded(f"{child.name} has ended with exit code {code}.")

    def end(self) -> None:
        """End every process: SIGTERM to it, and after `GRACE` SIGKILL to its group."""
        while self.children:
            child = self.children[-1]
            child.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(GRACE)
            # Whether or not it ended in time: what it left behind in its group goes too.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.group, signal.SIGKILL)
            child.process.wait()
            self._forget(child)
        if self.guard.stdin:
            self.guard.stdin.close()
        self.guard.wait()

    def _forget(self, child: Child) -> None:
        self.children.remove(child)
        self._tell_guard(f"-{child.group}")

    def _tell_guard(self, line: str) -> None:
        # A guard that is gone is found by check().
        with contextlib.suppress(BrokenPipeError):
            if self.guard.stdin:
                self.guard.stdin.write(f"{line}\n")
                self.guard.stdin.flush()

    def _relay(self, child: Child) -> None:
        for line in child.process.stdout or ():
            self.say(f"{child.name:>7} | {line.rstrip()}")
