"""No name and no place of the agent's steps is one of the task's, of its pod template's, or of its workspaces'."""

from __future__ import annotations

import json
import posixpath
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.tekton.model import names
from agent.tekton.model.pod_template import parse_pod_template
from agent.tekton.wrap.steps import is_injected
from agent.tekton.wrap.task import unwrap_task_spec, wrap_task, wrap_task_spec
from agent.tekton.wrap.task_plan import TaskPlan, WorkspaceMount, format_plan, parse_plan
from tests.property.edits import laws
from tests.tekton.made import SETTINGS, a_run, pipeline, steps_of, task, the_task, wrap
from tests.tekton.schema import check
from tests.tekton.test_references import asked

WORDS = (names.PULL, names.PUSH, names.VOLUME, names.CA_VOLUME, "instep-2", "instep-pull-2", "x" * 58)
VARIABLES = (names.POD_NAME, "INSTEP_POD_2", "HOME", "OTHER")
ROOTS = ("/instep", "/instep-2", "/instep-ca", "/instep-workspaces")
PATHS = [f"{root}{more}" for root in ROOTS for more in ("", "/", "/ws", "/../instep")]
PATHS += ["/workspace/ws", "/else", "$(params.path)/instep"]
PLAN = TaskPlan(
    task="t",
    settings=replace(SETTINGS, ca_config_map="ca"),
    mounts=(WorkspaceMount(name="ws", target="reg.io/ws:run", lane="uid/t"),),
)

env = st.lists(st.builds(lambda name: {"name": name, "value": "v"}, st.sampled_from(VARIABLES)), max_size=2)
mounts = st.lists(st.builds(lambda path: {"name": "theirs", "mountPath": path}, st.sampled_from(PATHS)), max_size=2)
parts = st.fixed_dictionaries(
    {"name": st.sampled_from(WORDS), "image": st.just("a")}, optional={"env": env, "volumeMounts": mounts}
)
volumes = st.lists(
    st.builds(lambda name: {"name": name, "emptyDir": {}}, st.sampled_from(WORDS)),
    max_size=3,
    unique_by=lambda volume: volume["name"],
)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    isolated = {"workspaces": [{"name": "ws", "mountPath": draw(st.sampled_from(PATHS))}]}
    steps = draw(st.lists(parts, min_size=1, max_size=3, unique_by=lambda step: step["name"]))
    if draw(st.booleans()):
        steps[0] |= isolated
    found = {
        "workspaces": [{"name": "ws"} | draw(st.sampled_from([{}, *({"mountPath": path} for path in PATHS)]))],
        "steps": steps,
        "stepTemplate": draw(st.fixed_dictionaries({}, optional={"env": env, "volumeMounts": mounts})),
        "sidecars": draw(st.lists(parts, max_size=2, unique_by=lambda sidecar: sidecar["name"])),
        "volumes": draw(volumes),
    }
    return {key: value for key, value in found.items() if value}


pods = st.fixed_dictionaries({}, optional={"volumes": volumes, "env": env})


def top(path: str) -> str:
    """The first part of a path: two mounts are apart if theirs differ."""
    return posixpath.normpath(path).strip("/").split("/", 1)[0]


@laws
@given(specs(), pods)
def test_no_name_of_ours_is_one_of_theirs(spec: dict[str, Any], template: dict[str, Any]) -> None:
    plan = replace(PLAN, pod=parse_pod_template(template, "x"))
    wrapped = wrap_task_spec(spec, plan, is_v1=True, where="task t")
    ours = [step for step in wrapped["steps"] if is_injected(step)]
    theirs = [step for step in wrapped["steps"] if not is_injected(step)]
    assert len(ours) == 2
    others = [*theirs, *spec.get("sidecars", [])]
    template_env = [*spec.get("stepTemplate", {}).get("env", []), *template.get("env", [])]
    for step in ours:
        assert step["name"][:58] not in {part["name"][:58] for part in others}
        variables = [found["name"] for found in step["env"] if "valueFrom" in found]
        assert not {*variables} & {found["name"] for found in template_env}
        told = json.loads(step["args"][2])
        assert [told["pod"], told["pod-uid"]] == [f"$({variable})" for variable in variables]
        paths = [mount["mountPath"] for mount in step["volumeMounts"]]
        assert len({top(path) for path in paths}) == len(paths)
        taken = [
            mount["mountPath"]
            for part in [*others, spec.get("stepTemplate", {})]
            for mount in part.get("volumeMounts", [])
        ]
        taken += [use["mountPath"] for part in theirs for use in part.get("workspaces", [])]
        taken += [found.get("mountPath", "/workspace/ws") for found in spec["workspaces"]]
        assert not {top(path) for path in paths} & {top(path) for path in taken if "$(" not in path}
        assert told["volume"] == paths[0]
        assert told["ca-file"] == f"{paths[1]}/ca.crt"
        assert told["workspaces"][0]["directory"] == paths[2]
        assert {"name": "HOME", "value": paths[0]} in step["env"]
    added = wrapped["volumes"][len(spec.get("volumes", [])) :]
    assert len(added) == 2
    names_of_all = [volume["name"] for volume in [*wrapped["volumes"], *template.get("volumes", [])]]
    assert all(names_of_all.count(volume["name"]) == 1 for volume in added)
    assert unwrap_task_spec(wrapped, "x") == spec
    assert wrap_task_spec(wrapped, plan, is_v1=True, where="task t") == wrapped


def test_what_is_free_is_called_as_the_documentation_says() -> None:
    wrapped = wrap_task_spec({"steps": [{"name": "s", "image": "a"}]}, PLAN, is_v1=True, where="t")
    pull = wrapped["steps"][0]
    assert pull["name"] == "instep-pull"
    assert [mount["mountPath"] for mount in pull["volumeMounts"]] == ["/instep", "/instep-ca", "/instep-workspaces/ws"]
    assert pull["env"][0]["name"] == "INSTEP_POD"


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_the_pod_templates_of_run_and_task_are_both_stepped_around(version: str) -> None:
    general = {"volumes": [{"name": "instep", "emptyDir": {}}], "env": [{"name": "INSTEP_POD", "value": "x"}]}
    own = {"volumes": [{"name": "instep-2", "emptyDir": {}}], "securityContext": {"runAsUser": 7}}
    fields: dict[str, Any] = {
        "taskRunTemplate": {"podTemplate": general},
        "taskRunSpecs": [{"pipelineTaskName": "a", "podTemplate": own}],
    }
    if version == "v1beta1":
        fields = {"podTemplate": general, "taskRunSpecs": [{"pipelineTaskName": "a", "taskPodTemplate": own}]}
    wrapped = wrap(pipeline(task("a"), task("b")), a_run(**fields))
    for name, volume in (("a", "instep-3"), ("b", "instep-2")):
        push = steps_of(wrapped, name)[-1]
        assert push["volumeMounts"][0] == {"name": volume, "mountPath": "/instep"}
        assert push["env"][0]["name"] == "INSTEP_POD_2"
        assert '"pod": "$(INSTEP_POD_2)"' in push["args"][2]


def test_a_task_that_is_referred_to_is_told_of_the_pod_template() -> None:
    run = a_run(taskRunTemplate={"podTemplate": {"volumes": [{"name": "instep", "emptyDir": {}}]}})
    wrapped = wrap(pipeline({"name": "a", "taskRef": {"name": "t"}, "workspaces": [{"name": "ws"}]}), run)
    plan = asked(wrapped).plan
    assert parse_plan(format_plan(plan)) == plan
    found = wrap_task(the_task(), plan)
    check(found)
    assert [volume["name"] for volume in found["spec"]["volumes"]] == ["instep-2"]
