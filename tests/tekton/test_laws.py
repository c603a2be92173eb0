"""Laws of wrapping a pipeline, whatever the pipeline."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.tekton.wrap.steps import COMMAND
from agent.tekton.wrap.task import unwrap_task_spec
from tests.property.edits import laws
from tests.tekton.made import UID, a_run, known, pipeline, the_task, wrap
from tests.tekton.schema import check

NAMES = ("ws", "other", "plain")
RUN = a_run(
    workspaces=[
        {"name": "ws", "emptyDir": {}},
        {"name": "other", "emptyDir": {"medium": "Memory"}, "subPath": "in"},
        {"name": "plain", "persistentVolumeClaim": {"claimName": "c"}},
    ]
)

steps = st.lists(
    st.fixed_dictionaries(
        {"image": st.just("a")},
        optional={
            "script": st.sampled_from(["echo", "ls $(workspaces.other.path)"]),
            "onError": st.just("continue"),
            "workingDir": st.sampled_from(["/", "sub", "/workspace/ws"]),
        },
    ),
    min_size=1,
    max_size=3,
)


@st.composite
def task_specs(draw: st.DrawFn, used: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "workspaces": [
            {"name": name} | draw(st.sampled_from([{}, {"readOnly": True}, {"mountPath": f"/m/{name}"}]))
            for name in used
        ],
        "steps": draw(steps),
    }
    for index, step in enumerate(found["steps"]):
        if draw(st.booleans()):
            step["name"] = draw(st.sampled_from([f"s{index}", "instep-pull"])) if index == 0 else f"s{index}"
    extras = {
        "results": [{"name": "r"}],
        "volumes": [{"name": "instep", "emptyDir": {}}],
        "stepTemplate": {"securityContext": {"runAsUser": 7}, "env": [{"name": "A", "value": "b"}]},
        "sidecars": [{"name": "s", "image": "a"}],
    }
    return found | {key: value for key, value in extras.items() if draw(st.booleans())}


@st.composite
def pipelines(draw: st.DrawFn) -> dict[str, Any]:
    groups: list[list[dict[str, Any]]] = [[], []]
    for index in range(draw(st.integers(1, 5))):
        last = index > 0 and draw(st.integers(0, 4)) == 0
        used = draw(st.lists(st.sampled_from(NAMES), unique=True))
        found: dict[str, Any] = {"name": f"t{index}", "workspaces": [{"name": name} for name in used]}
        if draw(st.integers(0, 3)):
            found["taskSpec"] = draw(task_specs(used))
        else:
            found["taskRef"] = {"name": "t"}
        before = [task["name"] for task in groups[0]]
        if before and not last:
            found["runAfter"] = draw(st.lists(st.sampled_from(before), unique=True))
        extras = {"retries": 2, "when": [{"input": "a", "operator": "in", "values": ["a"]}]}
        found |= {key: value for key, value in extras.items() if draw(st.booleans())}
        groups[last].append(found)
    declared = [{"name": name} for name in NAMES]
    return pipeline(*groups[0], last=tuple(groups[1]), workspaces=declared)


def tasks_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec["tasks"], *spec.get("finally", [])]


@laws
@given(pipelines())
def test_wrapping_again_changes_nothing_and_the_argument_is_left_alone(found: dict[str, Any]) -> None:
    before = json.loads(json.dumps(found))
    once = wrap(found, RUN)
    assert found == before
    assert wrap(once, RUN) == once


@laws
@given(pipelines())
def test_tasks_and_their_steps_stay_in_order_and_all_else_stays(found: dict[str, Any]) -> None:
    wrapped = wrap(found, RUN)
    assert [task["name"] for task in tasks_of(wrapped)] == [task["name"] for task in tasks_of(found)]
    for old, new in zip(tasks_of(found), tasks_of(wrapped), strict=True):
        assert {**old, "taskSpec": 0, "taskRef": 0} == {**new, "taskSpec": 0, "taskRef": 0}
        if "taskSpec" not in old:
            continue
        back = unwrap_task_spec(new["taskSpec"], "t")
        assert len(back["steps"]) == len(old["taskSpec"]["steps"])
        for was, now in zip(old["taskSpec"]["steps"], back["steps"], strict=True):
            assert now == was | {"name": now.get("name", "")} or now == was
        assert {**back, "steps": 0} == {**old["taskSpec"], "steps": 0}


@laws
@given(pipelines())
def test_steps_have_different_names_and_one_pull_is_first_and_one_push_last(found: dict[str, Any]) -> None:
    for old, new in zip(tasks_of(found), tasks_of(wrap(found, RUN)), strict=True):
        if "taskSpec" not in new or new["taskSpec"] == old["taskSpec"]:
            continue
        names = [step["name"] for step in new["taskSpec"]["steps"]]
        assert len(set(names)) == len(names)
        words = [step["args"][1] if step.get("command") == COMMAND else "" for step in new["taskSpec"]["steps"]]
        assert words.count("pull") <= 1
        assert words.count("push") <= 1
        assert "pull" not in words[1:]
        assert "push" not in words[:-1]


@laws
@given(pipelines())
def test_only_lanes_of_tasks_that_come_before_are_named(found: dict[str, Any]) -> None:
    wrapped = wrap(found, RUN, form="inline", known=known(the_task()))
    names = [task["name"] for task in found["tasks"]]
    for index, task in enumerate(tasks_of(wrapped)):
        for step in task.get("taskSpec", {}).get("steps", []):
            if step.get("command") != COMMAND:
                continue
            for workspace in json.loads(step["args"][2])["workspaces"]:
                before = names[:index] if index < len(names) else names
                assert {lane.removeprefix(f"{UID}/") for lane in workspace.get("after", [])} <= set(before)
                assert workspace["lane"] == f"{UID}/{task['name']}"
                assert workspace["target"] in (f"reg.io/ws-{name}:run-1" for name in NAMES[:2])


@laws
@given(pipelines())
def test_what_comes_out_is_valid_for_tekton(found: dict[str, Any]) -> None:
    for form in ("references", "inline"):
        wrapped = wrap(found, RUN, form=form, known=known(the_task()))
        check({"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "spec": wrapped})
