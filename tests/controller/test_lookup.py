"""The resolver `lookup` on an API server: Tekton's resolver `bundles` is played, the bundles are real."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from typing import Any

import pytest

from agent.core.spelling.reference import parse_reference
from agent.errors import AgentError, NotInBundleError, UsageError
from agent.store import Patience, StoreOptions, open_store
from agent.sync.commands.store_bundle import Bundles, push_bundle, read_bundle
from agent.tekton.lookup.lookup_request import rewrite_run
from tests.cli.test_lookup import OBJECTS, RUN
from tests.controller.conftest import Start
from tests.controller.test_resolver import TARGET, answer, ask, refusal
from tests.fakes.cluster import Cluster, eventually
from tests.tekton.made import the_task


class Tekton:
    """Tekton's resolver for bundles (pkg/resolution/resolver/bundle/bundle.go), with its words."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.bundles = Bundles(lambda reference: open_store(reference, StoreOptions(patience=Patience(1.0))))
        self.asked: list[dict[str, str]] = []

    async def play(self) -> None:
        """Answer whoever asks, until cancelled."""
        done: set[str] = set()
        while True:
            for name in set(self.cluster.names("ResolutionRequest")) - done:
                request = self.cluster.get("ResolutionRequest", name)
                if request["metadata"]["labels"]["resolution.tekton.dev/type"] == "bundles":
                    done.add(name)
                    await self._answer(name, {item["name"]: item["value"] for item in request["spec"]["params"]})
            await asyncio.sleep(0.01)

    async def _answer(self, name: str, params: dict[str, str]) -> None:
        self.asked.append(params)
        place, kind = params["bundle"], params["kind"]
        try:
            value = self.bundles.get(place, kind, params["name"])
        except NotInBundleError:
            await self._fail(name, f"could not find object in image with kind: {kind} and name: {params['name']}")
        except AgentError as error:
            await self._fail(name, f"cannot retrieve the oci image: {error}")
        else:
            algorithm, _, digest = self.bundles.digest(place).partition(":")
            uri = place.partition("@")[0].rpartition(":")[0]
            origin = {"uri": uri, "digest": {algorithm: digest}, "entryPoint": params["name"]}
            data = b64encode(json.dumps(value).encode()).decode()
            await self.cluster.report("ResolutionRequest", name, data=data, refSource=origin, source=origin)

    async def _fail(self, name: str, message: str) -> None:
        said = {"type": "Succeeded", "status": "False", "reason": "ResolutionFailed", "message": message}
        await self.cluster.report(
            "ResolutionRequest", name, data="", refSource={}, source={}, conditions=[{**said, "lastTransitionTime": T0}]
        )


T0 = "2026-01-01T00:00:00Z"


@pytest.fixture
def base(registry: str, tmp_path: Any) -> str:
    return f"{registry}/controller/{tmp_path.name.replace('_', '-').lower()}"


def push(bundle: str, *values: dict[str, Any]) -> str:
    reference = parse_reference(bundle)
    return f"{bundle}@{push_bundle(open_store(reference, StoreOptions()), reference, values).digest}"


async def asked(cluster: Cluster, lookup: Any, name: str = "lookup-1", **spec: Any) -> dict[str, Any]:
    """Create a run as the webhook leaves it, and the request that Tekton makes for it."""
    value = rewrite_run({**RUN, "metadata": {"name": "run"}, "spec": {**RUN["spec"], "lookup": lookup, **spec}})
    run = await cluster.create(value)
    reference = run["spec"]["pipelineRef"]
    await ask(cluster, run, reference["params"], name=name, label=reference["resolver"])
    return run


async def test_a_run_has_its_pipeline_and_tasks_from_a_bundle_and_none_from_the_namespace(
    cluster: Cluster, controller: Start, base: str
) -> None:
    """The integration test of TEP-0018: the Tasks are in the bundle only; the namespace has a Pipeline of that name."""
    pinned = push(f"{base}:1", *OBJECTS)
    async with cluster, controller(cluster):
        tekton = Tekton(cluster)
        playing = asyncio.create_task(tekton.play())
        await cluster.create({**OBJECTS[0], "spec": {"tasks": [{"name": "theirs", "taskRef": {"name": "theirs"}}]}})
        run = await asked(cluster, {"bundle": f"{base}:1"}, taskRunTemplate={"serviceAccountName": "sa"})
        pipeline = await answer(cluster, "lookup-1")
        assert [task["name"] for task in pipeline["spec"]["tasks"]] == ["build", "test"]
        assert pipeline["metadata"]["annotations"] == {"instep.dev/pipeline-source": pinned}
        assert cluster.get("ResolutionRequest", "lookup-1")["status"]["refSource"]["uri"] == base
        # The tag moves on, and the run stays with what it began with.
        push(f"{base}:1", the_task("build"))
        for index, task in enumerate(pipeline["spec"]["tasks"]):
            name = f"lookup-task-{index}"
            await ask(cluster, run, task["taskRef"]["params"], name=name, label=task["taskRef"]["resolver"])
            found = await answer(cluster, name)
            assert found["metadata"]["annotations"] == {"instep.dev/task-source": pinned}
        assert f'looked up in {base}:1"' in found["spec"]["steps"][0]["script"]
        assert [params["serviceAccount"] for params in tekton.asked] == ["sa"] * 3
        assert [params["bundle"] for params in tekton.asked] == [f"{base}:1", pinned, pinned]
        event = await eventually(lambda: "lookup-1" in cluster.names("Event") and cluster.event("lookup-1"))
        assert event["message"] == f"looked up pipeline ci: {pinned}"
        assert event["involvedObject"]["kind"] == "PipelineRun"
        assert event["involvedObject"]["uid"] == run["metadata"]["uid"]
        playing.cancel()


async def test_a_step_action_is_looked_up_for_the_task_run(cluster: Cluster, controller: Start, base: str) -> None:
    pinned = push(f"{base}:1", *OBJECTS)
    async with cluster, controller(cluster):
        playing = asyncio.create_task(Tekton(cluster).play())
        task_run = rewrite_run(
            {
                "apiVersion": "tekton.dev/v1",
                "kind": "TaskRun",
                "metadata": {"name": "run"},
                "spec": {"lookup": {"bundle": f"{base}:1"}, "taskRef": {"name": "build"}},
            }
        )
        run = await cluster.create(task_run)
        await ask(cluster, run, run["spec"]["taskRef"]["params"], name="lookup-1", label="lookup")
        step = (await answer(cluster, "lookup-1"))["spec"]["steps"][1]
        assert step["ref"]["params"][0]["value"] == pinned
        await ask(cluster, run, step["ref"]["params"], name="lookup-2", label="lookup")
        assert (await answer(cluster, "lookup-2"))["kind"] == "StepAction"
        playing.cancel()


async def test_a_missing_object_is_refused_with_what_the_bundle_has_and_never_taken_from_the_namespace(
    cluster: Cluster, controller: Start, base: str
) -> None:
    push(f"{base}:1", *OBJECTS[1:])
    async with cluster, controller(cluster):
        playing = asyncio.create_task(Tekton(cluster).play())
        await cluster.create(OBJECTS[0])
        await asked(cluster, {"bundle": f"{base}:1"})
        assert await refusal(cluster, "lookup-1") == (
            f"pipeline ci: it is not in bundle {base}:1, which has stepaction/stamp, task/build, task/test; push the "
            "bundle with it, or name what it has"
        )
        playing.cancel()


@pytest.mark.parametrize("bundle", ["127.0.0.1:1/ci:1", "BASE:none"])
async def test_a_bundle_that_cannot_be_read_is_refused_with_tektons_words_and_nothing_after_it_is_tried(
    cluster: Cluster, controller: Start, base: str, bundle: str
) -> None:
    bundle = bundle.replace("BASE", base)
    async with cluster, controller(cluster):
        tekton = Tekton(cluster)
        playing = asyncio.create_task(tekton.play())
        await cluster.create(OBJECTS[0])
        await asked(cluster, [{"bundle": bundle}, {"cluster": True}])
        said = await refusal(cluster, "lookup-1")
        assert said.startswith(f"pipeline ci, bundle {bundle}: its resolver failed: cannot retrieve the oci image: ")
        assert len(tekton.asked) == 1
        playing.cancel()


async def test_places_are_gone_through_in_their_order(cluster: Cluster, controller: Start, base: str) -> None:
    push(f"{base}:1", the_task("build"))
    async with cluster, controller(cluster):
        tekton = Tekton(cluster)
        playing = asyncio.create_task(tekton.play())
        await cluster.create(OBJECTS[0])
        run = await asked(cluster, [{"bundle": f"{base}:1"}, {"cluster": True}, {"bundle": f"{base}:none"}])
        pipeline = await answer(cluster, "lookup-1")
        origin = cluster.get("ResolutionRequest", "lookup-1")["status"]["refSource"]
        assert origin["uri"].startswith("/apis/tekton.dev/v1/namespaces/ci/pipeline/ci@")
        assert pipeline["metadata"]["annotations"]["instep.dev/pipeline-source"].startswith(origin["uri"])
        build = pipeline["spec"]["tasks"][0]["taskRef"]
        await ask(cluster, run, build["params"], name="lookup-2", label="lookup")
        assert (await answer(cluster, "lookup-2"))["spec"] == the_task("build")["spec"]
        playing.cancel()


async def test_a_pipeline_of_another_source_has_its_tasks_from_the_bundle(
    cluster: Cluster, controller: Start, base: str
) -> None:
    async with cluster, controller(cluster):
        git = {"resolver": "git", "params": [{"name": "url", "value": "https://example.com/r.git"}]}
        await asked(cluster, {"bundle": f"{base}:1"}, pipelineRef=git)
        names = await eventually(lambda: [n for n in cluster.names("ResolutionRequest") if n != "lookup-1"])
        inner = cluster.get("ResolutionRequest", names[0])
        assert inner["metadata"]["labels"]["resolution.tekton.dev/type"] == "git"
        assert inner["spec"]["params"] == git["params"]
        origin = {"uri": "git+https://example.com/r.git", "digest": {"sha1": "abc"}, "entryPoint": "p.yaml"}
        data = b64encode(json.dumps(OBJECTS[0]).encode()).decode()
        await cluster.report("ResolutionRequest", names[0], data=data, refSource=origin, source=origin)
        pipeline = await answer(cluster, "lookup-1")
        assert pipeline["spec"]["tasks"][0]["taskRef"]["resolver"] == "lookup"
        assert pipeline["metadata"]["annotations"] == {
            "instep.dev/pipeline-source": "git+https://example.com/r.git@sha1:abc"
        }


async def test_a_task_of_another_source_has_its_step_actions_from_the_bundle(
    cluster: Cluster, controller: Start, base: str
) -> None:
    """A TaskRun that names a released bundle, as the example does; the namespace has a StepAction of that name."""
    pinned = push(f"{base}:1", *OBJECTS)
    task = next(value for value in OBJECTS if value["metadata"]["name"] == "build")
    async with cluster, controller(cluster):
        playing = asyncio.create_task(Tekton(cluster).play())
        await cluster.create(OBJECTS[-1])
        params = {"bundle": f"{base}:1", "kind": "task", "name": "build"}
        own = {"resolver": "bundles", "params": [{"name": key, "value": value} for key, value in params.items()]}
        run = await cluster.create(
            rewrite_run(
                {
                    "apiVersion": "tekton.dev/v1",
                    "kind": "TaskRun",
                    "metadata": {"name": "run"},
                    "spec": {"lookup": {"bundle": f"{base}:1"}, "taskRef": own},
                }
            )
        )
        await ask(cluster, run, run["spec"]["taskRef"]["params"], name="lookup-1", label="lookup")
        found = await answer(cluster, "lookup-1")
        assert found["metadata"]["annotations"]["instep.dev/task-source"].endswith(pinned.partition("@")[2])
        assert [step["name"] for step in found["spec"]["steps"]] == [step["name"] for step in task["spec"]["steps"]]
        action = found["spec"]["steps"][1]["ref"]
        assert action["resolver"] == "lookup"
        await ask(cluster, run, action["params"], name="lookup-2", label="lookup")
        assert (await answer(cluster, "lookup-2"))["metadata"]["annotations"]["instep.dev/stepaction-source"] == pinned
        playing.cancel()


async def test_a_run_that_the_webhook_was_not_asked_about_has_its_pipeline_from_the_bundle(
    cluster: Cluster, controller: Start, base: str
) -> None:
    pinned = push(f"{base}:1", *OBJECTS)
    params = [{"name": "pipelineref", "value": "ci"}, {"name": "target", "value": TARGET}]
    async with cluster, controller(cluster):
        playing = asyncio.create_task(Tekton(cluster).play())
        await cluster.create({**OBJECTS[0], "spec": {"tasks": [{"name": "theirs", "taskRef": {"name": "theirs"}}]}})
        meta = {"name": "run", "annotations": {"instep.dev/lookup-bundle": f"{base}:1"}}
        spec = {**RUN["spec"], "pipelineRef": {"resolver": "wrap", "params": params}}
        run = await cluster.create({**RUN, "metadata": meta, "spec": spec})
        await ask(cluster, run, params, name="wrap-1", label="wrap")
        pipeline = await answer(cluster, "wrap-1")
        assert pipeline["metadata"]["annotations"] == {"instep.dev/pipeline-source": pinned}
        assert [task["name"] for task in pipeline["spec"]["tasks"]] == ["build", "test"]
        playing.cancel()


async def test_it_composes_with_wrapping(cluster: Cluster, controller: Start, base: str) -> None:
    """Pipeline and Tasks from the bundle, workspaces from the registry: `wrap` asks `lookup`, which asks `bundles`."""
    pinned = push(f"{base}:1", *OBJECTS)
    params = [{"name": "pipelineref", "value": "ci"}, {"name": "target", "value": TARGET}]
    async with cluster, controller(cluster):
        playing = asyncio.create_task(Tekton(cluster).play())
        run = await asked(
            cluster, {"bundle": f"{base}:1"}, "wrap-1", pipelineRef={"resolver": "wrap", "params": params}
        )
        pipeline = await answer(cluster, "wrap-1")
        assert pipeline["metadata"]["annotations"] == {"instep.dev/pipeline-source": pinned}
        [build, test] = pipeline["spec"]["tasks"]
        for task, steps in ((build, ["instep-pull", "build", "stamp", "instep-push"]), (test, ["instep-pull", "test"])):
            assert task["taskRef"]["resolver"] == "wrap"
            name = f"wrap-{task['name']}"
            await ask(cluster, run, task["taskRef"]["params"], name=name, label="wrap")
            found = await answer(cluster, name)
            assert [step["name"] for step in found["spec"]["steps"]] == steps
            assert found["metadata"]["annotations"]["instep.dev/task-source"] == pinned
        events = await eventually(lambda: len(cluster.names("Event")) == 3 and cluster.names("Event"))
        assert {cluster.event(name)["involvedObject"]["name"] for name in events} == {"run"}
        playing.cancel()


async def test_a_custom_run_with_a_lookup_is_launched_with_it(cluster: Cluster, controller: Start, base: str) -> None:
    push(f"{base}:1", *OBJECTS)
    async with cluster, controller(cluster):
        await cluster.create(
            {
                "apiVersion": "tekton.dev/v1beta1",
                "kind": "CustomRun",
                "metadata": {"name": "run", "annotations": {"instep.dev/lookup-bundle": f"{base}:1"}},
                "spec": {
                    "customRef": {"apiVersion": "tekton.dev/v1alpha1", "kind": "OCIPipeline", "name": "ci"},
                    "params": [{"name": "ocipipeline.target", "value": "reg.io/ws:$(context.run.name)"}],
                    "workspaces": RUN["spec"]["workspaces"],
                },
            }
        )
        child = await eventually(lambda: cluster.get("PipelineRun", "run"))
        assert child["metadata"]["annotations"]["instep.dev/lookup-bundle"] == f"{base}:1"
        params = {item["name"]: item["value"] for item in child["spec"]["pipelineRef"]["params"]}
        assert params["pipelineref.resolver"] == "lookup"
        assert params["pipelineref.params.name"] == "ci"


async def test_what_is_asked_wrongly_is_refused(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        run = await cluster.create({**RUN, "metadata": {"name": "run"}})
        await ask(cluster, run, [{"name": "kind", "value": "task"}], name="lookup-1", label="lookup")
        assert "resolver lookup, parameter name: it is missing" in await refusal(cluster, "lookup-1")


def test_a_bundle_that_is_not_there_is_not_one_that_lacks_an_object(base: str) -> None:
    reference = parse_reference(f"{base}:none")
    with pytest.raises(UsageError) as caught:
        read_bundle(open_store(reference, StoreOptions()), reference)
    assert not isinstance(caught.value, NotInBundleError)
