"""Each promise of docs/reference/guarantees.md names a test that exists, and that a plain run does not leave out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "reference" / "guarantees.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| promise "))
]


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the names of a module's functions that are not marked as slow."""
    tree = ast.parse((ROOT / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return frozenset(each.name for each in functions if "pytest.mark.slow" not in map(ast.unparse, each.decorator_list))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1].strip("`").rpartition("::")[2])
def test_a_promise_names_a_test_that_exists(row: list[str]) -> None:
    named = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[1])
    assert len(row) == 2 and named, f"a row is a promise and one test, as `tests/….py::test_…`: {row}"
    assert named[2] in names_in(named[1])


def test_every_guarantee_is_there_once() -> None:
    promised = [found[1] for row in ROWS if (found := re.match(r"\*\*(G\d+)\*\*", row[0]))]
    assert promised == [f"G{number}" for number in range(1, 11)]
