"""Each error says what to do in the words of the place where it is read: laptop, task image, step, controller."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import remedy
from agent.cli.terminal.failure import describe, place_of
from agent.errors import AgentError, AuthError
from agent.remedy import Place, Remedy

AGENT = Path(inspect.getfile(remedy)).parent
ALL = [value for value in vars(remedy).values() if isinstance(value, Remedy)] + [
    make("reg.example.com")
    for make in vars(remedy).values()
    if inspect.isfunction(make) and make.__annotations__.get("return") == "Remedy"
]
TYPED = re.compile(
    r"(?<![\w-])--[a-z]|docker login|(?<!the )(?<!newer )\bagent (?:pull|push|exec|log|ls|prune|squash|doctor)\b"
)
"""What only a person at a command line can do."""
IN_A_POD = re.compile(r"runAfter|service account|ConfigMap")
"""What only the author of a Pipeline can do."""


def texts() -> Iterator[tuple[str, str]]:
    """Yield every text of the source that may be a remedy, with its place.

    That is every string but those of docstrings. What the command line says of its own words is read by those who typed
    them, a doctor is asked by a person, a manifest's history says what made it, and a person reads an event of a run.
    """
    for path in sorted(AGENT.rglob("*.py")):
        name = str(path.relative_to(AGENT))
        if name.startswith(("cli/", "controller/")) or name in (
            "remedy.py",
            "exit_codes.py",
            "sync/commands/probe_store.py",
            "core/image/manifest_writer.py",
            "tekton/controlplane/conflict_event.py",
        ):
            continue
        tree = ast.parse(path.read_text())
        documentation = {
            id(statement.value)
            for node in ast.walk(tree)
            for statement in (getattr(node, "body", None) if isinstance(getattr(node, "body", None), list) else [])
            if isinstance(statement, ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                yield f"{name}:{node.lineno}", node.value


@pytest.mark.parametrize("where", Place)
@pytest.mark.parametrize("found", ALL, ids=lambda found: found.laptop[:40])
def test_a_remedy_fits_its_place(found: Remedy, where: Place) -> None:
    text = found.at(where)
    assert text
    assert not text.endswith(".")
    assert text[0].islower()
    if where in (Place.STEP, Place.CONTROLLER):
        assert not TYPED.search(text)
    if where is Place.LAPTOP:
        assert not IN_A_POD.search(text)


def test_a_text_that_is_the_same_everywhere_names_nothing_of_one_place() -> None:
    wrong = [
        f"{place}: {text}"
        for place, text in texts()
        if TYPED.search(text) or (not place.startswith("tekton/") and IN_A_POD.search(text))
    ]
    assert wrong == []


def test_remedies_are_found_at_all() -> None:
    assert len(list(texts())) > 1000
    assert len(ALL) > 20


@pytest.mark.parametrize(
    ("words", "environ", "place"),
    [
        (["pull", "reg.io/x:t"], {}, Place.LAPTOP),
        (["exec", "reg.io/x:t", "--", "step"], {}, Place.LAPTOP),
        (["exec", "reg.io/x:t", "--", "true"], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, Place.IMAGE),
        (["--debug", "step", "push", "{}"], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, Place.STEP),
        (["step", "pull", "{}"], {}, Place.STEP),
        (["controller", "--config", "x"], {}, Place.CONTROLLER),
        ([], {}, Place.LAPTOP),
    ],
)
def test_the_place_follows_from_command_and_environment(
    words: list[str], environ: dict[str, str], place: Place
) -> None:
    assert place_of(words, environ) is place


def test_what_is_printed_is_the_remedy_of_the_place() -> None:
    error = AuthError("refused", subject="reg.example.com", remedy=remedy.log_in("reg.example.com"))
    assert "docker login reg.example.com" in describe(error, Place.LAPTOP).text()
    assert "service account" in describe(error, Place.STEP).text()
    assert "docker login" not in describe(error, Place.STEP).text()
    assert str(error) == error.text(Place.LAPTOP)
    plain = AgentError("happened", subject="x", remedy="do it")
    assert {plain.text(place) for place in Place} == {"x: happened; do it"}
