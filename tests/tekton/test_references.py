"""Tasks that are referred to: through the resolver, or written in."""

from __future__ import annotations

from typing import Any

import pytest

from agent.errors import UnwrappableError
from agent.tekton.model.object_reference import Reference
from agent.tekton.model.wrapping import Wrapping
from agent.tekton.pipeline.wrap_pipeline import tasks_referred_to
from agent.tekton.requests.request import PipelineRequest, TaskRequest, parse_request
from agent.tekton.wrap.task import wrap_task
from tests.tekton.made import SETTINGS, TARGET, a_run, known, pipeline, task, the_task, wrap

GIT = {
    "resolver": "git",
    "params": [
        {"name": "url", "value": "https://example.com/a.git"},
        {"name": "revision", "value": "$(params.revision)"},
        {"name": "list", "value": ["$(params.one)", "two"]},
    ],
}


def refers(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"name": name, "taskRef": {"name": "t"}, "workspaces": [{"name": "ws"}], **fields}


def asked(wrapped: dict[str, Any], index: int = 0) -> TaskRequest:
    request = parse_request(wrapped["tasks"][index]["taskRef"]["params"], SETTINGS)
    assert isinstance(request, TaskRequest)
    return request


def test_a_referenced_task_is_asked_of_the_resolver_and_keeps_the_rest() -> None:
    fields = {"params": [{"name": "p", "value": "v"}], "retries": 3, "displayName": "d"}
    wrapped = wrap(pipeline(refers(**fields)))
    [found] = wrapped["tasks"]
    assert {key: found[key] for key in fields} == fields
    assert found["taskRef"]["resolver"] == "wrap"
    assert set(found) == {*fields, "name", "taskRef", "workspaces"}
    assert asked(wrapped).reference == Reference("t")


def test_the_answer_to_what_is_asked_is_the_task_as_if_it_were_embedded() -> None:
    embedded = wrap(pipeline(task("a"), task("b", "a")))
    wrapped = wrap(pipeline(task("a"), refers("b", runAfter=["a"])))
    request = asked(wrapped, 1)
    assert wrap_task(the_task(), request.plan)["spec"] == embedded["tasks"][1]["taskSpec"]


def test_params_of_another_resolver_stay_params_so_that_tekton_replaces_them_whole() -> None:
    wrapped = wrap(pipeline(refers(taskRef=GIT)))
    params = {param["name"]: param["value"] for param in wrapped["tasks"][0]["taskRef"]["params"]}
    assert params["taskref.resolver"] == "git"
    assert params["taskref.params.revision"] == "$(params.revision)"
    assert params["taskref.params.list"] == ["$(params.one)", "two"]
    assert asked(wrapped).reference.to_object() == GIT


@pytest.mark.parametrize("reference", [{"name": "t"}, GIT])
def test_wrapping_again_changes_nothing(reference: dict[str, Any]) -> None:
    found = pipeline(task("a"), refers("b", runAfter=["a"], taskRef=reference), last=(task("f"),))
    assert wrap(wrap(found)) == wrap(found)


def test_a_task_that_was_read_only_when_it_was_planned_must_be_so_when_it_is_wrapped() -> None:
    reads = the_task(workspaces=[{"name": "ws", "readOnly": True}])
    request = asked(wrap(pipeline(task("first"), refers(runAfter=["first"])), known=known(reads)), 1)
    assert [step["name"] for step in wrap_task(reads, request.plan)["spec"]["steps"]] == ["instep-pull", "work"]
    with pytest.raises(UnwrappableError, match="start the run again"):
        wrap_task(the_task(), request.plan)


# Written in.


def inline(pipeline_task: dict[str, Any], *tasks: dict[str, Any], run: Any = None, **fields: Any) -> dict[str, Any]:
    wrapped = wrap(pipeline(pipeline_task, **fields), run, form="inline", known=known(*tasks))
    return dict(wrapped["tasks"][0])


def test_the_tasks_that_are_needed_are_named_once() -> None:
    found = pipeline(refers("a"), refers("b"), refers("c", taskRef=GIT), task("d"), refers("e", workspaces=[]))
    require_reference = tasks_referred_to(found, Wrapping(SETTINGS, TARGET), a_run(), where="Pipeline p")
    assert [reference.resolver for reference in require_reference] == ["", "git"]
    assert require_reference[Reference("t")] == "Pipeline p, task a, Task t"


def test_a_task_that_is_not_at_hand_is_refused() -> None:
    with pytest.raises(UnwrappableError, match="task a, taskRef: its Task, t, is not at hand"):
        inline(refers())


def test_a_task_that_is_written_in_keeps_its_metadata_and_gets_the_label_of_a_reference() -> None:
    meta = {"name": "t", "labels": {"team": "x"}, "annotations": {"note": "n"}}
    found = inline(refers(), {**the_task(), "metadata": meta})
    assert "taskRef" not in found
    assert found["taskSpec"]["metadata"] == {
        "labels": {"team": "x", "tekton.dev/task": "t"},
        "annotations": {"note": "n"},
    }
    assert [step["name"] for step in found["taskSpec"]["steps"]] == ["instep-pull", "work", "instep-push"]


def test_a_default_that_the_pipeline_would_replace_is_passed() -> None:
    params = [{"name": name, "default": "of the task"} for name in ("p", "q", "r", "s")]
    given = {"params": [{"name": "q", "value": "given"}], "matrix": {"params": [{"name": "r", "value": ["m"]}]}}
    found = inline(
        refers(**given), the_task(params=params), params=[{"name": name, "default": "x"} for name in ("p", "q", "r")]
    )
    assert found["params"] == [{"name": "q", "value": "given"}, {"name": "p", "value": "of the task"}]
    by_the_run = inline(refers(), the_task(params=params), run=a_run(params=[{"name": "s", "value": "x"}]))
    assert by_the_run["params"] == [{"name": "s", "value": "of the task"}]


def test_a_default_with_a_variable_that_would_be_the_pipelines_is_refused() -> None:
    params = [{"name": "p", "default": "$(context.taskRun.name)"}]
    assert "params" not in inline(refers(), the_task(params=params))
    with pytest.raises(UnwrappableError, match="default of its parameter p has a variable"):
        inline(refers(), the_task(params=params), params=[{"name": "p", "default": "x"}])


def test_text_that_would_be_a_result_is_refused() -> None:
    found = the_task(steps=[{"image": "a", "script": "echo '$(tasks.x.results.y)'"}])
    with pytest.raises(UnwrappableError, match="use the form references"):
        inline(refers(), found)


def test_an_optional_workspace_stays_unbound_though_the_run_has_one_of_its_name() -> None:
    workspaces = [{"name": "ws"}, {"name": "ssh", "optional": True}, {"name": "gpg", "optional": True}]
    script = "$(workspaces.ssh.bound)|$(workspaces.ssh.path)|$(workspaces['ssh'].claim)|$(workspaces.gpg.bound)"
    bound = [{"name": name, "emptyDir": {}} for name in ("ws", "ssh")]
    found = inline(
        refers(),
        the_task(workspaces=workspaces, steps=[{"name": "s", "image": "a", "script": script}]),
        run=a_run(workspaces=bound),
    )
    assert [item["name"] for item in found["taskSpec"]["workspaces"]] == ["ws", "gpg"]
    assert found["taskSpec"]["steps"][1]["script"] == "false|||$(workspaces.gpg.bound)"


def test_the_tasks_own_name_stays_its_name() -> None:
    found = inline(refers(), the_task(steps=[{"name": "s", "image": "a", "script": "echo $(context.task.name)"}]))
    assert found["taskSpec"]["steps"][1]["script"] == "echo t"


def test_resources_change_their_key_with_the_version() -> None:
    limits = {"limits": {"cpu": "1"}}
    old = the_task(steps=[{"name": "s", "image": "a", "resources": limits}], stepTemplate={"resources": limits})
    found = inline(refers(), {**old, "apiVersion": "tekton.dev/v1beta1"})
    assert found["taskSpec"]["steps"][1] == {"name": "s", "image": "a", "computeResources": limits}
    assert found["taskSpec"]["stepTemplate"] == {"computeResources": limits}


# What the resolver is asked.


def params(**values: Any) -> list[dict[str, Any]]:
    return [{"name": name.replace("_", "-"), "value": value} for name, value in values.items()]


def test_a_pipeline_is_asked_for_by_name() -> None:
    request = parse_request(
        params(pipelineref="p", workspaces="a, b,", target="reg.io/x", base="", wrapper="oci"), SETTINGS
    )
    assert isinstance(request, PipelineRequest)
    assert request.source == Reference("p")
    assert request.wrapping == Wrapping(SETTINGS, "reg.io/x", workspaces=("a", "b"))


def test_a_pipeline_is_asked_for_of_another_resolver() -> None:
    text = "resolver: git\nparams:\n- name: url\n  value: https://example.com/a.git\n- {name: revision, value: '1.0'}\n"
    request = parse_request(params(pipelineref=text, target="t", on_conflict="fail", form="inline"), SETTINGS)
    assert isinstance(request, PipelineRequest)
    assert request.source.to_object() == {
        "resolver": "git",
        "params": [{"name": "url", "value": "https://example.com/a.git"}, {"name": "revision", "value": "1.0"}],
    }
    assert (request.wrapping.on_conflict, request.wrapping.form, request.wrapping.workspaces) == (
        "fail",
        "inline",
        None,
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "the parameter pipelineref is missing"),
        ({"pipelineref": ""}, "the parameter pipelineref is missing"),
        ({"pipelineref": "a: b"}, "pipelineref is missing"),
        ({"pipelineref": "p", "wrapper": "s3"}, "wrapper: it is not oci"),
        ({"pipelineref": "p", "targets": "x"}, "parameter targets: there is no such parameter"),
        ({"pipelineref": "p", "form": "both"}, "form: it is both; write references or inline"),
        ({"pipelineref": "p", "on_conflict": "first"}, "on-conflict: it is first; write last or fail"),
        ({"pipelineref": "p", "target": ["x"]}, "value is not a string"),
        ({"taskref": "t"}, "kind: it is not task"),
        ({"kind": "task"}, "taskref is missing"),
        ({"kind": "task", "taskref": "t"}, "not what wrapping a Pipeline puts there"),
    ],
)
def test_what_cannot_be_answered_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UnwrappableError, match=words):
        parse_request(params(**given), SETTINGS)
