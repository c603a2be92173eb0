"""The rooms of the code are small, and a module's name means one thing (design, "Rooms of the code")."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

AGENT = Path(__file__).parents[1] / "agent"
MODULES = sorted(AGENT.rglob("*.py"))
COMMANDS = AGENT / "cli"
"""The one package with more than a dozen modules: one for each command, so that people find its file at once."""


def test_no_module_is_longer_than_300_lines() -> None:
    assert len(MODULES) > 200
    assert {str(path): lines for path in MODULES if (lines := len(path.read_text().splitlines())) > 300} == {}


def test_no_package_has_more_than_a_dozen_modules() -> None:
    packages = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert {str(package): count for package, count in packages.items() if count > 12 and package != COMMANDS} == {}


def test_each_package_has_a_charter() -> None:
    packages = [path for path in MODULES if path.name == "__init__.py"]
    assert [str(path) for path in packages if len(ast.get_docstring(ast.parse(path.read_text())) or "") < 50] == []


def test_no_two_modules_have_one_name() -> None:
    names = Counter(path.name for path in MODULES if path.name != "__init__.py")
    assert {name: count for name, count in names.items() if count > 1} == {}
