"""PipelineRuns that ask by annotations to be wrapped: what the webhook makes of them, and what may change later."""

from __future__ import annotations

import copy
import json
from base64 import b64decode
from typing import Any

import pytest

from agent.tekton.frontends.admission import admit
from agent.tekton.frontends.render_objects import render
from agent.tekton.frontends.render_request import RenderOptions
from agent.tekton.frontends.wrap_annotations import wrap_run, wrapping_asked
from agent.tekton.model.names import LOOKUP_BUNDLE
from agent.tekton.requests.request import PipelineRequest, parse_request, request_of
from tests.tekton.made import SETTINGS, pipeline, task
from tests.tekton.referenced import problems_of_pipeline
from tests.tekton.schema import check
from tests.tekton.test_admission import after_tekton, applied, refusal, response, stored
from tests.tekton.test_lookup import BUNDLE, GIT, asks
from tests.tekton.test_resolution import request, walk

TARGET = "reg.io/ws-{{workspace}}:$(context.pipelineRun.name)"
EMBEDDED = {"tasks": [task("a"), task("b", "a", params=[{"name": "p", "value": "$(params.given)"}])]}


def run(says: dict[str, str] | None = None, /, version: str = "v1", **spec: Any) -> dict[str, Any]:
    """A run that asks to be wrapped; `says` are the annotations behind `instep.dev/wrap`."""
    annotations = {f"instep.dev/wrap{key}": value for key, value in (says or {".target": TARGET}).items()}
    return {
        "apiVersion": f"tekton.dev/{version}",
        "kind": "PipelineRun",
        "metadata": {"generateName": "r-", "annotations": annotations},
        "spec": {"workspaces": [{"name": "ws", "emptyDir": {}}], **spec},
    }


def asked(value: dict[str, Any]) -> PipelineRequest:
    found = parse_request(value["spec"]["pipelineRef"]["params"], SETTINGS)
    assert isinstance(found, PipelineRequest)
    return found


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_an_embedded_spec_moves_into_a_parameter_of_the_resolver(version: str) -> None:
    value = run(version=version, pipelineSpec=EMBEDDED, params=[{"name": "given", "value": "v"}])
    found = stored(value)
    check(found)
    assert "pipelineSpec" not in found["spec"]
    assert found["spec"]["pipelineRef"]["resolver"] == "wrap"
    assert {key: found["spec"][key] for key in ("params", "workspaces")} == {
        key: value["spec"][key] for key in ("params", "workspaces")
    }
    assert found["metadata"] == value["metadata"]
    assert asked(found).source == {"apiVersion": f"tekton.dev/{version}", "kind": "Pipeline", "spec": EMBEDDED}
    assert asked(found).wrapping.target == TARGET


@pytest.mark.parametrize("reference", [{"name": "p"}, GIT])
def test_what_is_referred_to_is_wrapped_by_the_same_annotations(reference: dict[str, Any]) -> None:
    found = stored(run(pipelineRef=reference))
    check(found)
    source = asked(found).source
    assert source.to_object() == reference


def test_each_parameter_of_the_resolver_has_an_annotation() -> None:
    says = {
        ".target": TARGET,
        ".base": "reg.io/base:1",
        ".workspaces": "a,b",
        ".on-conflict": "fail",
        ".form": "inline",
    }
    wrapping = asked(stored(run(says, pipelineSpec=EMBEDDED))).wrapping
    assert (wrapping.target, wrapping.base, wrapping.workspaces) == (TARGET, "reg.io/base:1", ("a", "b"))
    assert (wrapping.on_conflict, wrapping.form) == ("fail", "inline")
    # The installation's defaults hold for what is not said.
    assert asked(stored(run({"": "true"}, pipelineSpec=EMBEDDED))).wrapping.target == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (run({".traget": TARGET}, pipelineSpec=EMBEDDED), "annotation instep.dev/wrap.traget: there is no such ann"),
        (run({"ping": "x"}, pipelineSpec=EMBEDDED), "annotation instep.dev/wrapping: there is no such annotation"),
        (run({"": "yes"}, pipelineSpec=EMBEDDED), "annotation instep.dev/wrap: it is 'yes'; write 'true'"),
        (run(pipelineRef={}), "pipelineRef, the parameter name is missing".replace(", the", ": the")),
        (run(pipelineRef={"name": "p", "bundle": "reg.io/b:1"}), "names neither a Pipeline of the namespace nor"),
        (run(pipelineRef={"name": "https://example.com/p.yaml"}), "names neither a Pipeline of the namespace nor"),
        (run(pipelineSpec=[1]), "pipelineSpec is not a mapping"),
        (run(pipelineSpec={"x": "y" * 300_000}), "its Pipeline has"),
        (
            run(pipelineRef={"resolver": "wrap", "params": [{"name": "pipelineref", "value": "p"}]}),
            "it names the resolver wrap, and its annotations ask for another wrapping",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_words(value: dict[str, Any], words: str) -> None:
    assert words in refusal(value)


def test_a_run_with_a_reference_and_a_spec_is_left_to_tekton_which_refuses_it() -> None:
    assert response(run(pipelineRef={"name": "p"}, pipelineSpec=EMBEDDED)) == {"allowed": True}


def test_what_is_stored_can_be_created_again_under_another_name() -> None:
    live = stored(run(pipelineSpec=EMBEDDED))
    copied = {**live, "metadata": {**live["metadata"], "name": "copy"}}
    assert response(copied) == {"allowed": True}
    assert wrap_run(copied, "x") == copied


def test_runs_that_tekton_makes_for_tasks_have_the_annotations_and_ask_for_nothing() -> None:
    owner = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "r", "uid": "u", "controller": True}
    child = run(pipelineRef={"name": "p"})
    child["metadata"]["ownerReferences"] = [owner]
    assert wrapping_asked(child, "x") is None
    assert response(child) == {"allowed": True}
    task_run = {**run(taskRef={"name": "t"}), "kind": "TaskRun"}
    assert response(task_run) == {"allowed": True}


# Applied again, and changed.

SPECS: list[dict[str, Any]] = [
    {"pipelineSpec": EMBEDDED},
    {"pipelineRef": {"name": "p"}},
    {"pipelineRef": GIT},
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("lookup", [False, True])
def test_the_same_manifest_may_be_applied_again(spec: dict[str, Any], lookup: bool) -> None:
    manifest = run(**spec)
    manifest["metadata"] |= {"name": "r"}
    if lookup:
        manifest["metadata"]["annotations"][LOOKUP_BUNDLE] = BUNDLE
    live = after_tekton(stored(manifest))
    check(live)
    assert stored(applied(manifest, live), live) == live
    assert after_tekton(stored(manifest, live)) == live
    assert stored(applied(manifest, live), stored(applied(manifest, live), live)) == live


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"pipelineSpec": EMBEDDED}, {"pipelineSpec": {"tasks": [task("a")]}}),
        ({"pipelineRef": {"name": "p"}}, {"pipelineRef": {"name": "q"}}),
        ({"pipelineRef": GIT}, {"pipelineRef": {**GIT, "params": []}}),
    ],
)
def test_a_changed_manifest_differs_from_what_is_stored_so_that_tekton_refuses_it(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    live = after_tekton(stored(run(**first)))
    now = stored(applied(run(**second), live), live)
    assert now["spec"]["pipelineRef"] != live["spec"]["pipelineRef"]
    assert stored(run(**second))["spec"]["pipelineRef"] == now["spec"]["pipelineRef"]


def test_the_annotations_of_a_run_cannot_be_changed_or_taken_off() -> None:
    live = after_tekton(stored(run(pipelineSpec=EMBEDDED)))
    for says in ({".target": "reg.io/else:1"}, {".target": TARGET, ".form": "inline"}):
        assert "are not those that it was created with" in refusal({**live, "metadata": run(says)["metadata"]}, live)
    assert "are not those that it was created with" in refusal({**live, "metadata": {"name": "r"}}, live)


def test_status_labels_and_finalizers_of_a_run_can_be_changed() -> None:
    stored_before = run(pipelineSpec=EMBEDDED)  # when there was no webhook
    for live in (after_tekton(stored(run(pipelineSpec=EMBEDDED))), stored_before, run({"": "no"}, pipelineRef={})):
        labelled = {**live, "metadata": {**live["metadata"], "labels": {"a": "b"}, "finalizers": []}}
        assert response(labelled, live) == {"allowed": True}
        cancelled = {**live, "spec": {**live["spec"], "status": "Cancelled"}}
        assert response(cancelled, live) == {"allowed": True}


def test_a_run_with_a_lookup_that_was_there_before_the_webhook_can_be_cancelled() -> None:
    live = {**run(pipelineRef={"name": "p"}), "metadata": {"name": "r", "annotations": {LOOKUP_BUNDLE: BUNDLE}}}
    assert response({**live, "spec": {**live["spec"], "status": "Cancelled"}}, live) == {"allowed": True}


# With a lookup.


def test_what_is_wrapped_is_looked_up_first() -> None:
    value = run(pipelineSpec={"tasks": [{"name": "a", "taskRef": {"name": "t"}}]})
    value["metadata"]["annotations"][LOOKUP_BUNDLE] = BUNDLE
    assert asked(stored(value)).source["spec"]["tasks"][0]["taskRef"] == asks("task", "t")
    value = run(pipelineRef={"name": "p"})
    value["metadata"]["annotations"][LOOKUP_BUNDLE] = BUNDLE
    assert asked(stored(value)).source.to_object() == asks("pipeline", "p")


# What the resolver answers.


def answer(value: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The Pipeline that the resolver answers with for a run, as Tekton asks for it."""
    live = admit(value, None)
    meta = {**live["metadata"], "name": "run-1", "namespace": "ci", "uid": "0b3f"}
    asked_for = request()
    asked_for["spec"]["params"] = json.loads(
        json.dumps(live["spec"]["pipelineRef"]["params"]).replace("$(context.pipelineRun.name)", "run-1")
    )
    steps, outcome = walk(asked_for, {**live, "metadata": meta, **more})
    assert len(steps) == 1
    assert outcome.refusal is None, outcome.refusal
    found = json.loads(b64decode(outcome.status["data"]))
    check(found)
    assert list(problems_of_pipeline(found["spec"])) == []
    assert outcome.status["refSource"]["uri"] == "/apis/tekton.dev/v1/namespaces/ci/pipelinerun/run-1@0b3f"
    return dict(found)


def test_the_answer_is_the_spec_wrapped_and_called_as_the_run() -> None:
    """As with a spec that stays in the run, `$(context.pipeline.name)` is the run's name."""
    found = answer(run(pipelineSpec=EMBEDDED, params=[{"name": "given", "value": "v"}]))
    assert found["metadata"] == {"name": "run-1"}
    assert found["spec"]["params"] == [{"name": "given", "type": "string"}]
    assert found["spec"]["workspaces"] == [{"name": "ws"}]
    first, second = found["spec"]["tasks"]
    assert [step["name"] for step in first["taskSpec"]["steps"]] == ["instep-pull", "work", "instep-push"]
    assert [step["name"] for step in second["taskSpec"]["steps"]] == ["instep-pull", "work", "instep-push"]
    assert second["params"] == EMBEDDED["tasks"][1]["params"]
    assert "reg.io/ws-ws:run-1" in first["taskSpec"]["steps"][2]["args"][2]


def test_text_of_the_spec_that_looks_like_json_or_a_variable_stays_what_it_is() -> None:
    texts = ['"}]}', "$(context.pipelineRun.name)", "$$(x)", "\\u0024(params.p)", "é\u2028", "$(params.given)"]
    step = {"name": "work", "image": "a", "args": texts}
    spec = {"tasks": [task("a", taskSpec={"workspaces": [{"name": "ws"}], "steps": [step]})]}
    found = answer(run(pipelineSpec=spec, params=[{"name": "given", "value": '"}'}]))
    assert found["spec"]["tasks"][0]["taskSpec"]["steps"][1] == step


def test_what_cannot_be_wrapped_is_refused_in_the_name_of_the_run() -> None:
    live = admit(run(pipelineSpec=pipeline(task("a", taskRef={"apiVersion": "x/v1", "kind": "Y"}))), None)
    asked_for = request()
    asked_for["spec"]["params"] = live["spec"]["pipelineRef"]["params"]
    _, outcome = walk(asked_for, {**live, "metadata": {"name": "run-1", "uid": "0b3f"}})
    assert str(outcome.refusal).startswith("PipelineRun run-1, task a, taskRef: it is a custom task")


# Rendered.


def test_render_does_what_the_annotations_ask_and_takes_them_off() -> None:
    value = run(pipelineSpec=EMBEDDED)
    value["metadata"]["annotations"]["other"] = "x"
    before = copy.deepcopy(value)
    [found] = render([value], RenderOptions(SETTINGS))
    assert value == before
    check(found)
    assert found["metadata"]["annotations"] == {"other": "x"}
    assert "pipelineRef" not in found["spec"]
    steps = [step["name"] for step in found["spec"]["pipelineSpec"]["tasks"][1]["taskSpec"]["steps"]]
    assert steps == ["instep-pull", "work", "instep-push"]
    named = {"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "spec": pipeline(task("a"))}
    wrapped, ran = render([named, run(pipelineRef={"name": "p"})], RenderOptions(SETTINGS))
    assert [step["name"] for step in wrapped["spec"]["tasks"][0]["taskSpec"]["steps"]] == [
        "instep-pull",
        "work",
        "instep-push",
    ]
    assert ran["spec"]["pipelineRef"] == {"name": "p"}
    assert "annotations" not in ran["metadata"]


def test_render_writes_a_packed_spec_back_into_the_run() -> None:
    live = stored(run(pipelineSpec=EMBEDDED))
    assert request_of(live, SETTINGS) is not None
    assert render([live], RenderOptions(SETTINGS)) == render([run(pipelineSpec=EMBEDDED)], RenderOptions(SETTINGS))
    # Also if there is nothing to wrap.
    [found] = render([{**live, "spec": {**live["spec"], "workspaces": []}}], RenderOptions(SETTINGS))
    assert found["spec"]["pipelineSpec"] == EMBEDDED


def test_a_spec_of_the_old_version_is_written_back_in_the_version_of_the_run() -> None:
    """Kubernetes gives a run of v1beta1 as v1; what is packed stays what it was."""
    steps = [{"name": "work", "image": "a", "resources": {"limits": {"cpu": "1"}}}]
    spec = {"tasks": [task("a", taskSpec={"workspaces": [{"name": "ws"}], "steps": steps})]}
    live = {**stored(run(version="v1beta1", pipelineSpec=spec)), "apiVersion": "tekton.dev/v1"}
    [found] = render([live], RenderOptions(SETTINGS))
    check(found)
    assert found["spec"]["pipelineSpec"]["tasks"][0]["taskSpec"]["steps"][1]["computeResources"] == {
        "limits": {"cpu": "1"}
    }
