"""The step result of the push step: short, exact, and nothing else is taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.terminal.report_format import short
from agent.sync.task.results import message_size
from agent.tekton.model.push_result import (
    LONGEST,
    NAME,
    WIDEST,
    PushedWorkspace,
    PushResult,
    format_result,
    parse_result,
    summarize,
)
from tests.property.edits import laws

DOCS = Path(__file__).parents[2] / "docs" / "reference"
ONE, TWO = "1" * 64, "2" * 64
ids = st.text("0123456789abcdef", min_size=64, max_size=64)
pushes = st.lists(
    st.builds(
        PushedWorkspace,
        place=st.integers(0, 9999),
        target=st.text(),
        change=ids | st.none(),
        paths=st.lists(st.text(), max_size=3).map(tuple),
    )
).map(lambda found: [push._replace(paths=()) if push.change is None else push for push in found])


@laws
@given(pushes)
def test_what_is_written_is_read(found: list[PushedWorkspace]) -> None:
    result = summarize(found)
    text = format_result(result)
    assert parse_result(text) == result
    assert len(text.encode()) <= len(WIDEST) <= LONGEST
    assert message_size([(NAME, text.encode())]) <= message_size([(NAME, WIDEST.encode())])


def test_its_share_of_the_termination_message_is_what_the_page_says() -> None:
    size = message_size([(NAME, WIDEST.encode())]) - message_size([])
    assert f"It takes up to {size} bytes" in " ".join((DOCS / "tekton.md").read_text().split())


@laws
@given(pushes)
def test_the_conflicts_of_all_workspaces_are_counted(found: list[PushedWorkspace]) -> None:
    result = summarize(found)
    assert result.conflicts == sum(len(push.paths) for push in found)
    named = [push for push in found if push.change is not None and short(push.change) == result.change]
    assert bool(named) == any(push.change for push in found)
    if result.conflicts:
        assert any(push.place == result.workspace and push.paths for push in named)


@laws
@given(pushes, st.randoms())
def test_the_digest_of_the_paths_is_the_same_for_every_task_that_meets_them(
    found: list[PushedWorkspace], random: Any
) -> None:
    others = [push._replace(change=TWO, place=0) if push.change else push for push in found]
    random.shuffle(others)
    assert summarize(found).paths == summarize(others).paths


def test_other_paths_and_other_targets_have_another_digest() -> None:
    one = PushedWorkspace(0, "reg.io/a:x", ONE, ("p", "q"))
    digests = {
        summarize([push]).paths
        for push in (one, one._replace(paths=("p",)), one._replace(paths=("pq",)), one._replace(target="reg.io/b:x"))
    }
    assert len(digests) == 4 and None not in digests


def test_a_push_of_nothing_is_reported_too() -> None:
    assert format_result(summarize([])) == '{"conflicts":0}'
    assert format_result(summarize([PushedWorkspace(0, "t", None, ())])) == '{"conflicts":0}'
    quiet = summarize([PushedWorkspace(0, "t", None, ()), PushedWorkspace(1, "t", ONE, ())])
    assert format_result(quiet) == '{"change":"111111111111","conflicts":0,"workspace":1}'


def test_the_change_is_one_with_a_conflict() -> None:
    found = summarize([PushedWorkspace(0, "t", ONE, ()), PushedWorkspace(2, "t", TWO, ("p", "p"))])
    assert (found.change, found.workspace, found.conflicts) == ("2" * 12, 2, 2)


GOOD = {"change": "3f2a1b2c3d4e", "conflicts": 2, "paths": "9ab3c1d2", "workspace": 0}


@pytest.mark.parametrize(
    "changed",
    [
        {"change": None},
        {"change": "0" * 11},
        {"change": "0" * 64},
        {"change": "g" * 12},
        {"conflicts": None},
        {"conflicts": 0},
        {"conflicts": -1},
        {"conflicts": 1.5},
        {"conflicts": "2"},
        {"conflicts": True},
        {"conflicts": 10**11},
        {"paths": None},
        {"paths": "'; rm"},
        {"workspace": None},
        {"workspace": -1},
        {"workspace": 10**5},
        {"colour": 1},
        {"change": None, "workspace": None},
    ],
)
def test_what_is_no_such_result_is_none(changed: dict[str, Any]) -> None:
    def text(fields: dict[str, Any]) -> str:
        kept = {key: value for key, value in fields.items() if value is not None}
        return json.dumps(kept, sort_keys=True, separators=(",", ":"))

    assert text(GOOD) in (DOCS / "steps.md").read_text()
    assert parse_result(text(GOOD)) == PushResult(2, "3f2a1b2c3d4e", 0, "9ab3c1d2")
    assert parse_result(text(GOOD | changed)) is None


@laws
@given(st.text() | st.binary().map(lambda raw: raw.decode(errors="surrogateescape")))
def test_no_text_is_too_odd(text: str) -> None:
    found = parse_result(text)
    assert found is None or format_result(found) == text
