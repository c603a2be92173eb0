"""The two steps, and what they find in the tasks that get them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UnwrappableError
from agent.tekton.model.pod_template import PodTemplate
from agent.tekton.wrap.result_budget import result_limit
from agent.tekton.wrap.steps import COMMAND
from agent.tekton.wrap.task import unwrap_task_spec, wrap_task, wrap_task_spec
from agent.tekton.wrap.task_plan import TaskPlan, WorkspaceMount, format_plan, parse_plan
from tests.property.edits import laws
from tests.tekton.made import SETTINGS, a_run, argument, pipeline, spec, steps_of, task, the_task, wrap
from tests.tekton.schema import check

MOUNT = WorkspaceMount(name="ws", target="reg.io/ws:run", lane="uid/t")
PLAN = TaskPlan(task="t", settings=SETTINGS, mounts=(MOUNT,))


def wrapped(plan: TaskPlan = PLAN, **fields: Any) -> dict[str, Any]:
    return dict(wrap_task_spec(spec(**fields), plan, is_v1=True, where="task t"))


def names(found: dict[str, Any]) -> list[str]:
    return [step["name"] for step in found["steps"]]


def test_one_step_in_front_and_one_behind_for_all_workspaces() -> None:
    plan = replace(PLAN, mounts=(MOUNT, replace(MOUNT, name="other", target="reg.io/other:run")))
    found = wrapped(plan, workspaces=[{"name": "ws"}, {"name": "other"}])
    assert names(found) == ["instep-pull", "work", "instep-push"]
    assert [mount["name"] for mount in found["steps"][0]["volumeMounts"]] == [
        "instep",
        "$(workspaces.ws.volume)",
        "$(workspaces.other.volume)",
    ]


def test_both_steps_get_one_argument_and_nothing_from_a_shell() -> None:
    found = wrapped()
    pull, _, push = found["steps"]
    assert pull["command"] == push["command"] == COMMAND
    assert pull["args"][:2] == ["step", "pull"]
    assert push["args"][:2] == ["step", "push"]
    told = json.loads(push["args"][2])
    assert told.pop("step-result") == "$(step.results.published.path)"
    assert told == json.loads(pull["args"][2])
    assert told == {
        "volume": "/instep",
        "pod": "$(INSTEP_POD)",
        "pod-uid": "$(INSTEP_POD_UID)",
        "credentials": "$(credentials.path)",
        "on-conflict": "last",
        "workspaces": [
            {
                "name": "ws",
                "directory": "/instep-workspaces/ws",
                "target": "reg.io/ws:run",
                "lane": "uid/t",
            }
        ],
    }


def test_names_that_are_taken_are_stepped_around() -> None:
    steps = [{"name": "instep-pull", "image": "a"}, {"name": "instep-push", "image": "a"}]
    found = wrapped(steps=steps, volumes=[{"name": "instep", "emptyDir": {}}])
    assert names(found) == ["instep-pull-2", "instep-pull", "instep-push", "instep-push-2"]
    assert [volume["name"] for volume in found["volumes"]] == ["instep", "instep-2"]
    assert found["steps"][0]["volumeMounts"][0] == {"name": "instep-2", "mountPath": "/instep"}


def test_nameless_steps_keep_the_names_that_tekton_gave_them() -> None:
    found = wrapped(steps=[{"image": "a"}, {"name": "x", "image": "a"}, {"name": "", "image": "a"}])
    assert names(found) == ["instep-pull", "unnamed-0", "x", "unnamed-2", "instep-push"]


@pytest.mark.parametrize(
    ("mount", "read_only", "results", "expected"),
    [
        (MOUNT, False, [], ["instep-pull", "work", "instep-push"]),
        (MOUNT, True, [], ["instep-pull", "work"]),
        (MOUNT, True, [{"name": "r"}], ["instep-pull", "work", "instep-push"]),
        (replace(MOUNT, is_fresh=True), False, [], ["instep-pull", "work", "instep-push"]),
        (replace(MOUNT, is_fresh=True), True, [{"name": "r"}], ["work"]),
    ],
)
def test_no_step_without_a_reason(
    mount: WorkspaceMount, read_only: bool, results: list[Any], expected: list[str]
) -> None:
    found = wrapped(replace(PLAN, mounts=(mount,)), workspaces=[{"name": "ws", "readOnly": read_only}], results=results)
    assert names(found) == expected


def test_what_a_step_template_says_is_overruled() -> None:
    template = {
        "image": "t",
        "imagePullPolicy": "Never",
        "workingDir": "/t",
        "command": ["t"],
        "args": ["t"],
        "securityContext": {"privileged": True, "readOnlyRootFilesystem": True},
    }
    for step in (wrapped(stepTemplate=template)["steps"][index] for index in (0, 2)):
        assert set(template) <= set(step)
        assert all(step[key] != template[key] for key in template)
        assert step["securityContext"]["privileged"] is step["securityContext"]["readOnlyRootFilesystem"] is False
        assert "script" not in step


def test_the_identity_on_which_the_steps_agree_is_taken_over() -> None:
    me = {"securityContext": {"runAsUser": 7, "runAsGroup": 8}}
    steps = [{"name": "a", "image": "a", **me}, {"name": "b", "image": "a", **me}]
    context = wrapped(steps=steps)["steps"][0]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (7, 8)
    assert context["capabilities"] == {"drop": ["ALL"]}
    steps[1] = {"name": "b", "image": "a", "securityContext": {"runAsUser": 0, "runAsGroup": 8}}
    context = wrapped(steps=steps)["steps"][0]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (0, 8)
    assert "capabilities" not in context


def test_root_keeps_what_restoring_owners_needs_and_others_keep_nothing() -> None:
    assert "capabilities" not in wrapped()["steps"][0]["securityContext"]
    found = wrapped(replace(PLAN, pod=PodTemplate(is_non_root=True)))
    assert found["steps"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    run = a_run(taskRunTemplate={"podTemplate": {"securityContext": {"runAsNonRoot": True}}})
    step = steps_of(wrap(pipeline(task("a")), run), "a")[-1]
    assert step["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_capabilities_of_the_template_and_no_escalation_do_not_meet() -> None:
    template = {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}
    assert "allowPrivilegeEscalation" not in wrapped(stepTemplate=template)["steps"][0]["securityContext"]


def test_resources_stand_under_the_key_of_the_version() -> None:
    plan = replace(PLAN, settings=replace(SETTINGS, resources={"requests": {"cpu": "10m"}}))
    assert wrapped(plan)["steps"][0]["computeResources"] == {"requests": {"cpu": "10m"}}
    old = wrap_task_spec(spec(), plan, is_v1=False, where="task t")
    assert old["steps"][0]["resources"] == {"requests": {"cpu": "10m"}}


@pytest.mark.parametrize(
    ("own", "template", "expected"),
    [
        ({}, {}, None),
        ({}, {"requests": {"memory": "8Gi"}}, {"requests": {"memory": "0"}}),
        (
            {},
            {"limits": {"memory": "16Mi", "example.com/gpu": 1}},
            {
                "requests": {"example.com/gpu": "0", "memory": "0"},
                "limits": {"example.com/gpu": "0", "memory": "0"},
            },
        ),
        (
            {"requests": {"cpu": "10m"}, "limits": {"memory": "1Gi"}},
            {"requests": {"cpu": "4", "memory": "8Gi"}},
            {"requests": {"cpu": "10m", "memory": "0"}, "limits": {"memory": "1Gi"}},
        ),
        # No request may exceed its limit.
        (
            {"requests": {"cpu": "2"}},
            {"limits": {"cpu": "1"}},
            {"requests": {"cpu": "0"}, "limits": {"cpu": "0"}},
        ),
    ],
)
def test_the_steps_take_no_resources_that_a_step_template_wants_for_the_tasks_own(
    own: dict[str, Any], template: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    plan = replace(PLAN, settings=replace(SETTINGS, resources=own))
    found = wrapped(plan, stepTemplate={"computeResources": template})
    assert found["steps"][0].get("computeResources") == found["steps"][2].get("computeResources") == expected
    old = wrap_task_spec(spec(stepTemplate={"resources": template}), plan, is_v1=False, where="task t")
    assert old["steps"][0].get("resources") == expected


def test_logins_are_not_copied_into_the_home_of_the_users_steps() -> None:
    found = wrapped(stepTemplate={"env": [{"name": "HOME", "value": "/tekton/home"}]})
    for step in (found["steps"][0], found["steps"][2]):
        assert {"name": "HOME", "value": "/instep"} in step["env"]
        assert step["volumeMounts"][0]["mountPath"] == "/instep"


def test_certificates_come_from_a_config_map() -> None:
    found = wrapped(replace(PLAN, settings=replace(SETTINGS, ca_config_map="our-ca", plain_http=True)))
    assert {"name": "instep-ca", "configMap": {"name": "our-ca"}} in found["volumes"]
    assert {"name": "instep-ca", "mountPath": "/instep-ca"} in found["steps"][0]["volumeMounts"]
    theirs = [{"name": "instep-ca", "emptyDir": {}}]
    beside = wrapped(replace(PLAN, settings=replace(SETTINGS, ca_config_map="our-ca")), volumes=theirs)
    assert [volume["name"] for volume in beside["volumes"]] == ["instep-ca", "instep", "instep-ca-2"]
    assert {"name": "instep-ca-2", "mountPath": "/instep-ca"} in beside["steps"][0]["volumeMounts"]
    assert unwrap_task_spec(beside, "task t")["volumes"] == theirs
    told = json.loads(found["steps"][0]["args"][2])
    assert (told["ca-file"], told["plain-http"]) == ("/instep-ca/ca.crt", True)


# Results.


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({}, 3072),  # prepare and three steps
        ({"steps": [{"name": "s", "image": "a", "script": "x"}]}, 2457),
        ({"steps": [{"name": "s", "image": "a", "workingDir": "/workspace/ws"}]}, 2457),
        ({"steps": [{"name": "s", "image": "a", "workingDir": "$(workspaces.ws.path)", "script": "x"}]}, 2048),
        ({"steps": [{"name": "s", "ref": {"name": "action"}}]}, 2457),
        ({"stepTemplate": {"workingDir": "relative"}}, 2457),
        ({"sidecars": [{"name": "s", "image": "a"}]}, 2457),
        ({"sidecars": [{"name": "s", "image": "a", "script": "x"}]}, 2048),
    ],
)
def test_the_share_of_results_is_what_the_kubelet_leaves(fields: dict[str, Any], limit: int) -> None:
    found = wrapped(results=[{"name": "one"}, {"name": "two", "type": "array"}], **fields)
    told = json.loads(found["steps"][0]["args"][2])["results"]
    directories = {"directory": "/tekton/results", "steps": "/tekton/steps"}
    assert told == {**directories, "names": ["one", "two"], "limit": limit}
    assert 12288 // limit == 12288 // result_limit(spec(**fields), 2, "task t")


def test_sidecar_logs_have_no_limit() -> None:
    plan = replace(PLAN, settings=replace(SETTINGS, results_from="sidecar-logs"))
    assert "results" not in json.loads(wrapped(plan, results=[{"name": "one"}])["steps"][0]["args"][2])
    read_only = wrapped(plan, results=[{"name": "one"}], workspaces=[{"name": "ws", "readOnly": True}])
    assert names(read_only) == ["instep-pull", "work"]


def test_the_push_step_alone_has_a_step_result() -> None:
    steps = [{"name": "instep-push", "image": "a", "results": [{"name": "published"}]}]
    pull, users, push = wrapped(steps=steps)["steps"]
    assert "results" not in pull and "step-result" not in json.loads(pull["args"][2])
    assert users == steps[0]
    assert (push["name"], push["results"]) == ("instep-push-2", [{"name": "published", "type": "string"}])


@pytest.mark.parametrize("is_v1", [True, False])
@pytest.mark.parametrize("results", [[], [{"name": "one"}]])
def test_a_step_result_is_valid_in_both_versions_and_can_be_left_out(is_v1: bool, results: list[Any]) -> None:
    for plan in (PLAN, replace(PLAN, step_result=False)):
        found = wrap_task_spec(spec(results=results), plan, is_v1=is_v1, where="task t")
        check({**the_task(), "apiVersion": f"tekton.dev/v1{'' if is_v1 else 'beta1'}", "spec": found})
        assert ("step.results" in json.dumps(found)) is ("published" in json.dumps(found)) is plan.step_result
        assert found["steps"][-1]["name"] == "instep-push"


def test_a_task_that_only_reads_has_no_step_result() -> None:
    found = wrapped(results=[{"name": "one"}], workspaces=[{"name": "ws", "readOnly": True}])
    assert found["steps"][-1]["name"] == "instep-push"
    assert "results" not in found["steps"][-1]
    assert "step-result" not in json.loads(found["steps"][-1]["args"][2])


# Whole Tasks.


def test_a_task_as_an_answer_keeps_only_the_metadata_that_counts() -> None:
    meta = {"name": "t", "uid": "u", "labels": {"a": "b"}, "managedFields": [], "ownerReferences": []}
    meta["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "n"}
    found = wrap_task({**the_task(), "metadata": meta, "status": {}}, PLAN)
    assert found["metadata"] == {"name": "t", "labels": {"a": "b"}, "annotations": {"note": "n"}}
    assert set(found) == {"apiVersion", "kind", "metadata", "spec"}


def test_a_workspace_that_the_task_does_not_declare_is_left_for_tekton_to_report() -> None:
    plan = replace(PLAN, mounts=(MOUNT, replace(MOUNT, name="unknown", target="reg.io/u:run")))
    assert [
        one["name"] for one in json.loads(wrap_task(the_task(), plan)["spec"]["steps"][0]["args"][2])["workspaces"]
    ] == ["ws"]


def test_what_is_no_task_is_refused() -> None:
    with pytest.raises(UnwrappableError, match="its kind is Pipeline"):
        wrap_task({"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "x"}, "spec": {}}, PLAN)


def test_a_task_that_stopped_being_read_only_is_refused() -> None:
    with pytest.raises(UnwrappableError, match="was read-only when the run began"):
        wrap_task(the_task(), replace(PLAN, mounts=(replace(MOUNT, is_read_only=True),)))


def test_a_task_that_became_read_only_is_refused_where_others_count_on_its_push() -> None:
    reads = the_task(workspaces=[{"name": "ws", "readOnly": True}])
    with pytest.raises(UnwrappableError, match="was written when the run began, and is read-only now"):
        wrap_task(reads, replace(PLAN, mounts=(replace(MOUNT, is_written=True),)))
    assert wrap_task(reads, replace(PLAN, mounts=(MOUNT,)))


@laws
@given(
    st.lists(
        st.fixed_dictionaries(
            {"image": st.sampled_from(["a", "b"])},
            optional={"name": st.sampled_from(["instep-pull", "x"]), "script": st.text()},
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda step: step.get("name", id(step)),
    ),
    st.lists(st.sampled_from(["instep", "v"]), unique=True),
    st.booleans(),
    st.booleans(),
)
def test_wrapping_adds_only_and_again_changes_nothing(
    steps: list[dict[str, Any]], volumes: list[str], fresh: bool, read_only: bool
) -> None:
    given_volumes = {"volumes": [{"name": name, "emptyDir": {}} for name in volumes]} if volumes else {}
    original = spec(steps=steps, workspaces=[{"name": "ws", "readOnly": read_only}], **given_volumes)
    copy = json.loads(json.dumps(original))
    plan = replace(PLAN, mounts=(replace(MOUNT, is_fresh=fresh),))
    found = wrap_task_spec(original, plan, is_v1=True, where="task t")
    assert original == copy
    assert wrap_task_spec(found, plan, is_v1=True, where="task t") == found
    back = unwrap_task_spec(found, "task t")
    for step, was in zip(back["steps"], original["steps"], strict=True):
        assert {key: value for key, value in step.items() if key in was} == was
        assert set(step) - set(was) <= {"name"}
    assert {**back, "steps": None} == {**original, "steps": None}


@laws
@given(st.text(), st.text(), st.lists(st.text()))
def test_a_plan_travels_through_a_parameter(name: str, target: str, after: list[str]) -> None:
    plan = replace(PLAN, mounts=(WorkspaceMount(name, target, "lane", tuple(after)),), base=target or None)
    text = format_plan(plan)
    assert parse_plan(text) == plan


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"mounts": [1]}', '{"mounts": [{"after": 1}]}', "{"])
def test_a_plan_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UnwrappableError, match="not what wrapping a Pipeline puts there"):
        parse_plan(text)


def test_tools_see_the_same_argument_in_a_wrapped_pipeline() -> None:
    assert argument(wrap(pipeline(task("a"))), "a")["workspaces"][0]["fresh"] is True
