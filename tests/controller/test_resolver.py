"""The resolver on an API server: requests are made as Tekton's controllers make them."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode, b64encode
from typing import Any

import kmock
import pytest

from agent.core.spelling.reference import parse_reference
from agent.core.spelling.rfc3339 import format_time
from agent.store import StoreOptions, open_store
from agent.tekton.frontends.admission import admit
from agent.tekton.model import documents
from agent.tekton.model.wrapping import Defaults
from tests.controller.conftest import Start
from tests.fakes.cluster import Cluster, condition, eventually, never
from tests.fakes.plain import put_image
from tests.tekton.golden_cases import given, named
from tests.tekton.made import pipeline, task, the_task
from tests.tekton.schema import check

TARGET = "reg.io/ws/{{workspace}}:$(context.pipelineRun.name)"
ORIGIN = {"uri": "git+https://example.com/catalog.git", "digest": {"sha1": "abc"}, "entryPoint": "p.yaml"}


def the_pipeline(**fields: Any) -> dict[str, Any]:
    refers = {"name": "last", "taskRef": {"name": "t"}, "workspaces": [{"name": "ws"}], "runAfter": ["first"]}
    spec = {**pipeline(task("first"), refers), **fields}
    return {"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "spec": spec}


async def a_run(cluster: Cluster, **given: str) -> dict[str, Any]:
    """Create a PipelineRun that asks for the Pipeline `p`."""
    params = [{"name": name.replace("_", "-"), "value": value} for name, value in {"pipelineref": "p", **given}.items()]
    return await cluster.create(
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": {"name": "run"},
            "spec": {
                "pipelineRef": {"resolver": "wrap", "params": params},
                "workspaces": [{"name": "ws", "emptyDir": {}}],
            },
        }
    )


async def ask(
    cluster: Cluster, owner: dict[str, Any], params: list[Any], name: str = "wrap-1", label: str = "wrap", age: int = 0
) -> None:
    """Create a request as Tekton does, with params in which it has replaced the variables of the run."""
    text = json.dumps(params).replace("$(context.pipelineRun.name)", owner["metadata"]["name"])
    meta = owner["metadata"]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }
    await cluster.create(
        {
            "apiVersion": "resolution.tekton.dev/v1beta1",
            "kind": "ResolutionRequest",
            "metadata": {
                "name": name,
                "creationTimestamp": format_time(time.time_ns() - age * 10**9),
                "labels": {"resolution.tekton.dev/type": label},
                "ownerReferences": [reference],
            },
            "spec": {"params": json.loads(text)},
        }
    )


async def asked(cluster: Cluster, label: str = "wrap", age: int = 0, **given: str) -> None:
    """Create the run and its request."""
    run = await a_run(cluster, **given)
    await ask(cluster, run, run["spec"]["pipelineRef"]["params"], label=label, age=age)


async def answer(cluster: Cluster, name: str = "wrap-1") -> dict[str, Any]:
    """Wait for an answer, and return the object."""
    status = await eventually(lambda: cluster.get("ResolutionRequest", name).get("status"))
    assert status.get("data"), status
    assert "conditions" not in status  # Tekton's controller sets it
    assert status["refSource"] == status["source"]
    found = json.loads(b64decode(status["data"], validate=True))
    check(found)
    return dict(found)


async def refusal(cluster: Cluster, name: str = "wrap-1") -> str:
    """Wait for a refusal, and return its words."""
    await eventually(lambda: condition(cluster.get("ResolutionRequest", name)) == ("False", "ResolutionFailed"))
    status = cluster.get("ResolutionRequest", name)["status"]
    assert status["data"] == ""
    return str(status["conditions"][0]["message"])


async def nested(cluster: Cluster) -> dict[str, Any]:
    """Wait for the request to another resolver, and return it."""
    names = await eventually(lambda: [name for name in cluster.names("ResolutionRequest") if name != "wrap-1"])
    assert len(names) == 1
    return cluster.get("ResolutionRequest", names[0])


async def answer_nested(cluster: Cluster, name: str, text: str) -> None:
    data = b64encode(text.encode()).decode()
    await cluster.report("ResolutionRequest", name, data=data, refSource=ORIGIN, source=ORIGIN)


@pytest.mark.parametrize("label", ["wrap", "wrap.oci"])
async def test_a_pipeline_and_then_its_tasks_are_answered_wrapped(
    cluster: Cluster, controller: Start, label: str
) -> None:
    async with cluster, controller(cluster):
        pipeline_uid = (await cluster.create(the_pipeline()))["metadata"]["uid"]
        await cluster.create(the_task())
        run = await a_run(cluster, workspaces="ws", target=TARGET)
        await ask(cluster, run, run["spec"]["pipelineRef"]["params"], label=label)
        first, last = (await answer(cluster))["spec"]["tasks"]
        assert [step["name"] for step in first["taskSpec"]["steps"]] == ["instep-pull", "work", "instep-push"]
        assert "reg.io/ws/ws:run" in first["taskSpec"]["steps"][-1]["args"][2]
        origin = cluster.get("ResolutionRequest", "wrap-1")["status"]["refSource"]
        assert origin["uri"] == f"/apis/tekton.dev/v1/namespaces/ci/pipeline/p@{pipeline_uid}"
        assert last["taskRef"]["resolver"] == "wrap"
        await ask(cluster, run, last["taskRef"]["params"], name="wrap-2", label=label)
        answered = await answer(cluster, "wrap-2")
        assert answered["kind"] == "Task"
        assert [step["name"] for step in answered["spec"]["steps"]] == ["instep-pull", "work", "instep-push"]
        assert f'"after": ["{run["metadata"]["uid"]}/first"]' in answered["spec"]["steps"][0]["args"][2]


async def test_the_simple_pipeline_of_a_custom_task_is_resolved_from_launch_to_answer(
    cluster: Cluster, controller: Start
) -> None:
    """Tekton stores v1 however it was applied, and mends the seed's `workingdir`."""
    text = documents.write([named(given("simple"), "Pipeline", "simple-pipeline")])
    text = text.replace("workingdir", "workingDir").replace("v1beta1", "v1")
    custom = named(given("simple"), "Run", "run-simple-pipeline")
    spec = {**custom["spec"], "customRef": custom["spec"].pop("ref")}
    async with cluster, controller(cluster):
        await cluster.create(documents.read(text, "simple")[0])
        meta = {"name": "run-simple-pipeline"}
        spec.pop("ref", None)
        await cluster.create({"apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": meta, "spec": spec})
        run = await eventually(lambda: cluster.get("PipelineRun", "run-simple-pipeline"))
        await ask(cluster, run, run["spec"]["pipelineRef"]["params"])
        fetch, build = (await answer(cluster))["spec"]["tasks"]
        assert [step["name"] for step in fetch["taskSpec"]["steps"]] == ["instep-pull", "clone", "instep-push"]
        assert [step["name"] for step in build["taskSpec"]["steps"]] == ["instep-pull", "build", "instep-push"]
        target = "docker.io/vdemeester/pipelinerun-run-simple-pipeline-sources:latest"
        assert target in build["taskSpec"]["steps"][0]["args"][2]


async def test_another_resolver_finds_what_is_wrapped_and_its_origin_is_passed_on(
    cluster: Cluster, controller: Start
) -> None:
    inner = "resolver: git\nparams:\n- {name: url, value: https://example.com/catalog.git}\n"
    async with cluster, controller(cluster):
        await asked(cluster, pipelineref=inner, target=TARGET)
        request = await nested(cluster)
        check(request)
        assert request["metadata"]["labels"]["resolution.tekton.dev/type"] == "git"
        assert request["metadata"]["ownerReferences"][0]["name"] == "wrap-1"
        assert request["spec"]["params"] == [{"name": "url", "value": "https://example.com/catalog.git"}]
        await never(lambda: "status" in cluster.get("ResolutionRequest", "wrap-1"), within=0.2)
        await answer_nested(cluster, request["metadata"]["name"], documents.write([the_pipeline()]))
        assert (await answer(cluster))["metadata"] == {"name": "p"}
        assert cluster.get("ResolutionRequest", "wrap-1")["status"]["refSource"] == ORIGIN


async def test_another_resolvers_answer_while_the_controller_was_down_is_used(
    cluster: Cluster, controller: Start
) -> None:
    async with cluster:
        async with controller(cluster):
            await asked(cluster, pipelineref="resolver: http\nparams: [{name: url, value: u}]", target=TARGET)
            request = await nested(cluster)
        await answer_nested(cluster, request["metadata"]["name"], documents.write([the_pipeline()]))
        async with controller(cluster):
            await answer(cluster)
        assert cluster.written("ResolutionRequest", request["metadata"]["name"]) == 2


async def test_another_resolvers_failure_is_told_in_its_words(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        await asked(cluster, pipelineref="resolver: hub\nparams: [{name: name, value: n}]", target=TARGET)
        name = (await nested(cluster))["metadata"]["name"]
        failed = {"type": "Succeeded", "status": "False", "reason": "ResolutionFailed", "message": "no such thing"}
        await cluster.report("ResolutionRequest", name, conditions=[failed], data="", refSource={}, source={})
        assert "its resolver failed: no such thing" in await refusal(cluster)


async def test_tasks_are_written_into_the_pipeline_on_demand(cluster: Cluster, controller: Start) -> None:
    remote = {"resolver": "git", "params": [{"name": "url", "value": "u"}]}
    other = {"name": "other", "taskRef": remote, "workspaces": [{"name": "ws"}]}
    tasks = [*the_pipeline()["spec"]["tasks"], other]
    async with cluster, controller(cluster):
        await cluster.create(the_pipeline(tasks=tasks))
        await cluster.create(the_task())
        await asked(cluster, target=TARGET, form="inline")
        await answer_nested(cluster, (await nested(cluster))["metadata"]["name"], documents.write([the_task("remote")]))
        found = (await answer(cluster))["spec"]["tasks"]
        assert all("taskRef" not in one for one in found)
        assert [one["taskSpec"]["metadata"]["labels"]["tekton.dev/task"] for one in found[1:]] == ["t", "remote"]


async def test_a_resolver_that_does_not_answer_is_named_before_tekton_gives_up(
    cluster: Cluster, controller: Start
) -> None:
    async with cluster, controller(cluster, deadline=10):
        await asked(cluster, pipelineref="resolver: git\nparams: [{name: url, value: u}]", target=TARGET, age=3)
        await nested(cluster)
        assert "resolver git has not answered in time" in await refusal(cluster)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"target": TARGET, "pipelineref": "absent"}, "Pipeline absent: there is none in the namespace"),
        ({"target": TARGET, "colour": "red"}, "there is no such parameter"),
        ({"target": TARGET, "workspaces": "nope"}, "nope"),
        ({}, "there is none; name registry/repository-{{workspace}}:tag"),
        ({"target": TARGET, "base": "oci:dir:tag"}, "it is a directory"),
        ({"target": TARGET, "base": "no-registry"}, "it names no registry"),
    ],
)
async def test_what_cannot_be_answered_is_refused_in_words(
    cluster: Cluster, controller: Start, params: dict[str, str], words: str
) -> None:
    async with cluster, controller(cluster):
        await cluster.create(the_pipeline())
        await asked(cluster, **params)
        assert words in await refusal(cluster)


async def test_a_task_that_is_missing_is_refused_by_its_name_in_the_pipeline(
    cluster: Cluster, controller: Start
) -> None:
    async with cluster, controller(cluster):
        await cluster.create(the_pipeline())
        run = await a_run(cluster, target=TARGET)
        await ask(cluster, run, run["spec"]["pipelineRef"]["params"])
        last = (await answer(cluster))["spec"]["tasks"][1]
        await ask(cluster, run, last["taskRef"]["params"], name="wrap-2")
        assert "task last, Task t: there is none in the namespace" in await refusal(cluster, "wrap-2")


async def test_only_a_pipeline_run_can_ask_for_a_pipeline(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        owner = await cluster.create(the_task())
        await ask(cluster, owner, [{"name": "pipelineref", "value": "p"}, {"name": "target", "value": "reg.io/x:y"}])
        assert "only a PipelineRun can ask for a Pipeline" in await refusal(cluster)


async def test_requests_of_others_and_answered_ones_are_left_alone(cluster: Cluster, controller: Start) -> None:
    async with cluster:
        await cluster.create(the_pipeline())
        run = await a_run(cluster, target=TARGET)
        params = run["spec"]["pipelineRef"]["params"]
        await ask(cluster, run, params, name="git-1", label="git")
        await ask(cluster, run, params, name="wrap-1")
        await ask(cluster, run, params, name="wrap-2")
        await cluster.report("ResolutionRequest", "wrap-1", data="abcd", refSource={}, source={})
        final = {"type": "Succeeded", "status": "False", "reason": "ResolutionTimedOut"}
        await cluster.report("ResolutionRequest", "wrap-2", conditions=[final], data="", refSource={}, source={})
        before = list(cluster.api.log)
        async with controller(cluster):
            await never(lambda: cluster.api.log != before)


async def test_an_answer_that_tekton_wiped_out_is_given_again_and_is_the_same(
    cluster: Cluster, controller: Start
) -> None:
    async with cluster, controller(cluster):
        await cluster.create(the_pipeline())
        await asked(cluster, target=TARGET)
        await answer(cluster)
        data = cluster.get("ResolutionRequest", "wrap-1")["status"]["data"]
        await cluster.report("ResolutionRequest", "wrap-1", data="")
        await eventually(lambda: cluster.get("ResolutionRequest", "wrap-1")["status"]["data"] == data)


async def test_a_request_that_changes_while_it_is_answered_is_looked_at_again(
    cluster: Cluster, controller: Start
) -> None:
    """Tekton's controller writes the first condition meanwhile."""
    began = asyncio.Event()

    async def begin(request: kmock.Request) -> None:
        if request.subresource == "status" and "data" in request.data["status"] and not began.is_set():
            began.set()
            first = {"type": "Succeeded", "status": "Unknown", "reason": "ResolutionInProgress"}
            await cluster.report("ResolutionRequest", "wrap-1", conditions=[first], data="", refSource={}, source={})

    async with cluster, controller(cluster):
        await cluster.create(the_pipeline())
        cluster.api.before_write = begin
        await asked(cluster, target=TARGET)
        await eventually(lambda: cluster.get("ResolutionRequest", "wrap-1").get("status", {}).get("data"))
        assert began.is_set()
        assert condition(cluster.get("ResolutionRequest", "wrap-1")) == ("Unknown", "ResolutionInProgress")
        # created, the condition, the answer: what was decided before the condition was not written
        assert cluster.written("ResolutionRequest", "wrap-1") == 3


async def test_the_base_is_pinned_when_the_pipeline_is_answered_and_travels_on_to_the_tasks(
    cluster: Cluster, controller: Start, registry: str
) -> None:
    name = f"{registry}/bases/one"
    store = open_store(parse_reference(f"{name}:v1"), StoreOptions())
    put_image(store, "v1", [{"file": b"1"}])
    manifest = store.get_manifest("v1")
    assert manifest is not None
    pinned = f"{name}@{manifest.digest}"
    async with cluster, controller(cluster, defaults=Defaults(target=TARGET, base=f"{name}:v1")):
        await cluster.create(the_pipeline())
        run = await a_run(cluster)
        await ask(cluster, run, run["spec"]["pipelineRef"]["params"])
        first, last = (await answer(cluster))["spec"]["tasks"]
        assert pinned in first["taskSpec"]["steps"][0]["args"][2]
        put_image(store, "v1", [{"file": b"2"}])
        store.close()
        await cluster.create(the_task())
        await ask(cluster, run, last["taskRef"]["params"], name="wrap-2")
        assert pinned in (await answer(cluster, "wrap-2"))["spec"]["steps"][0]["args"][2]


async def test_a_base_that_is_not_there_is_refused(cluster: Cluster, controller: Start, registry: str) -> None:
    async with cluster, controller(cluster):
        await cluster.create(the_pipeline())
        await asked(cluster, target=TARGET, base=f"{registry}/bases/none:v1")
        assert "there is no such image to start from" in await refusal(cluster)


async def test_a_registry_that_is_away_is_waited_for_as_long_as_tekton_waits(
    cluster: Cluster, controller: Start
) -> None:
    async with cluster, controller(cluster, deadline=10):
        await cluster.create(the_pipeline())
        await asked(cluster, target=TARGET, base="127.0.0.1:9/base:v1", age=4)
        assert "127.0.0.1:9" in await refusal(cluster)


async def test_a_pipeline_that_is_too_large_is_refused(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        await cluster.create(the_pipeline(description="x" * 900_000))
        await asked(cluster, target=TARGET)
        assert "Kubernetes stores no more than 900000" in await refusal(cluster)


async def test_a_run_that_is_gone_needs_no_answer(cluster: Cluster, controller: Start) -> None:
    async with cluster:
        await asked(cluster, target=TARGET)
        await cluster.delete("PipelineRun", "run")
        async with controller(cluster):
            await never(lambda: "status" in cluster.get("ResolutionRequest", "wrap-1"))


async def test_a_pipeline_that_is_written_into_a_run_is_answered(cluster: Cluster, controller: Start) -> None:
    """From the webhook's decision to the Tasks that it refers to; the spec declares nothing, as users may leave it."""
    refers = {"name": "last", "taskRef": {"name": "t"}, "workspaces": [{"name": "ws"}], "runAfter": ["first"]}
    spec = {"tasks": [task("first", params=[{"name": "p", "value": "$(params.given)"}]), refers]}
    annotations = {"instep.dev/wrap.target": TARGET}
    written = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "run", "annotations": annotations},
        "spec": {
            "pipelineSpec": spec,
            "params": [{"name": "given", "value": "v"}],
            "workspaces": [{"name": "ws", "emptyDir": {}}],
        },
    }
    async with cluster, controller(cluster):
        await cluster.create(the_task())
        run = await cluster.create(admit(written, None))
        await ask(cluster, run, run["spec"]["pipelineRef"]["params"])
        found = await answer(cluster)
        assert found["metadata"]["name"] == "run"
        assert found["spec"]["params"] == [{"name": "given", "type": "string"}]
        assert found["spec"]["workspaces"] == [{"name": "ws"}]
        first, last = found["spec"]["tasks"]
        assert [step["name"] for step in first["taskSpec"]["steps"]] == ["instep-pull", "work", "instep-push"]
        await ask(cluster, run, last["taskRef"]["params"], name="wrap-2")
        assert [step["name"] for step in (await answer(cluster, "wrap-2"))["spec"]["steps"]] == [
            "instep-pull",
            "work",
            "instep-push",
        ]


async def test_steps_that_disagree_about_the_user_are_a_warning_of_the_run(cluster: Cluster, controller: Start) -> None:
    steps = [{"name": f"s{user}", "image": "a", "securityContext": {"runAsUser": user}} for user in (1000, 2000)]
    spec = {"workspaces": [{"name": "ws"}], "steps": steps, "stepTemplate": {"securityContext": {"runAsUser": 1000}}}
    async with cluster, controller(cluster):
        await cluster.create(the_pipeline(tasks=[task("a", taskSpec=spec)]))
        run = await a_run(cluster, target=TARGET)
        await ask(cluster, run, run["spec"]["pipelineRef"]["params"])
        await answer(cluster)
        event = await eventually(lambda: "wrap-1" in cluster.names("Event") and cluster.event("wrap-1"))
        assert (event["type"], event["reason"]) == ("Warning", "UsersDiffer")
        assert event["message"].startswith("Pipeline p, task a: its steps run as different users (1000, 2000)")
        assert event["involvedObject"]["name"] == "run"
