"""The webhook's decision, with what clients and Tekton send: creation, the same manifest again, status and labels."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from agent.errors import UsageError
from agent.tekton.frontends.admission import review
from agent.tekton.model.names import LOOKUP_BUNDLE
from tests.tekton.schema import check
from tests.tekton.test_lookup import BUNDLE, GIT, asks, run

OTHER = "reg.io/team/ci:other"


def asked(value: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, Any]:
    request = {"uid": "u1", "operation": "UPDATE" if old else "CREATE", "object": value, "oldObject": old}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def response(value: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, Any]:
    before = copy.deepcopy((value, old))
    found = review(asked(value, old))
    assert (value, old) == before
    assert found["apiVersion"] == "admission.k8s.io/v1"
    assert found["kind"] == "AdmissionReview"
    answer = dict(found["response"])
    assert answer.pop("uid") == "u1"
    return answer


def stored(value: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the API server stores: the object with the patch applied, as RFC 6902 has it."""
    answer = response(value, old)
    assert answer.pop("allowed") is True
    if not answer:
        return value
    assert answer["patchType"] == "JSONPatch"
    patched = copy.deepcopy(value)
    for step in json.loads(base64.b64decode(answer["patch"])):
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        place = patched
        for part in path:
            place = place[part]
        assert step["op"] == "add" or last in place
        place[last] = step["value"]
    return patched


def refusal(value: dict[str, Any], old: dict[str, Any] | None = None) -> str:
    answer = response(value, old)
    assert answer["allowed"] is False
    assert answer["status"]["code"] == 422
    return str(answer["status"]["message"])


def after_tekton(value: dict[str, Any]) -> dict[str, Any]:
    """As Tekton's webhook leaves a new run."""
    found = copy.deepcopy(value)
    found["spec"] |= {"timeouts": {"pipeline": "1h0m0s"}, "taskRunTemplate": {"serviceAccountName": "default"}}
    return found


def applied(manifest: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    """What `kubectl apply` of a manifest sends for what is there: a JSON merge patch, which leaves what it lacks."""

    def merged(new: Any, old: Any) -> Any:
        if not isinstance(new, dict) or not isinstance(old, dict):
            return new
        return {**old, **{key: merged(value, old.get(key)) for key, value in new.items()}}

    found: dict[str, Any] = merged(manifest, live)
    return found


SPECS: list[dict[str, Any]] = [
    {"pipelineRef": {"name": "p"}},
    {"pipelineRef": GIT},
    {"pipelineRef": {"resolver": "wrap", "params": [{"name": "pipelineref", "value": "p"}]}},
    {"pipelineSpec": {"tasks": [{"name": "a", "taskRef": {"name": "t"}}, {"name": "b", "taskSpec": {"steps": []}}]}},
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "spelling", [{"says": {"bundle": BUNDLE}}, {"annotation": BUNDLE}, {"annotation": f" {BUNDLE}"}]
)
def test_the_same_manifest_may_be_applied_again(spec: dict[str, Any], spelling: dict[str, Any]) -> None:
    manifest = run(**spelling, **spec)
    live = after_tekton(stored(manifest))
    check(live)
    assert live["metadata"]["annotations"][LOOKUP_BUNDLE] == BUNDLE
    assert stored(applied(manifest, live), live) == live
    # kubectl replace sends the manifest alone, without what Tekton added.
    again = stored(manifest, live)
    assert after_tekton(again) == live


def test_a_changed_manifest_differs_from_what_is_stored_so_that_tekton_refuses_it() -> None:
    live = after_tekton(stored(run(annotation=BUNDLE, pipelineRef={"name": "p"})))
    changed = applied(run(annotation=BUNDLE, pipelineRef={"name": "q"}), live)
    assert stored(changed, live)["spec"]["pipelineRef"] == asks("pipeline", "q")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (
            {"annotation": BUNDLE},
            {"annotation": OTHER},
            f"created with lookup {BUNDLE}, and that cannot become {OTHER}",
        ),
        ({"annotation": BUNDLE}, {"says": {"bundle": OTHER}}, f"cannot become {OTHER}"),
        ({"says": {"bundle": BUNDLE}}, {"says": {"bundle": OTHER}}, f"cannot become {OTHER}"),
        ({"says": {"bundle": BUNDLE}}, {"says": [{"bundle": BUNDLE}, {"cluster": True}]}, "cannot become"),
        ({}, {"annotation": BUNDLE}, "created without a lookup"),
        ({}, {"says": {"bundle": BUNDLE}}, "created without a lookup"),
    ],
)
def test_the_bundle_of_a_run_cannot_be_changed(first: dict[str, Any], second: dict[str, Any], words: str) -> None:
    live = after_tekton(stored(run(**first, pipelineRef={"name": "p"})))
    assert words in refusal(applied(run(**second, pipelineRef={"name": "p"}), live), live)


def test_the_annotation_cannot_be_taken_off() -> None:
    live = stored(run(annotation=BUNDLE, pipelineRef={"name": "p"}))
    assert "cannot become none" in refusal({**live, "metadata": {"name": "r"}}, live)
    assert "cannot become none" in refusal({**live, "metadata": {"name": "r", "annotations": {"a": "b"}}}, live)


def test_labels_status_and_finalizers_of_a_run_can_be_changed() -> None:
    live = after_tekton(stored(run(says={"bundle": BUNDLE}, pipelineRef={"name": "p"})))
    labelled = {**live, "metadata": {**live["metadata"], "labels": {"a": "b"}, "finalizers": []}}
    assert response(labelled, live) == {"allowed": True}
    cancelled = {**live, "spec": {**live["spec"], "status": "Cancelled"}}
    assert response(cancelled, live) == {"allowed": True}


def test_a_run_that_was_there_before_the_webhook_can_be_updated_and_deleted() -> None:
    for before in (
        run(annotation=BUNDLE, pipelineRef={"name": "p"}),
        run(annotation="no bundle at all", pipelineRef={"name": "p"}),
    ):
        after = {**before, "metadata": {**before["metadata"], "finalizers": []}}
        assert response(after, before) == {"allowed": True}


def test_a_run_without_a_name_yet_is_rewritten() -> None:
    value = run(says={"bundle": BUNDLE}, pipelineRef={"name": "p"})
    value["metadata"] = {"generateName": "r-"}
    assert stored(value)["spec"]["pipelineRef"] == asks("pipeline", "p")


def test_other_annotations_stay() -> None:
    value = run(says={"bundle": BUNDLE}, pipelineRef={"name": "p"})
    value["metadata"]["annotations"] = {"a/b": "c"}
    assert stored(value)["metadata"]["annotations"] == {"a/b": "c", LOOKUP_BUNDLE: BUNDLE}


def test_the_task_runs_that_tekton_makes_pass_and_a_bare_one_among_them_is_looked_up() -> None:
    annotations = {LOOKUP_BUNDLE: BUNDLE}
    owner = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "r", "uid": "u"}
    made = {**run("TaskRun", taskRef=asks("task", "t")), "metadata": {"annotations": annotations, "owners": [owner]}}
    assert response(made) == {"allowed": True}
    bare = {**made, "spec": {"taskRef": {"name": "t", "kind": "Task"}}}
    assert stored(bare)["spec"]["taskRef"] == asks("task", "t")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (run(says={"bundle": BUNDLE}, annotation=OTHER, pipelineRef={"name": "p"}), "leave one of them out"),
        (run(says={"bundle": "oci:/tmp/x:1"}, pipelineRef={"name": "p"}), "is a directory, which the cluster cannot"),
        (run(says={"bundle": ""}, pipelineRef={"name": "p"}), "names no bundle"),
        (run(annotation=BUNDLE, pipelineRef={"params": []}), "names neither a Pipeline nor a resolver"),
        (run(annotation=BUNDLE, pipelineRef=3), "pipelineRef is not a mapping"),
        ({**run(), "kind": "Pod"}, "it is a Pod"),
        ({**run(), "spec": [1]}, "spec is not a mapping"),
        ({"kind": "TaskRun", "metadata": []}, "metadata is not a mapping"),
    ],
)
def test_what_is_wrong_is_refused_with_words(value: dict[str, Any], words: str) -> None:
    assert words in refusal(value)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "u"}},
        {"apiVersion": "admission.k8s.io/v1"},
        {"apiVersion": "admission.k8s.io/v1", "request": {"uid": 3}},
    ],
)
def test_what_is_no_review_is_no_answer(value: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no AdmissionReview"):
        review(value)
