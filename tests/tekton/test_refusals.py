"""What cannot be wrapped is refused in words: where it is, what is wrong, and the way out."""

from __future__ import annotations

from typing import Any

import pytest

from agent.errors import UnwrappableError
from agent.tekton.model.wrapping import Wrapping
from agent.tekton.pipeline.wrap_pipeline import wrap_pipeline
from tests.tekton.made import SETTINGS, TARGET, a_run, pipeline, spec, task, wrap

CUSTOM = {"taskSpec": None, "taskRef": {"apiVersion": "example.dev/v1", "kind": "Wait", "name": "w"}}
WINDOWS = {"nodeSelector": {"kubernetes.io/os": "windows"}}
HERMETIC = {"experimental.tekton.dev/execution-mode": "hermetic"}
TWO = [{"name": "ws", "emptyDir": {}}, {"name": "other", "emptyDir": {}}]


def without_spec(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in task("a", **fields).items() if value is not None}


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([without_spec(**CUSTOM)], "task a, taskRef: it is a custom task .example.dev/v1 Wait., whose workspace ws"),
        (
            [task("a", taskSpec={"apiVersion": "example.dev/v1", "kind": "Wait", "spec": {}})],
            "task a, taskSpec: it is a custom task",
        ),
        (
            [without_spec(taskSpec=None, pipelineRef={"name": "p"})],
            "task a, pipelineRef: it is a pipeline in the pipeline",
        ),
        ([without_spec(taskSpec=None, pipelineSpec={})], "task a, pipelineSpec: it is a pipeline in the pipeline"),
        ([without_spec(taskSpec=None, taskRef={"name": "t", "kind": "ClusterTask"})], "its kind is ClusterTask"),
        ([without_spec(taskSpec=None, taskRef={"name": "t", "bundle": "b"})], "the field bundle is of"),
        ([without_spec(taskSpec=None, taskRef={})], "names neither a Task of the namespace nor a resolver"),
        ([without_spec(taskSpec=None, taskRef={"name": "https://a.example/t.yaml"})], "names neither"),
        ([without_spec(taskSpec=None)], "names neither"),
        ([task("a", taskSpec=spec(steps=[{"image": "a", "script": "#!win pwsh\n"}]))], "does not run on Windows"),
        ([task("a", taskSpec=spec(metadata={"annotations": HERMETIC}))], "hermetic steps have no network"),
        ([task("a"), task("a")], "two of its tasks are called a"),
        ([{"taskSpec": spec()}], "one of its tasks has no name"),
        (
            [task("a", workspaces=[{"name": "ws", "subPath": "$(tasks.b.results.c)"}])],
            "subPath of workspace ws: .*not known",
        ),
        ([task("a", workspaces=[{"name": "ws", "subPath": "../x"}])], "it leaves the workspace"),
        ([task("a", workspaces=[{"name": "ws", "subPath": "{{x}}"}])], "it is '{{x}}'"),
    ],
)
def test_a_task_that_cannot_be_wrapped(tasks: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(UnwrappableError, match=f"Pipeline p.*{words}.*; ") as caught:
        wrap(pipeline(*tasks))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ("", "", True),
        ("src", "src", True),
        ("src", "", True),
        ("src", "src/main", True),
        ("src", "srcs", False),
        ("a/b", "a/c", False),
    ],
)
def test_two_aliases_of_one_subtree_are_refused(one: str, other: str, refused: bool) -> None:
    aliases = {
        "workspaces": [
            {"name": "x", "workspace": "ws", "subPath": one},
            {"name": "y", "workspace": "ws", "subPath": other},
        ]
    }
    found = pipeline(task("a", **aliases, taskSpec=spec(workspaces=[{"name": "x"}, {"name": "y"}])))
    if refused:
        with pytest.raises(UnwrappableError, match="its workspaces x and y are the same files"):
            wrap(found)
    else:
        wrap(found)
    both_read = [{"name": "x", "readOnly": True}, {"name": "y", "readOnly": True}]
    wrap(pipeline(task("a", **aliases, taskSpec=spec(workspaces=both_read))), target="reg.io/x:{{workspace}}")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"taskRunTemplate": {"podTemplate": WINDOWS}}, "task a, podTemplate.nodeSelector: .*Windows"),
        ({"taskRunSpecs": [{"pipelineTaskName": "a", "podTemplate": WINDOWS}]}, "Windows"),
        ({"taskRunSpecs": [{"pipelineTaskName": "a", "metadata": {"annotations": HERMETIC}}]}, "hermetic"),
    ],
)
def test_a_run_that_cannot_be_wrapped(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UnwrappableError, match=words):
        wrap(pipeline(task("a")), a_run(**fields))


def test_a_hermetic_pipeline_is_refused() -> None:
    found = {"kind": "Pipeline", "metadata": {"name": "p", "annotations": HERMETIC}, "spec": pipeline(task("a"))}
    with pytest.raises(UnwrappableError, match=r"Pipeline p, annotation .*hermetic"):
        wrap_pipeline(found, Wrapping(SETTINGS, TARGET), a_run())


def test_what_uses_no_wrapped_workspace_is_not_looked_at() -> None:
    others = (
        without_spec(workspaces=[], **CUSTOM),
        {"name": "pip", "pipelineRef": {"name": "p"}},
        {"name": "windows", "taskSpec": {"steps": [{"image": "a", "script": "#!win\n"}]}},
        {"name": "cluster", "taskRef": {"name": "t", "kind": "ClusterTask"}, "odd": {"kept": [1]}},
    )
    run = a_run(taskRunSpecs=[{"pipelineTaskName": "windows", "podTemplate": WINDOWS}])
    wrapped = wrap(pipeline(task("b"), *others), run)
    assert wrapped["tasks"][1:] == list(others)


def test_where_nothing_is_wrapped_nothing_changes() -> None:
    found = pipeline(task("a"), task("b", "a"), last=(task("f"),), odd={"kept": True})
    assert wrap(found, a_run(workspaces=[{"name": "ws", "persistentVolumeClaim": {"claimName": "c"}}])) == found
    assert wrap(found, workspaces=()) == found


# Workspaces and targets.


@pytest.mark.parametrize(
    ("binding", "source"),
    [
        ({"persistentVolumeClaim": {"claimName": "c"}}, "persistentVolumeClaim"),
        ({"volumeClaimTemplate": {}}, "volumeClaimTemplate"),
        ({"secret": {"secretName": "s"}, "subPath": "x"}, "secret"),
        ({"emptyDir": None}, "nothing"),
    ],
)
def test_a_listed_workspace_that_is_no_empty_dir_is_refused(binding: dict[str, Any], source: str) -> None:
    with pytest.raises(UnwrappableError, match=f"workspace ws: it is bound to a {source}"):
        wrap(pipeline(task("a")), a_run(workspaces=[{"name": "ws", **binding}]), workspaces=("ws",))


def test_a_listed_workspace_must_be_there_unless_it_is_optional() -> None:
    with pytest.raises(UnwrappableError, match="workspace wss: the pipeline has no such workspace"):
        wrap(pipeline(task("a")), workspaces=("wss",))
    with pytest.raises(UnwrappableError, match="workspace ws: the run does not bind it"):
        wrap(pipeline(task("a")), a_run(workspaces=[]), workspaces=("ws",))
    optional = pipeline(task("a"), workspaces=[{"name": "ws", "optional": True}])
    assert wrap(optional, a_run(workspaces=[]), workspaces=("ws",)) == optional


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("", "target: there is none"),
        ("reg.io/x:$(context.run.name)-{{workspace}}", r"\$\(context.run.name\) is not known here"),
        ("reg.io/x:$(params.unknown)", r"\$\(params.unknown\) is not known"),
        ("reg.io/x:{{task}}", "{{task}} is not known"),
        ("no-registry", "for workspace ws it is no-registry"),
        ("reg.io/UPPER-{{workspace}}:x", "lower case"),
        ("reg.io/x@sha256:" + "0" * 64, "it has a digest"),
        ("oci:/shared/{{workspace}}:x", "oci:/shared/ws:x: it is a directory"),
        ("reg.io/x:t.l._e" + "a" * 10 + "0" * 26, "derived"),
    ],
)
def test_a_target_that_is_none_is_refused(target: str, words: str) -> None:
    with pytest.raises(UnwrappableError, match=words):
        wrap(pipeline(task("a")), target=target)


def test_a_workspace_with_capitals_names_the_way_out() -> None:
    spaces = {"workspaces": [{"name": "sharedData"}]}
    run = a_run(workspaces=[{"name": "sharedData", "emptyDir": {}}])
    one = pipeline(task("a", workspaces=[{"name": "ws", "workspace": "sharedData"}]), **spaces)
    for target in ("reg.io/{{workspace}}:x", "reg.io/a/b-{{workspace}}/c:$(context.pipelineRun.name)"):
        with pytest.raises(UnwrappableError, match="workspace sharedData") as caught:
            wrap(one, run, target=target)
        assert "put {{workspace}} into the tag" in caught.value.remedy
    assert wrap(one, run, target="reg.io/x:{{workspace}}-$(context.pipelineRun.name)")


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("no-registry", "base: it is no-registry: not an image"),
        ("reg.io/b:$(context.run.name)", r"base: \$\(context.run.name\) is not known"),
        ("oci:/shared/base:x", "it is a directory, which the steps have not"),
        ("reg.io/b:{{workspace}}", "not an image reference"),
    ],
)
def test_a_base_that_is_none_is_refused(base: str, words: str) -> None:
    with pytest.raises(UnwrappableError, match=words):
        wrap(pipeline(task("a")), base=base)


def test_a_parameter_cannot_put_a_variable_into_a_sub_path() -> None:
    found = pipeline(task("a", workspaces=[{"name": "ws", "subPath": "$(params.p)"}]))
    for value in ("$(context.taskRun.name)", "a\nb", "../../etc"):
        with pytest.raises(UnwrappableError, match="subPath of workspace ws"):
            wrap(found, a_run(params=[{"name": "p", "value": value}]))


def test_two_workspaces_need_two_targets() -> None:
    with pytest.raises(UnwrappableError, match=r"workspaces ws and other would be kept at one image, reg.io/x:y"):
        wrap(pipeline(task("a")), a_run(workspaces=TWO), target="reg.io/x:y")


def test_parameters_of_the_run_are_known_to_the_target() -> None:
    run = a_run(params=[{"name": "repo", "value": "team"}, {"name": "list", "value": ["x"]}])
    wrap(pipeline(task("a")), run, target="reg.io/$(params.repo)/{{ workspace }}:$(context.pipelineRun.uid)")
    with pytest.raises(UnwrappableError, match=r"params\.list"):
        wrap(pipeline(task("a")), run, target="reg.io/$(params.list)/{{workspace}}:x")


# Objects of the wrong shape.


@pytest.mark.parametrize(
    "found",
    [
        {"tasks": "x"},
        {"tasks": [1]},
        {"tasks": {"a": 1}},
        pipeline(task("a", workspaces=[{"name": 7}])),
        pipeline(task("a", workspaces=["ws"])),
        pipeline(task("a", taskSpec="x")),
        pipeline(task("a", taskSpec={"steps": [None]})),
        pipeline(task("a", taskSpec=spec(stepTemplate=[]))),
        pipeline(task("a", taskSpec=spec(volumes={}))),
        pipeline(task("a", taskSpec=spec(results="r"))),
        pipeline(task("a", taskSpec=spec(steps=[{"image": "a", "securityContext": "root"}]))),
        pipeline(task("a", matrix={"params": "x"})),
        pipeline(task("a", matrix=[]) | {"matrix": [1]}),
        pipeline({**task("a"), "name": ["a"]}),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_name(found: dict[str, Any]) -> None:
    with pytest.raises(UnwrappableError, match=r"is not a |is no"):
        wrap(found)


def test_what_is_no_pipeline_is_refused() -> None:
    with pytest.raises(UnwrappableError, match="its kind is Task"):
        wrap_pipeline({"kind": "Task", "metadata": {"name": "t"}}, Wrapping(SETTINGS, TARGET), a_run())
