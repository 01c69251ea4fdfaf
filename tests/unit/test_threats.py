"""The list of threats names tests and protections that there are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.threats import THREATS, Threat

ROOT = Path(__file__).resolve().parents[2]
NAMED = {f"T{number}" for number in (*range(1, 14), 18, *range(21, 32))} | {"T26b"}


def test_every_threat_to_messages_is_in_the_list():
    assert {threat.id for threat in THREATS} == NAMED


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: f"{threat.id}-{threat.what}")
def test_its_tests_and_its_protection_exist(threat: Threat):
    for node in threat.tests:
        file, _colons, name = node.partition("::")
        tree = ast.parse((ROOT / file).read_text())
        names = {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
        assert name in names if name else any(each.startswith("test_") for each in names), node
    assert (ROOT / threat.file).read_text().count(threat.protection) == 1
    assert threat.protection != threat.without
