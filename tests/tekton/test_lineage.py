"""Which lanes a pull names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UnwrappableError
from agent.tekton.model.wrapping import run_of
from agent.tekton.pipeline.nearest_writers import WriterTask, all_lanes, nearest_lanes
from tests.property.edits import laws
from tests.tekton.made import (
    a_run,
    after,
    argument,
    known,
    pipeline,
    pipeline_run,
    spec,
    steps_of,
    task,
    the_task,
    wrap,
)

WHEN = {"when": [{"input": "a", "operator": "in", "values": ["b"]}]}
READS = {"taskSpec": spec(workspaces=[{"name": "ws", "readOnly": True}])}
NO_WORKSPACE = {"workspaces": [], "taskSpec": {"steps": [{"name": "s", "image": "a", "command": ["c"]}]}}


def test_the_first_task_has_nothing_to_pull() -> None:
    assert after(wrap(pipeline(task("a"))), "a") == ["-"]


def test_a_base_is_pulled_by_the_first_task() -> None:
    assert after(wrap(pipeline(task("a")), base="reg.io/base@sha256:" + "0" * 64), "a") == []


def test_a_target_that_other_runs_share_is_pulled_by_the_first_task() -> None:
    assert after(wrap(pipeline(task("a")), target="reg.io/cache:{{workspace}}"), "a") == []


def test_a_task_names_what_it_runs_after() -> None:
    assert after(wrap(pipeline(task("a"), task("b", "a"))), "b") == ["a"]


def test_parallel_tasks_do_not_name_each_other_and_the_join_names_both() -> None:
    wrapped = wrap(pipeline(task("join", "left", "right"), task("left", "a"), task("right", "a"), task("a")))
    assert after(wrapped, "left") == after(wrapped, "right") == ["a"]
    assert after(wrapped, "join") == ["left", "right"]


@pytest.mark.parametrize(
    "fields",
    [
        {"params": [{"name": "p", "value": "$(tasks.a.results.r)"}]},
        {"params": [{"name": "p", "value": ["x", "$(tasks.a.results.r[*])"]}]},
        {"params": [{"name": "p", "value": {"k": "$(tasks.a.results.r.key)"}}]},
        {"when": [{"input": "$(tasks.a.results.r)", "operator": "in", "values": ["b"]}]},
        {"when": [{"cel": "'$(tasks.a.results.r)' == 'x'"}]},
        {"matrix": {"include": [{"name": "i", "params": [{"name": "p", "value": "$(tasks.a.results.r)"}]}]}},
        {"taskSpec": spec(steps=[{"name": "s", "image": "a", "script": "echo $(tasks.a.results.r)"}])},
        {"taskSpec": spec(sidecars=[{"name": "s", "image": "a", "args": ["$(tasks.a.results.r)"]}])},
    ],
)
def test_a_result_is_an_edge_as_run_after_is(fields: dict[str, Any]) -> None:
    assert after(wrap(pipeline(task("a"), task("b", **fields))), "b") == ["a"]


@pytest.mark.parametrize("fields", [WHEN, {"onError": "continue"}, {"whenExpressions": [{}]}])
def test_a_task_that_may_not_push_is_named_with_those_before_it(fields: dict[str, Any]) -> None:
    wrapped = wrap(pipeline(task("a"), task("maybe", "a", **fields), task("c", "maybe")))
    assert after(wrapped, "c") == ["maybe", "a"]


@pytest.mark.parametrize("fields", [READS, NO_WORKSPACE])
def test_a_task_that_does_not_write_is_looked_through(fields: dict[str, Any]) -> None:
    assert after(wrap(pipeline(task("a"), task("b", "a", **fields), task("c", "b"))), "c") == ["a"]


def test_finally_names_every_writer_of_the_graph_and_none_of_its_own() -> None:
    last = (task("f"), task("g"))
    wrapped = wrap(pipeline(task("a"), task("b", "a"), task("c", "a", **READS), task("d", **WHEN), last=last))
    assert after(wrapped, "f") == after(wrapped, "g") == ["a", "b", "d"]


def test_each_workspace_has_a_lineage_of_its_own() -> None:
    both = {"workspaces": [{"name": "ws"}, {"name": "other"}]}
    run = a_run(workspaces=[{"name": "ws", "emptyDir": {}}, {"name": "other", "emptyDir": {}}])
    found = pipeline(
        task("a"),
        task("b", "a", **both, taskSpec=spec(**both)),
        task("c", "b", **both, taskSpec=spec(**both)),
        **both,
    )
    told = argument(wrap(found, run), "b")["workspaces"]
    assert [one.get("after", []) for one in told] == [["0b3f/a"], []]
    assert [one.get("fresh", False) for one in told] == [False, True]
    assert [one["after"] for one in argument(wrap(found, run), "c")["workspaces"]] == [["0b3f/b"], ["0b3f/b"]]


def test_members_of_a_matrix_are_lanes_of_their_own() -> None:
    matrix = {"matrix": {"params": [{"name": "p", "value": ["x", "y"]}, {"name": "q", "value": ["1"]}]}}
    wrapped = wrap(pipeline(task("m", **matrix), task("c", "m")))
    assert argument(wrapped, "m")["workspaces"][0]["lane"] == "0b3f/m/$(context.taskRun.name)"
    assert after(wrapped, "c") == ["m/run-1-m-0", "m/run-1-m-1"]


def test_a_matrix_of_one_combination_has_no_number() -> None:
    wrapped = wrap(pipeline(task("m", matrix={"params": [{"name": "p", "value": ["x"]}]}), task("c", "m")))
    assert after(wrapped, "c") == ["m/run-1-m"]


def test_a_matrix_over_results_makes_the_pull_read_the_list() -> None:
    matrix = {"matrix": {"params": [{"name": "p", "value": "$(tasks.a.results.r[*])"}]}}
    wrapped = wrap(pipeline(task("a"), task("m", **matrix), task("b", "a"), task("c", "m", "b"), last=(task("f"),)))
    assert after(wrapped, "c") == after(wrapped, "f") == []


def test_a_matrix_over_a_parameter_of_the_run_is_known() -> None:
    matrix = {"matrix": {"params": [{"name": "p", "value": "$(params.list[*])"}]}}
    found = pipeline(task("m", **matrix), task("c", "m"), params=[{"name": "list", "default": ["d"]}])
    run = a_run(params=[{"name": "list", "value": ["1", "2", "3"]}])
    assert after(wrap(found, run), "c") == [f"m/run-1-m-{index}" for index in range(3)]
    assert after(wrap(found), "c") == ["m/run-1-m"]


def test_more_lanes_than_an_argument_can_hold_make_the_pull_read_the_list() -> None:
    matrix = {"matrix": {"params": [{"name": "p", "value": [str(index) for index in range(256)]}]}}
    found = pipeline(*(task(f"m{index}", **matrix) for index in range(8)), task("c", "m0"), last=(task("f"),))
    run = run_of({**pipeline_run(), "metadata": {"name": "r" * 63, "namespace": "ci", "uid": "u" * 36}})
    wrapped = wrap(found, run)
    assert argument(wrapped, "f")["workspaces"][0].get("after", []) == []
    assert "fresh" not in argument(wrapped, "f")["workspaces"][0]
    assert len(argument(wrapped, "c")["workspaces"][0]["after"]) == 256
    arguments = [step["args"][2] for name in ("m0", "c", "f") for step in steps_of(wrapped, name) if "args" in step]
    assert max(map(len, arguments)) < 128 * 1024


@pytest.mark.parametrize(
    ("name", "target", "asked", "is_fresh"),
    [
        ("run-1", "reg.io/ws:$(context.pipelineRun.name)", "", True),
        ("run-1", "reg.io/ws-$(context.pipelineRun.uid):ws", "", True),
        ("run-1", "reg.io/ws:run-1", "reg.io/ws:$(context.pipelineRun.name)", True),  # Tekton replaced it
        ("main", "reg.io/ws:main", "reg.io/ws:main", False),
        ("main", "reg.io/ws:main", "reg.io/ws:$(params.branch)", False),
        ("ws", "reg.io/ws:nightly", "", False),
    ],
)
def test_only_a_target_that_the_run_gives_its_name_to_holds_nothing_before(
    name: str, target: str, asked: str, is_fresh: bool
) -> None:
    reference = {"resolver": "wrap", "params": [{"name": "target", "value": asked}]}
    found = pipeline_run(**({"pipelineRef": reference} if asked else {}))
    run = run_of({**found, "metadata": {**found["metadata"], "name": name}})
    wrapped = wrap(pipeline(task("a")), run, target=target)
    assert after(wrapped, "a") == (["-"] if is_fresh else [])


def test_a_circle_is_refused() -> None:
    with pytest.raises(UnwrappableError, match=r"task.* in a circle"):
        wrap(pipeline(task("a", "b"), task("b", "a")))


def test_an_unknown_task_may_be_read_only_so_those_before_it_are_named_too() -> None:
    found = pipeline(task("a"), {"name": "b", "runAfter": ["a"], **REFERS}, task("c", "b"))
    assert after(wrap(found), "c") == ["b", "a"]
    assert after(wrap(found, known=known(the_task())), "c") == ["b"]
    reads = the_task(workspaces=[{"name": "ws", "readOnly": True}])
    assert after(wrap(found, known=known(reads)), "c") == ["a"]


REFERS = {"taskRef": {"name": "t"}, "workspaces": [{"name": "ws"}]}


# Laws, for any graph.


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, list[str]], dict[str, WriterTask]]:
    names = [f"t{index}" for index in range(draw(st.integers(1, 7)))]
    waits = {
        name: draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else []
        for index, name in enumerate(names)
    }
    writers = {name: WriterTask((name,), draw(st.booleans())) for name in names if draw(st.booleans())}
    return waits, writers


@laws
@given(graphs(), st.data())
def test_whatever_ran_before_is_in_the_past_of_what_is_named(
    graph: tuple[dict[str, list[str]], dict[str, WriterTask]], data: st.DataObject
) -> None:
    """Let any of the unsure writers not run: each pull still sees every writer before it that ran."""
    waits, writers = graph
    ran = {name for name, writer in writers.items() if writer.is_sure or data.draw(st.booleans())}
    named = nearest_lanes(waits, writers)
    seen: dict[str, set[str]] = {}
    before: dict[str, set[str]] = {}
    for name, waited_for in waits.items():
        before[name] = set().union(*(before[other] | {other} for other in waited_for)) & set(waits)
        lanes = named[name]
        assert lanes is not None
        held = set().union(*(seen[lane] | {lane} for lane in lanes if lane in ran))
        seen[name] = held
        assert held == before[name] & ran


@laws
@given(graphs())
def test_no_more_lanes_are_named_than_there_are_writers_before(
    graph: tuple[dict[str, list[str]], dict[str, WriterTask]],
) -> None:
    waits, writers = graph
    for lanes in nearest_lanes(waits, writers).values():
        assert lanes is not None
        assert len(set(lanes)) == len(lanes)
        assert set(lanes) <= set(all_lanes(writers) or ())
