"""Whatever is sent, asked, or found in a bundle ends in an answer or in the declared error."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.spelling.digest import Digest
from agent.errors import AgentError, NotInBundleError, UsageError
from agent.tekton.frontends.admission import review
from agent.tekton.frontends.render_objects import render
from agent.tekton.frontends.render_request import RenderOptions
from agent.tekton.lookup.bundle_rewrite import BundleRewrite
from agent.tekton.lookup.lookup_answer import answer
from agent.tekton.lookup.lookup_field import field_patch
from agent.tekton.lookup.lookup_request import request_in
from agent.tekton.model import documents
from agent.tekton.requests.bundle_image import Member
from tests.property.edits import laws
from tests.tekton.made import SETTINGS, spec, task, the_task
from tests.tekton.test_admission import asked
from tests.tekton.test_lookup import BUNDLE, DIGEST, asks, run
from tests.tekton.test_render import _spoil as spoil

OWN_PARAMS = {"bundle": "reg.io/own:1", "kind": "task", "name": "t"}
OWN = {"resolver": "bundles", "params": [{"name": key, "value": value} for key, value in OWN_PARAMS.items()]}
TASKS = [
    {"name": "a", "taskRef": {"name": "t"}, "workspaces": [{"name": "ws"}], "params": [{"name": "p", "value": "v"}]},
    {"name": "b", "taskRef": OWN},
    {"name": "c", "taskSpec": {"steps": [{"name": "s", "ref": {"name": "act"}}]}},
    {"name": "d", "pipelineRef": {"name": "q"}},
    {"name": "e", "pipelineSpec": {"tasks": [task("f")]}},
    {"name": "g", "taskRef": {"apiVersion": "tekton.dev/v1alpha1", "kind": "OCIPipeline", "name": "q"}},
]
PIPELINE = {
    "apiVersion": "tekton.dev/v1",
    "kind": "Pipeline",
    "metadata": {"name": "p", "labels": {"l": "1"}, "annotations": {"a": "b"}},
    "spec": {"tasks": TASKS, "finally": [task("z")], "workspaces": [{"name": "ws"}], "params": [{"name": "p"}]},
}
INNER = {"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "q"}, "spec": {"tasks": [task("y")]}}
TASK = the_task("t", params=[{"name": "p", "default": "d"}])
ACTION = {"apiVersion": "tekton.dev/v1beta1", "kind": "StepAction", "metadata": {"name": "act"}, "spec": spec()}
WRAP = {
    "resolver": "wrap",
    "params": [{"name": "pipelineref", "value": "p"}, {"name": "target", "value": "reg.io/x:y"}],
}
RUNS = [
    run(says={"bundle": BUNDLE}, pipelineRef={"name": "p"}),
    run(says=[{"bundle": BUNDLE}, {"cluster": True}], pipelineSpec=PIPELINE["spec"]),
    run(annotation=BUNDLE, pipelineRef=WRAP, workspaces=[{"name": "ws", "emptyDir": {}}]),
    run("TaskRun", annotation=BUNDLE, taskRef={"name": "t"}),
]


class Memory:
    """A bundle that has whatever it is given."""

    def __init__(self, *values: dict[str, Any]) -> None:
        self.values = values

    def get(self, place: str, kind: str, name: str) -> dict[str, Any]:
        for value in self.values:
            if (str(value.get("kind")).lower(), (value.get("metadata") or {}).get("name")) == (kind, name):
                return value
        raise NotInBundleError("no", subject=name, remedy="none")

    def members(self, place: str) -> list[Member]:
        names = [("task", "t"), ("pipeline", "p"), ("pipeline", "q"), ("stepaction", "act")]
        return [Member(kind, name, "tekton.dev/v1", Digest(DIGEST), 1) for kind, name in names]

    def digest(self, place: str) -> str:
        return DIGEST


@laws
@given(st.sampled_from(RUNS), st.booleans(), st.data())
def test_a_spoilt_review_is_answered(value: dict[str, Any], updates: bool, data: st.DataObject) -> None:
    sent = copy.deepcopy(asked(value, copy.deepcopy(value) if updates else None))
    spoil(sent["request"] if data.draw(st.booleans()) else sent, data)
    try:
        json.dumps(review(sent))
    except AgentError as error:
        assert error.exit_code == 2


@laws
@given(st.sampled_from([PIPELINE, TASK, ACTION]), st.sampled_from(["pipeline", "task", "stepaction"]), st.data())
def test_a_spoilt_object_is_answered_or_refused(value: dict[str, Any], kind: str, data: st.DataObject) -> None:
    value, reference, origin = copy.deepcopy(value), asks(kind, "p"), {"uri": "u", "digest": {"sha256": "a"}}
    spoil(data.draw(st.sampled_from([value, reference, origin])), data)
    try:
        request = request_in(reference)
        if request is not None:
            json.dumps(answer(value, request, BUNDLE, origin))
    except AgentError as error:
        assert error.exit_code == 2


@laws
@given(st.sampled_from(RUNS), st.data())
def test_a_spoilt_bundle_or_run_is_rendered_or_refused(value: dict[str, Any], data: st.DataObject) -> None:
    found = [copy.deepcopy(item) for item in (value, PIPELINE, INNER, TASK, ACTION)]
    for _ in range(data.draw(st.integers(0, 2))):
        spoil(data.draw(st.sampled_from(found)), data)
    wish = RenderOptions(SETTINGS, bundle_rewrites=(BundleRewrite("reg.io/x", "reg.io/y:1"),))
    held = [item for item in found[1:] if isinstance(item.get("metadata"), dict | None)]
    try:
        documents.write(render(found[:1], wish, Memory(*held)))
    except AgentError as error:
        assert error.exit_code == 2


def test_unspoilt_they_are_rendered() -> None:
    for value in RUNS:
        [found] = render([value], RenderOptions(SETTINGS), Memory(PIPELINE, INNER, TASK, ACTION))
        assert '"name": "t"' not in json.dumps(found["spec"])


def test_a_pipeline_that_holds_itself_is_refused() -> None:
    endless = {**INNER, "spec": {"tasks": [{"name": "again", "pipelineRef": {"name": "q"}}]}}
    with pytest.raises(UsageError, match="it holds itself"):
        render(RUNS[:1], RenderOptions(SETTINGS), Memory(PIPELINE, endless, TASK, ACTION))


@laws
@given(st.data())
def test_a_spoilt_crd_is_patched_or_refused(data: st.DataObject) -> None:
    schema = {"openAPIV3Schema": {"properties": {"spec": {"properties": {"params": {}}}}}}
    crd = {"metadata": {"name": "n"}, "spec": {"versions": [{"name": "v1", "schema": schema}]}}
    spoil(crd, data)
    try:
        field_patch(crd)
    except AgentError as error:
        assert error.exit_code == 2
