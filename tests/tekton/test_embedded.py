"""A Pipeline that is written into a run: packed, unpacked, and completed so that Tekton takes it as a Pipeline."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UnwrappableError
from agent.tekton.model.wrapping import Run, run_of
from agent.tekton.requests.embedded import LARGEST, pack_pipeline, unpack_pipeline, with_declarations
from tests.property.edits import laws
from tests.tekton.referenced import problems_of_pipeline
from tests.tekton.schema import check

STEPS = [{"name": "s", "image": "a", "args": ["$(params.one)", "$(context.pipelineRun.name)", '"\\$$(x)']}]


def a_run(params: dict[str, Any] | None = None, *bound: str) -> Run:
    given = [{"name": name, "value": value} for name, value in (params or {}).items()]
    bindings = [{"name": name, "emptyDir": {}} for name in bound]
    return run_of({"metadata": {"name": "r"}, "spec": {"params": given, "workspaces": bindings}})


def task(name: str = "t", **fields: Any) -> dict[str, Any]:
    return {"name": name, **fields}


def says(*texts: str, **fields: Any) -> dict[str, Any]:
    """A task whose step says some texts."""
    return {"taskSpec": {"steps": [{"name": "s", "image": "a", "args": list(texts)}], **fields}}


def completed(*tasks: dict[str, Any], run: Run | None = None, **fields: Any) -> dict[str, Any]:
    """The spec with what it lacks; valid for Tekton as a Pipeline by itself."""
    spec = {"tasks": list(tasks), **fields}
    before = copy.deepcopy(spec)
    found = with_declarations(spec, run or a_run(), "PipelineRun r")
    assert spec == before
    assert with_declarations(found, run or a_run(), "PipelineRun r") == found
    check({"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "r"}, "spec": found})
    assert list(problems_of_pipeline(found)) == []
    return found


# Packed.

TEXTS = st.text(st.sampled_from('$(){}"\\ aé\u2028\n'), max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


@laws
@given(st.dictionaries(st.sampled_from(["tasks", "params", "x"]), VALUES, min_size=1))
def test_what_is_packed_is_unpacked_and_holds_no_variable(spec: dict[str, Any]) -> None:
    packed = pack_pipeline(spec, "tekton.dev/v1beta1", "r")
    assert "$" not in packed
    assert unpack_pipeline(packed, "r") == {"apiVersion": "tekton.dev/v1beta1", "kind": "Pipeline", "spec": spec}
    backwards = dict(reversed(spec.items()))
    assert pack_pipeline(backwards, "tekton.dev/v1beta1", "r") == packed


def test_one_that_is_too_large_is_refused_in_words() -> None:
    pack_pipeline({"x": "y" * (LARGEST - 100)}, "tekton.dev/v1", "r")
    with pytest.raises(UnwrappableError, match=f"r: its Pipeline has .* bytes, and no more than {LARGEST}"):
        pack_pipeline({"x": "y" * LARGEST}, "tekton.dev/v1", "r")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "tasks: []", '{"kind": "Task"}', '{"kind": "Pipeline"}', "[" * 100_000]
)
def test_what_is_no_pipeline_is_refused_in_words(text: str) -> None:
    with pytest.raises(UnwrappableError, match="it is no Pipeline as JSON; write a pipelineSpec into the run"):
        unpack_pipeline(text, "r")
    with pytest.raises(UnwrappableError, match="spec is not a mapping"):
        unpack_pipeline(json.dumps({"kind": "Pipeline", "spec": [1]}), "r")


# Completed.


def test_a_spec_that_declares_all_that_it_uses_stays_as_it_is() -> None:
    spec = {"params": [{"name": "one"}], "workspaces": [{"name": "ws"}]}
    tasks = [task(workspaces=[{"name": "ws"}], params=[{"name": "two", "value": "2"}], **says("$(params.one)"))]
    given = a_run({"one": "1", "unused": "u"}, "ws", "other")
    assert completed(*tasks, run=given, **spec) == {"tasks": tasks, **spec}


def test_parameters_of_the_run_that_are_used_are_declared_with_their_types() -> None:
    tasks = [
        task("a", **says("$(params.one)", '$(params["a.list"][0])')),
        task("b", params=[{"name": "p", "value": "$(params.map.key)"}], taskRef={"name": "t"}),
        task("c", when=[{"input": "x", "operator": "in", "values": ["$(params.list[*])"]}], taskRef={"name": "t"}),
        task("d", matrix={"params": [{"name": "m", "value": ["$(params['sub-one'])"]}]}, taskRef={"name": "t"}),
    ]
    last = [task("f", **says("$(params.last)"))]
    values = {"one": "1", "a.list": ["x"], "map": {"key": "v"}, "list": ["y"], "sub-one": "s", "last": "l", "no": "n"}
    found = completed(*tasks, run=a_run(values), **{"finally": last})
    assert {param["name"]: param["type"] for param in found["params"]} == {
        "one": "string",
        "a.list": "array",
        "map": "object",
        "list": "array",
        "sub-one": "string",
        "last": "string",
    }
    assert found["params"][2]["properties"] == {"key": {"type": "string"}}
    assert found["tasks"] == tasks


def test_what_the_pipeline_declares_goes_before_what_the_run_has() -> None:
    params = [{"name": "one", "type": "string", "default": "d", "description": "words"}]
    assert completed(task(**says("$(params.one)")), run=a_run({"one": "1"}), params=params)["params"] == params


def test_parameters_that_a_task_passes_to_its_own_spec_are_declared_there() -> None:
    passed = [
        {"name": "text", "value": "$(tasks.other.results.r)"},
        {"name": "list", "value": ["a"]},
        {"name": "all", "value": "$(params.given[*])"},
        {"name": "results", "value": "$(tasks.other.results.many[*])"},
        {"name": "map", "value": "$(tasks.other.results.pairs[*])"},
        {"name": "unused", "value": "u"},
        {"name": "declared", "value": "d"},
    ]
    texts = [f"$(params.{name})" for name in ("text", "declared")] + [
        f"$(params.{name}[*])" for name in ("list", "all", "results")
    ]
    other = says(
        results=[
            {"name": "r"},
            {"name": "many", "type": "array"},
            {"name": "pairs", "type": "object", "properties": {"k": {"type": "string"}}},
        ]
    )
    tasks = [
        task("other", **other),
        task("a", params=passed, **says(*texts, "$(params.map.k)", params=[{"name": "declared"}])),
    ]
    found = completed(*tasks, run=a_run({"given": ["x"]}))
    declarations = {param["name"]: param.get("type") for param in found["tasks"][1]["taskSpec"]["params"]}
    assert declarations == {
        "declared": None,
        "text": "string",
        "list": "array",
        "all": "array",
        "results": "array",
        "map": "object",
    }
    assert found["tasks"][1]["taskSpec"]["params"][-1]["properties"] == {"k": {"type": "string"}}
    assert found["tasks"][1]["params"] == passed
    assert found["params"] == [{"name": "given", "type": "array"}]


def test_a_name_that_pipeline_and_task_share_stays_the_pipelines() -> None:
    """Tekton then takes the task's value; a declaration in the task would hide the pipeline's from its own default."""
    tasks = [task(params=[{"name": "one", "value": "task's"}], **says("$(params.one)"))]
    assert completed(*tasks, run=a_run({"one": "run's"}))["tasks"] == tasks


def test_keys_that_a_task_adds_to_a_mapping_of_the_run_are_declared_with_it() -> None:
    """Tekton merges the task's keys into the run's for the task's own spec, and wants to have seen all of them."""
    passed = [{"name": "repo", "value": {"branch": "main", "url": "x"}}]
    tasks = [
        task("a", params=passed, **says("$(params.repo.url) $(params.repo.commit) $(params.repo.branch)")),
        task("b", params=[{"name": "repo", "value": {"unseen": "x"}}], taskRef={"name": "t"}),
    ]
    given = a_run({"repo": {"url": "u", "commit": "c"}})
    [param] = completed(*tasks, run=given)["params"]
    assert param["properties"].keys() == {"url", "commit", "branch"}
    assert param["default"] == {"branch": ""}
    own = [{"name": "repo", "type": "object", "properties": {"url": {"type": "string"}, "commit": {"type": "string"}}}]
    [param] = completed(*tasks, run=given, params=own)["params"]
    assert param["properties"].keys() == {"url", "commit", "branch"}


def test_workspaces_that_tasks_map_are_declared_and_optional_if_the_run_does_not_bind_them() -> None:
    tasks = [
        task("a", workspaces=[{"name": "ws"}, {"name": "in", "workspace": "other"}], taskRef={"name": "t"}),
        task("b", workspaces=[{"name": "ws"}, {"name": "maybe"}], taskRef={"name": "t"}),
        task("c", **says("$(workspaces.propagated.path)")),
    ]
    found = completed(*tasks, run=a_run({}, "ws", "other", "propagated"))
    assert found["workspaces"] == [{"name": "ws"}, {"name": "other"}, {"name": "maybe", "optional": True}]


def test_custom_tasks_and_pipelines_in_it_are_left_alone() -> None:
    custom = {"apiVersion": "example.dev/v1", "kind": "Wait", "spec": {"seconds": "$(params.seconds)"}}
    nested = {"tasks": [task("x", **says("$(params.inner)"))], "params": [{"name": "inner"}]}
    tasks = [
        task("a", taskSpec=custom, params=[{"name": "seconds", "value": "1"}]),
        task("b", pipelineSpec=nested, params=[{"name": "inner", "value": "1"}]),
    ]
    found = with_declarations({"tasks": tasks}, a_run(), "r")
    assert found["tasks"][1] == tasks[1]
    assert found["tasks"][0] == tasks[0]
