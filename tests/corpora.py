"""Measures bounces and newsletters against other people's mail: `python -m tests.corpora [FOLDER]`.

For the bounces it takes the test messages of flufl.bounce from its source distribution, which pip downloads into
FOLDER (by default a temporary one, gone afterwards), with the addresses that its own tests expect; and the messages
with which CPython tests its `email` package, where the interpreter ships them. Exits with 1 if a bounce is missed, an
address is wrong or something else is taken for a bounce, or if a newsletter does not come out as it went in. The
newsletters, what is done to them and what is asked of them, are in `tests.newsletters`; they need npm and Chromium.
None of the messages belongs to this project, so none is kept in it.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django

#: What flufl.bounce finds no address in, or leaves out of its tests, although it is a bounce.
WITHOUT_EXPECTATION = {"bounce_01.txt", "dumbass_01.txt", "simple_42.txt", "simple_43.txt"}
#: The bounces among CPython's messages; all others are none.
CPYTHON_BOUNCES = {"msg_16.txt", "msg_25.txt", "msg_43.txt"}


def main(folder: Path) -> int:
    """Measure all corpora; return how many bounces are taken for what they are not, and newsletters come out wrong."""
    wrong = report("flufl.bounce", flufl_verdicts(download(folder))) + looked_at(folder)
    data = cpython_data()
    if data is None:
        say("CPython: this interpreter ships no test messages")
        return wrong
    return wrong + report("CPython", cpython_verdicts(data))


def looked_at(folder: Path) -> int:
    """Put the newsletters through composing, and look at them in a browser; return how many are not well."""
    from playwright.sync_api import sync_playwright

    from tests import newsletters

    # Playwright keeps an event loop in this thread; without this Django refuses queries beside it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        return newsletters.report(folder, newsletters.Viewer(browser=browser), say)


def report(name: str, verdicts: Iterator[tuple[str, str]]) -> int:
    """Print the messages with a complaint and the sum; return how many there are."""
    found = list(verdicts)
    complaints = [(file, complaint) for file, complaint in found if complaint]
    for file, complaint in complaints:
        say(f"{name}: {file}: {complaint}")
    say(f"{name}: {len(found) - len(complaints)} of {len(found)} messages right")
    return len(complaints)


def download(folder: Path) -> Path:
    """Return the unpacked source distribution of flufl.bounce, downloaded unless `folder` has it."""
    if not list(folder.glob("flufl*bounce-*.tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "flufl.bounce"]
        subprocess.run([*command, "--dest", str(folder), "flufl.bounce>=4"], check=True)
    [archive] = folder.glob("flufl*bounce-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def flufl_verdicts(top: Path) -> Iterator[tuple[str, str]]:
    """Yield each message's name and what is wrong with our event about it, "" if nothing is."""
    from massmail.inbound.parse import classify

    [script] = top.rglob("test_detectors.py")
    expected = expectations(script.read_text())
    for file in sorted(script.parent.glob("data/*.txt")):
        event = classify(file.read_bytes())
        addresses, kind = expected.get(file.name, (set(), "bounce"))
        if file.name in WITHOUT_EXPECTATION:
            yield file.name, "" if event.kind == "bounce" else f"is {event.kind}"
        elif not addresses:
            yield file.name, "taken for a bounce" if event.kind == "bounce" else ""
        else:
            right = event.kind == kind and set(event.recipients) == addresses
            yield file.name, "" if right else f"is {event.kind} of {event.recipients}, not {kind} of {addresses}"


def expectations(source: str) -> dict[str, tuple[set[str], str]]:
    """Return the addresses and the kind that flufl.bounce's own tests expect, by the name of the message."""
    assignments = (node for node in ast.parse(source).body if isinstance(node, ast.Assign))
    table = next(node.value for node in assignments if ast.unparse(node.targets[0]) == "DETECTORS")
    found: dict[str, tuple[set[str], str]] = {}
    for _detector, file, addresses, temporary in ast.literal_eval(table):
        known, kind = found.setdefault(file, (set(), "delayed" if temporary else "bounce"))
        known |= {address.decode().lower() for address in addresses}
        found[file] = (known, kind)
    return found


def cpython_data() -> Path | None:
    spec = importlib.util.find_spec("test")
    folder = Path(spec.origin).parent / "test_email" / "data" if spec and spec.origin else None
    return folder if folder and folder.is_dir() else None


def cpython_verdicts(data: Path) -> Iterator[tuple[str, str]]:
    """Yield each message's name and "" if a bounce, and nothing else, is taken for one."""
    from massmail.inbound.parse import classify

    for file in sorted(data.glob("msg_*.txt")):
        kind = classify(file.read_bytes()).kind
        yield file.name, "" if (kind == "bounce") == (file.name in CPYTHON_BOUNCES) else f"is {kind}"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])) > 0)
    with tempfile.TemporaryDirectory(prefix="massmail-corpora-") as temporary:
        sys.exit(main(Path(temporary)) > 0)
