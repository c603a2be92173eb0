"""What the resolver `lookup` makes of the objects that it finds."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.spelling.digest import Digest
from agent.errors import UsageError
from agent.tekton.lookup.lookup import Lookup
from agent.tekton.lookup.lookup_answer import answer, is_not_there, not_found, origin_text
from agent.tekton.lookup.lookup_request import LookupRequest, request_in
from agent.tekton.model.object_reference import Reference, reference_of
from agent.tekton.requests.bundle_image import Member
from tests.tekton.schema import check
from tests.tekton.test_lookup import BUNDLE, DIGEST, GIT, STEPS, asks

ORIGIN = {"uri": "reg.io/team/ci", "digest": {"sha256": "a" * 64}, "entryPoint": "p"}
PINNED = f"{BUNDLE}@{DIGEST}"


def asked(kind: str = "pipeline", places: tuple[str, ...] = (BUNDLE,), **fields: Any) -> LookupRequest:
    return LookupRequest(Lookup(places, ",".join(places)), kind, **{"name": "p", **fields})


def obj(kind: str, version: str = "v1", **spec: Any) -> dict[str, Any]:
    meta = {"name": "p", "labels": {"l": "1"}, "annotations": {"a": "b"}, "uid": "u"}
    return {"apiVersion": f"tekton.dev/{version}", "kind": kind, "metadata": meta, "spec": spec, "status": {}}


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_bare_names_in_a_pipeline_are_pinned_to_the_image_that_it_came_from(version: str) -> None:
    value = obj(
        "Pipeline",
        version,
        tasks=[{"name": "a", "taskRef": {"name": "t"}}, {"name": "b", "taskRef": GIT}],
        **{"finally": [{"name": "f", "taskSpec": {"steps": [{"name": "s", "ref": {"name": "act"}}]}}]},
    )
    found = answer(value, asked(), BUNDLE, ORIGIN)
    check(found)
    assert found["apiVersion"] == value["apiVersion"]
    [first, second] = found["spec"]["tasks"]
    pinned = asks("task", "t", PINNED)
    pinned["params"].insert(1, {"name": "written", "value": BUNDLE})
    assert first["taskRef"] == pinned
    request = request_in(second["taskRef"])
    assert request is not None
    assert (request.kind, request.source, str(request.lookup)) == ("task", reference_of(GIT, "x"), PINNED)
    step = found["spec"]["finally"][0]["taskSpec"]["steps"][0]["ref"]
    assert step["params"][0] == {"name": "bundle", "value": PINNED}


def test_only_name_labels_and_annotations_are_passed_on_and_where_it_came_from_is_told() -> None:
    found = answer(obj("Task", steps=STEPS), asked("task"), BUNDLE, ORIGIN)
    assert found["metadata"] == {
        "name": "p",
        "labels": {"l": "1"},
        "annotations": {"a": "b", "instep.dev/task-source": PINNED},
    }
    assert "status" not in found


def test_variables_stand_for_what_the_user_wrote_though_the_bundle_is_pinned() -> None:
    text = "$(context.taskRun.lookupBundle)"
    pinned = LookupRequest(Lookup((PINNED,), BUNDLE), "task", "p")
    found = answer(obj("Task", steps=[{"name": "s", "image": "a", "args": [text]}]), pinned, PINNED, ORIGIN)
    assert found["spec"]["steps"][0]["args"] == [BUNDLE]
    action = answer(obj("StepAction", "v1beta1", image="a", args=[text]), asked("stepaction"), BUNDLE, ORIGIN)
    assert action["spec"]["args"] == [BUNDLE]


def test_of_several_places_the_one_is_pinned_that_had_it() -> None:
    value = obj("Pipeline", tasks=[{"name": "a", "taskRef": {"name": "t"}}])
    places = ("reg.io/a:1", "cluster", BUNDLE)
    found = answer(value, asked(places=places), BUNDLE, ORIGIN)
    [task] = found["spec"]["tasks"]
    assert task["taskRef"]["params"][0]["value"] == f"reg.io/a:1,cluster,{PINNED}"
    assert task["taskRef"]["params"][1]["value"] == f"reg.io/a:1,cluster,{BUNDLE}"


def test_a_pipeline_of_another_source_names_what_it_names_in_the_bundle_as_it_was_written() -> None:
    value = obj("Pipeline", tasks=[{"name": "a", "taskRef": {"name": "t"}}])
    git = {"uri": "git+https://example.com/r.git", "digest": {"sha1": "c" * 40}}
    found = answer(value, asked(source=Reference("", "git"), name=""), "", git)
    assert found["spec"]["tasks"][0]["taskRef"] == asks("task", "t")
    source = found["metadata"]["annotations"]["instep.dev/pipeline-source"]
    assert source == f"git+https://example.com/r.git@sha1:{'c' * 40}"


def test_the_service_account_goes_on_to_the_tasks() -> None:
    value = obj("Pipeline", tasks=[{"name": "a", "taskRef": {"name": "t"}}])
    found = answer(value, asked(service_account="puller"), BUNDLE, ORIGIN)
    assert found["spec"]["tasks"][0]["taskRef"]["params"][-1] == {"name": "serviceAccount", "value": "puller"}


def test_without_a_digest_nothing_is_pinned() -> None:
    value = obj("Pipeline", tasks=[{"name": "a", "taskRef": {"name": "t"}}])
    for origin in ({}, {"uri": "reg.io/team/ci", "digest": None}, {"digest": {"sha256": ""}}):
        found = answer(value, asked(), BUNDLE, origin)
        assert found["spec"]["tasks"][0]["taskRef"] == asks("task", "t")
    assert origin_text("cluster", {}) == "cluster"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (obj("Task", steps=STEPS), "pipeline p: it is a Task; refer to a pipeline"),
        ({"kind": "Pipeline", "metadata": 3}, "metadata is not a mapping"),
        (obj("Pipeline", tasks=[3]), "Pipeline p: tasks is not a list of mappings"),
        (obj("Pipeline", tasks=[{"name": "a", "taskRef": {"name": "t", "kind": "ClusterTask"}}]), "ClusterTask"),
    ],
)
def test_what_is_something_else_is_refused(value: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        answer(value, asked(), BUNDLE, ORIGIN)


def test_who_finds_nothing_is_told_what_there_is() -> None:
    def member(kind: str, name: str) -> Member:
        return Member(kind, name, "tekton.dev/v1", Digest(DIGEST), 1)

    held = {BUNDLE: [member("task", "t"), member("pipeline", "q")], "reg.io/empty:1": []}
    places = (BUNDLE, "cluster", "reg.io/empty:1", "reg.io/closed:1")
    assert str(not_found(asked(places=places), held)) == (
        f"pipeline p: it is not in bundle {BUNDLE}, which has task/t, pipeline/q; not in the namespace; not in bundle "
        "reg.io/empty:1, which has nothing; not in bundle reg.io/closed:1; push the bundle with it, or name what it has"
    )


def test_only_a_bundle_that_was_read_lacks_an_object() -> None:
    assert is_not_there("error requesting remote resource: could not find object in image with kind: task and name: t")
    assert not is_not_there("cannot retrieve the oci image: GET https://reg.io/v2/: UNAUTHORIZED")
    assert not is_not_there("invalid tekton bundle reg.io/x:1, error: the layer 0 does not contain an annotation")
