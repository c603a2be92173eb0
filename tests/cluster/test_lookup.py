"""Lookups on a real Kubernetes with Tekton, the controller and the webhook of config/lookup; see test_tekton.py.

Needs INSTEP_CLUSTER_BUNDLE, too: a reference that can be pushed to from here and be read by the cluster. With
INSTEP_CLUSTER_PLAIN_HTTP=1 it is pushed without TLS; docs/reference/lookup.md says which names Tekton reads so.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from agent.core.spelling.reference import parse_reference
from agent.store import StoreOptions, open_store
from agent.sync.commands.store_bundle import push_bundle
from agent.tekton.model.names import LOOKUP_BUNDLE
from tests.cluster.test_tekton import IMAGE, NAMESPACE, TARGET, condition, create, ended, kubectl

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.environ.get("INSTEP_CLUSTER_TESTS") != "1", reason="INSTEP_CLUSTER_TESTS is not 1"),
    pytest.mark.skipif("INSTEP_CLUSTER_BUNDLE" not in os.environ, reason="INSTEP_CLUSTER_BUNDLE is not set"),
]
BUNDLE = os.environ.get("INSTEP_CLUSTER_BUNDLE", "")


def value(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    version = "v1beta1" if kind == "StepAction" else "v1"
    return {"apiVersion": f"tekton.dev/{version}", "kind": kind, "metadata": {"name": name}, "spec": spec}


SAYS = "printf '%s' '$(context.taskRun.lookupBundle)' > $(results.said.path)"
OBJECTS = [
    value("StepAction", "instep-act", image=IMAGE, command=["true"]),
    value(
        "Task",
        "instep-only-in-the-bundle",
        results=[{"name": "said"}],
        steps=[{"name": "act", "ref": {"name": "instep-act"}}, {"name": "say", "image": IMAGE, "script": SAYS}],
    ),
    value(
        "Pipeline",
        "instep-only-in-the-bundle",
        tasks=[{"name": "one", "taskRef": {"name": "instep-only-in-the-bundle"}}],
        results=[{"name": "said", "value": "$(tasks.one.results.said)"}],
    ),
    value("Pipeline", "instep-lacks", tasks=[{"name": "one", "taskRef": {"name": "instep-nowhere"}}]),
]


@pytest.fixture(scope="module")
def digest() -> str:
    reference = parse_reference(BUNDLE)
    options = StoreOptions(plain_http=os.environ.get("INSTEP_CLUSTER_PLAIN_HTTP") == "1", environ=os.environ)
    return push_bundle(open_store(reference, options), reference, OBJECTS).digest


def manifest(name: str, pipeline: str = "instep-only-in-the-bundle", bundle: str = BUNDLE) -> dict[str, Any]:
    meta = {"name": name, "annotations": {LOOKUP_BUNDLE: bundle}}
    spec = {"pipelineRef": {"name": pipeline}}
    return {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": meta, "spec": spec}


def named(prefix: str) -> str:
    return f"{prefix}-{os.urandom(4).hex()}"


def test_a_task_that_is_in_the_bundle_only_runs(digest: str) -> None:
    name = named("instep-lookup")
    kubectl("create", "-f", "-", stdin=manifest(name))
    run = ended("pipelinerun", name)
    assert condition(run)["status"] == "True", condition(run)
    assert run["status"]["results"] == [{"name": "said", "value": BUNDLE}]
    assert run["metadata"]["annotations"]["instep.dev/pipeline-source"] == f"{BUNDLE}@{digest}"
    [task_run] = kubectl("get", "taskrun", "--selector", f"tekton.dev/pipelineRun={name}")["items"]
    assert task_run["metadata"]["annotations"]["instep.dev/task-source"] == f"{BUNDLE}@{digest}"


def test_the_same_manifest_is_applied_again_and_another_bundle_is_refused(digest: str) -> None:
    name = named("instep-again")
    first = kubectl("apply", "-f", "-", stdin=manifest(name))
    again = kubectl("apply", "-f", "-", stdin=manifest(name))
    assert again["spec"] == first["spec"]
    other = json.dumps(manifest(name, bundle=f"{BUNDLE}-other"))
    words = ["kubectl", "--namespace", NAMESPACE, "apply", "-f", "-"]
    done = subprocess.run(words, input=other, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "cannot become" in done.stderr


def test_a_missing_object_fails_the_run_with_what_there_is(digest: str) -> None:
    name = named("instep-lacks")
    kubectl("create", "-f", "-", stdin=manifest(name, "instep-lacks"))
    run = ended("pipelinerun", name)
    assert condition(run)["status"] == "False"
    assert "task instep-nowhere: it is not in bundle" in condition(run)["message"]


def test_the_field_says_the_same_where_the_cluster_has_it(digest: str) -> None:
    crd = kubectl("get", "crd", "taskruns.tekton.dev")
    schemas = [version["schema"]["openAPIV3Schema"]["properties"]["spec"] for version in crd["spec"]["versions"]]
    if not all("lookup" in schema["properties"] for schema in schemas):
        pytest.skip("the cluster has no field spec.lookup")
    for version in ("tekton.dev/v1", "tekton.dev/v1beta1"):
        spec = {"lookup": {"bundle": BUNDLE}, "taskRef": {"name": "instep-only-in-the-bundle"}}
        run = ended("taskrun", create("TaskRun", version, spec))
        assert condition(run)["status"] == "True", condition(run)
        assert run["metadata"]["annotations"][LOOKUP_BUNDLE] == BUNDLE


def test_it_composes_with_wrapping(digest: str) -> None:
    params = [{"name": "pipelineref", "value": "instep-only-in-the-bundle"}, {"name": "target", "value": TARGET}]
    wrapped = manifest(named("instep-wrapped"))
    wrapped["spec"]["pipelineRef"] = {"resolver": "wrap", "params": params}
    kubectl("create", "-f", "-", stdin=wrapped)
    run = ended("pipelinerun", wrapped["metadata"]["name"])
    assert condition(run)["status"] == "True", condition(run)
