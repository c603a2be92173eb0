from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.tekton.model.names import child_name, free_name, task_run_names, with_fixed_names
from tests.property.edits import laws

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("parent", "suffix", "name"),
    [
        ("run", "-task", "run-task"),
        ("f" * 63, "-deployment", "f" * 20 + "105d7597f637e83cc711605ac3ea4957-deployment"),
        ("f" * 63, "-deploy", "f" * 24 + "105d7597f637e83cc711605ac3ea4957-deploy"),
    ],
)
def test_children_are_called_as_tekton_calls_them(parent: str, suffix: str, name: str) -> None:
    assert child_name(parent, suffix) == name


@laws
@given(labels, labels)
def test_a_childs_name_is_a_label(parent: str, suffix: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", child_name(parent, f"-{suffix}"))


@laws
@given(labels, labels, st.integers(2, 300))
def test_members_of_a_matrix_have_different_names_that_end_in_their_number(run: str, task: str, count: int) -> None:
    names = task_run_names(run, task, count)
    assert len(set(names)) == count
    assert all(name.endswith(f"-{index}") and len(name) <= 63 for index, name in enumerate(names))


def test_members_of_a_matrix_with_a_long_name_are_hashed_and_keep_their_number() -> None:
    run, md5 = "f" * 63, "105d7597f637e83cc711605ac3ea4957"
    assert task_run_names(run, "deploy", 2) == [f"{'f' * 22}{md5}-deploy-{index}" for index in range(2)]
    long = task_run_names(run, "t" * 40, 3)
    assert [name[-2:] for name in long] == ["-0", "-1", "-2"]
    assert {len(name) for name in long} <= {62, 63}


@laws
@given(st.lists(st.sampled_from(["", "a", "b", None])))
def test_freezing_keeps_names_and_gives_the_others_their_place(names: list[str | None]) -> None:
    steps = [{"image": "i"} | ({"name": name} if name is not None else {}) for name in names]
    found = with_fixed_names(steps)
    assert [step["name"] for step in found] == [name or f"unnamed-{index}" for index, name in enumerate(names)]
    assert with_fixed_names(found) == found


def test_a_name_that_is_taken_gets_a_number() -> None:
    assert free_name("a", set()) == "a"
    assert free_name("a", {"a", "a-2"}) == "a-3"
