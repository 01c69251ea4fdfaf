"""`manage.py demo`, for real: it comes up, and nothing of it is left however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import answers, free_port

ROOT = Path(__file__).resolve().parent.parent.parent
UP, GONE = 90.0, 15.0  # seconds
MARK = "DEMO_TEST_MARK"

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="Finds processes in /proc.")


class Demo:
    """A running demo. Its processes are known by a mark in their environment, grandchildren too."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        self.log = directory.with_suffix(".log")
        env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        name, value = self.mark.split("=")
        options = ["--dir", str(directory), "--port", str(self.port), "--recipients", "40"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "demo", *options],
                cwd=ROOT,
                env=env | {name: value},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_up(self) -> None:
        self._wait(lambda: "Ctrl-C ends everything" in self.log.read_text() or self.process.poll() is not None, UP)
        assert self.process.poll() is None, self.log.read_text()

    def processes(self) -> dict[int, str]:
        """Return the commands of the demo's living processes by process id."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if self.mark.encode() in (entry / "environ").read_bytes():
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue  # ended in between, or somebody else's
        return found

    def find(self, word: str) -> int:
        return next(pid for pid, command in self.processes().items() if word in command)

    def wait_until_gone(self) -> None:
        self._wait(lambda: not self.processes(), GONE)
        assert self.processes() == {}

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all: what a killed demo leaves there must not keep the next one from starting."""
    return tmp_path_factory.mktemp("demo") / "state"


@pytest.fixture
def demo(directory: Path) -> Iterator[Demo]:
    running = Demo(directory)
    try:
        running.wait_until_up()
        yield running
    finally:
        for pid in running.processes():
            os.kill(pid, signal.SIGKILL)
        running.process.wait()


def test_demo__comes_up_and_ctrl_c_ends_all(demo: Demo) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{demo.port}/admin/login/") as page:
        assert page.status == 200
    commands = " ".join(demo.processes().values())
    for part in ("demo_smtp", "worker", "beat", "runserver"):
        assert part in commands
    smtp = int(next(word for word in commands.split() if word.startswith("--port=")).partition("=")[2])
    assert answers(smtp)

    demo.process.send_signal(signal.SIGINT)

    assert demo.process.wait(timeout=30) == 0, demo.log.read_text()
    demo.wait_until_gone()


def test_demo__kill_9_of_the_supervisor_leaves_nothing(demo: Demo) -> None:
    assert len(demo.processes()) >= 6
    demo.process.kill()
    demo.process.wait()
    demo.wait_until_gone()


def test_demo__a_second_one_in_the_same_directory_is_refused(demo: Demo, directory: Path) -> None:
    second = subprocess.run(
        [sys.executable, "manage.py", "demo", "--dir", str(directory)],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "example_project.settings"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert "Another demo runs" in second.stderr

    # And when a part of it dies, the whole ends and says so.
    os.kill(demo.find("worker"), signal.SIGKILL)
    assert demo.process.wait(timeout=30) == 1
    assert "worker has ended" in demo.log.read_text()
    demo.wait_until_gone()
