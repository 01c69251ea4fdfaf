"""The table of faults is true: each pattern in it names a test, and each test stands in it."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import tests
from tests import faults

ROOT = Path(tests.__file__).parent


def names():
    found = set()
    for path in [*ROOT.glob("faults/test_*.py"), *ROOT.glob("acceptance/test_processes.py")]:
        prefix = "" if path.parent.name == "faults" else f"{path.parent.name}."
        found |= {f"{prefix}{path.stem}.{name}" for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)}
    return found


def test_table_of_faults():
    patterns = set(re.findall(r"`((?:\w+\.)?test_\w+\.test_[\w*]+)`", faults.__doc__ or ""))
    assert patterns
    assert not [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in names())]
    helpers = {"test_server.test_secrets_in__sees_one", "test_table.test_table_of_faults"}
    assert not [name for name in names() - helpers if not any(fnmatch(name, pattern) for pattern in patterns)]
