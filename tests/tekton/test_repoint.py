"""References to one bundle are made to name another."""

from __future__ import annotations

from typing import Any

import pytest

from agent.errors import UsageError
from agent.tekton.lookup.bundle_rewrite import BundleRewrite, parse_bundle_rewrite, rewrite_bundles
from agent.tekton.model.names import LOOKUP_BUNDLE
from tests.tekton.test_lookup import DIGEST, GIT, run

NEW = "reg.io/ci:pr-7"


def at(bundle: str) -> dict[str, Any]:
    params = [{"name": "bundle", "value": bundle}, {"name": "name", "value": "t"}, {"name": "kind", "value": "task"}]
    return {"resolver": "bundles", "params": params}


@pytest.mark.parametrize(
    ("old", "hit", "missed"),
    [
        ("reg.io/ci", ["reg.io/ci", "reg.io/ci:1", f"reg.io/ci@{DIGEST}", f"reg.io/ci:1@{DIGEST}"], ["reg.io/ci2:1"]),
        ("reg.io/ci:1", ["reg.io/ci:1"], ["reg.io/ci", "reg.io/ci:2", f"reg.io/ci@{DIGEST}", "reg.io:443/ci:1"]),
        ("reg.io/ci:latest", ["reg.io/ci", "reg.io/ci:latest"], ["reg.io/ci:1"]),
        (f"reg.io/ci@{DIGEST}", [f"reg.io/ci@{DIGEST}"], ["reg.io/ci:1"]),
        ("reg.io/ci", [], ["$(params.bundle)", "ubuntu", ""]),
    ],
)
def test_a_bundle_without_a_version_stands_for_all_of_its_versions(old: str, hit: list[str], missed: list[str]) -> None:
    bundle_rewrite = BundleRewrite(old, NEW)
    assert [bundle_rewrite.of(place) for place in hit] == [NEW] * len(hit)
    assert [bundle_rewrite.of(place) for place in missed] == missed


def test_explicit_references_are_found_wherever_they_stand() -> None:
    old, new = at("reg.io/ci:1"), at(NEW)
    tasks = lambda reference: {  # noqa: E731
        "tasks": [
            {"name": "a", "taskRef": reference},
            {"name": "b", "pipelineRef": reference},
            {"name": "c", "pipelineSpec": {"tasks": [{"name": "d", "taskRef": reference}]}},
            {"name": "e", "taskSpec": {"steps": [{"name": "s", "ref": reference}]}},
            {"name": "g", "taskRef": GIT},
        ],
        "finally": [{"name": "f", "taskRef": reference}],
    }
    bundle_rewrites = [BundleRewrite("reg.io/other", "reg.io/x:1"), BundleRewrite("reg.io/ci", NEW)]
    pipeline = {"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "p"}}
    assert rewrite_bundles({**pipeline, "spec": tasks(old)}, bundle_rewrites)["spec"] == tasks(new)
    assert rewrite_bundles(run(pipelineSpec=tasks(old)), bundle_rewrites)["spec"]["pipelineSpec"] == tasks(new)
    assert rewrite_bundles(run("TaskRun", taskRef=old), bundle_rewrites)["spec"]["taskRef"] == new
    task = {"kind": "Task", "spec": {"steps": [{"ref": old}]}}
    assert rewrite_bundles(task, bundle_rewrites)["spec"] == {"steps": [{"ref": new}]}


def test_the_field_of_old_and_a_wrapped_pipeline_are_explicit_references_too() -> None:
    bundle_rewrites = [BundleRewrite("reg.io/ci:1", NEW)]
    old = run(pipelineRef={"name": "p", "bundle": "reg.io/ci:1"})
    assert rewrite_bundles(old, bundle_rewrites)["spec"]["pipelineRef"] == {"name": "p", "bundle": NEW}
    params = [
        {"name": "pipelineref.resolver", "value": "bundles"},
        {"name": "pipelineref.params.bundle", "value": "reg.io/ci:1"},
        {"name": "target", "value": "reg.io/ws:1"},
    ]
    wrapped = rewrite_bundles(run(pipelineRef={"resolver": "wrap", "params": params}), bundle_rewrites)["spec"][
        "pipelineRef"
    ]
    assert {"name": "pipelineref.params.bundle", "value": NEW} in wrapped["params"]
    assert {"name": "target", "value": "reg.io/ws:1"} in wrapped["params"]


def test_where_a_run_looks_things_up_is_re_pointed_too() -> None:
    bundle_rewrites = [BundleRewrite("reg.io/ci:1", NEW)]
    for value in (run(annotation="reg.io/ci:1,cluster"), run(says=[{"bundle": "reg.io/ci:1"}, {"cluster": True}])):
        found = rewrite_bundles(value, bundle_rewrites)
        assert found["metadata"]["annotations"] == {LOOKUP_BUNDLE: f"{NEW},cluster"}
        assert found["spec"] == {}


def test_the_rest_stays_as_it_is() -> None:
    bundle_rewrites = [BundleRewrite("reg.io/ci:1", NEW)]
    for value in ({"kind": "ConfigMap", "spec": [1]}, {"kind": "EventListener", "spec": at("reg.io/ci:1")}, {"a": 1}):
        assert rewrite_bundles(value, bundle_rewrites) == value
    found = run(pipelineRef={"name": "p"}, params=[{"name": "bundle", "value": "reg.io/ci:1"}])
    assert rewrite_bundles(found, bundle_rewrites) == found
    assert rewrite_bundles(found, []) is found


@pytest.mark.parametrize("word", ["reg.io/ci:1", "=reg.io/x:1", "reg.io/ci:1=", "ci=reg.io/x:1", "reg.io/a:1=b"])
def test_what_is_not_old_and_new_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        parse_bundle_rewrite(word)
