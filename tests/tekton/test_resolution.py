"""The resolver's course, step by step, without a cluster."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest

from agent.errors import UnavailableError, UnwrappableError, UsageError
from agent.tekton.controlplane.effects import (
    AskResolver,
    GetObject,
    PinDigest,
    RequestAnswer,
    WaitForResolver,
    is_answered,
    seconds_left,
)
from agent.tekton.controlplane.event_route import parent_to_reconcile, request_to_reconcile, run_to_reconcile
from agent.tekton.controlplane.nested_request import local_source, nested_request, nested_source
from agent.tekton.controlplane.resolution import resolve
from agent.tekton.model.events import USERS_DIFFER
from agent.tekton.model.object_reference import Reference
from agent.tekton.pipeline.installation import Installation
from tests.tekton.made import SETTINGS, TARGET, UID, pipeline, pipeline_run, task, the_task, wrap
from tests.tekton.made import after as named_by
from tests.tekton.schema import check
from tests.tekton.test_launch import custom_run

T0, T50, T56 = "2026-01-01T00:00:00Z", "2026-01-01T00:00:50Z", "2026-01-01T00:00:56Z"
INSTALLATION = Installation(SETTINGS)
GIT = {"resolver": "git", "params": [{"name": "url", "value": "u"}]}
REMOTE = [{"name": "pipelineref.resolver", "value": "git"}, {"name": "pipelineref.params.url", "value": "u"}]


def request(*params: dict[str, Any], **meta: Any) -> dict[str, Any]:
    owner = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "run-1", "uid": UID, "controller": True}
    return {
        "apiVersion": "resolution.tekton.dev/v1beta1",
        "kind": "ResolutionRequest",
        "metadata": {
            "name": "wrap-1",
            "namespace": "ci",
            "uid": "r-1",
            "creationTimestamp": T0,
            "labels": {"resolution.tekton.dev/type": "wrap"},
            "ownerReferences": [owner],
            **meta,
        },
        "spec": {"params": [{"name": "target", "value": TARGET.replace("$(context.pipelineRun.name)", "x")}, *params]},
    }


def the_pipeline(*tasks: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": "p", "namespace": "ci", "uid": "p-1"}
    return {"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": meta, "spec": pipeline(*tasks)}


def walk(asked: dict[str, Any], *found: Any, now: str = T0) -> tuple[list[Any], Any]:
    """Take the course with what is found at each step; return the steps and the outcome."""
    steps = []
    resolution = resolve(asked, INSTALLATION, now)
    try:
        step = next(resolution)
        for value in found:
            steps.append(step)
            step = resolution.throw(value) if isinstance(value, Exception) else resolution.send(value)
        raise AssertionError(f"it wants {step}")
    except StopIteration as end:
        return steps, end.value


def answered(value: Any, **origin: Any) -> dict[str, Any]:
    data = b64encode(json.dumps(value).encode()).decode()
    return {"metadata": {}, "status": {"data": data, "refSource": origin}}


def test_what_is_asked_for_first_depends_on_nothing_but_the_objects() -> None:
    asked = request({"name": "pipelineref", "value": "p"}, {"name": "base", "value": "reg.io/base:1"})
    found = (pipeline_run(), the_pipeline(task("a")), "reg.io/base@sha256:00")
    steps, outcome = walk(asked, *found)
    assert steps == [GetObject("PipelineRun", "run-1"), GetObject("Pipeline", "p"), PinDigest("reg.io/base:1")]
    assert isinstance(outcome, RequestAnswer)
    assert walk(asked, *found) == (steps, outcome)


def test_no_base_is_pinned_where_none_is_asked_for() -> None:
    steps, _ = walk(request({"name": "pipelineref", "value": "p"}), pipeline_run(), the_pipeline(task("a")))
    assert not any(isinstance(step, PinDigest) for step in steps)


def test_all_resolvers_are_asked_before_one_is_waited_for() -> None:
    tasks = [
        {"name": "a", "taskRef": GIT, "workspaces": [{"name": "ws"}]},
        {"name": "b", "taskRef": {**GIT, "resolver": "hub"}, "workspaces": [{"name": "ws"}]},
    ]
    asked = request({"name": "pipelineref", "value": "p"}, {"name": "form", "value": "inline"})
    steps, outcome = walk(asked, pipeline_run(), the_pipeline(*tasks), {}, {})
    assert [type(step) for step in steps] == [GetObject, GetObject, AskResolver, AskResolver]
    assert outcome == WaitForResolver("git", 55)


def test_the_longer_it_waits_the_less_time_is_left_and_then_it_is_refused() -> None:
    asked = request(*REMOTE)
    assert walk(asked, pipeline_run(), {}, now=T50)[1] == WaitForResolver("git", 5)
    late = walk(asked, pipeline_run(), {}, now=T56)[1]
    assert isinstance(late, RequestAnswer)
    assert late.refusal == "resolver git has not answered in time; see its ResolutionRequest and its logs"
    assert seconds_left(asked, Installation(SETTINGS, deadline=300), T56) == 239


def test_an_answer_that_comes_late_is_used_all_the_same() -> None:
    _, outcome = walk(request(*REMOTE), pipeline_run(), answered(the_pipeline(task("a")), uri="u"), now=T56)
    assert outcome.refusal is None
    assert outcome.status["refSource"] == outcome.status["source"] == {"uri": "u"}


def test_trouble_that_is_told_to_the_course_becomes_the_refusal() -> None:
    asked = request({"name": "pipelineref", "value": "p"}, {"name": "base", "value": "reg.io/base:1"})
    trouble = UnavailableError("no answer", subject="reg.io", remedy="wait")
    _, outcome = walk(asked, pipeline_run(), the_pipeline(task("a")), trouble)
    assert outcome.refusal == "reg.io: no answer; wait"
    check({**asked, "status": outcome.status})


@pytest.mark.parametrize("run", [None, {"metadata": {"name": "run-1", "uid": "another"}}])
def test_a_request_whose_run_is_gone_is_left_alone(run: dict[str, Any] | None) -> None:
    assert walk(request({"name": "pipelineref", "value": "p"}), run)[1] is None


@pytest.mark.parametrize(
    "status",
    [
        {"data": "eA=="},
        {"data": "", "conditions": [{"type": "Succeeded", "status": "False"}]},
        {"data": "", "conditions": [{"type": "Succeeded", "status": "True"}]},
    ],
)
def test_an_answered_request_takes_no_step(status: dict[str, Any]) -> None:
    asked = {**request(), "status": status}
    assert is_answered(asked)
    assert walk(asked) == ([], None)


def test_a_nested_request_is_found_again_by_its_name() -> None:
    one = nested_request(request(), Reference(resolver="git", params=(("url", '"u"'),)))
    check(one)
    assert one == nested_request(request(), Reference(resolver="git", params=(("url", '"u"'),)))
    others = [
        nested_request(request(), Reference(resolver="git", params=(("url", '"v"'),))),
        nested_request(request(), Reference(resolver="hub", params=(("url", '"u"'),))),
        nested_request(request(uid="r-2"), Reference(resolver="git", params=(("url", '"u"'),))),
    ]
    names = {found["metadata"]["name"] for found in [one, *others]}
    assert len(names) == 4
    long = nested_request(request(name="wrap-" + "0" * 58), Reference(resolver="git"))
    assert len(long["metadata"]["name"]) == 63


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"data": "%%%"}, "something else than text"),
        ({"data": b64encode(b"\xff").decode()}, "something else than text"),
        ({"data": b64encode(b"a: [").decode()}, "no YAML"),
        ({"data": b64encode(b"a: 1\n---\nb: 2").decode()}, "answered with 2 objects"),
        ({"data": ""}, "its resolver failed: it says no more"),
    ],
)
def test_what_another_resolver_answered_wrongly_is_told(status: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        nested_source({"status": status}, "Pipeline git(url=u)")


def test_the_old_name_of_an_origin_is_read_too() -> None:
    status = answered({"kind": "Task"})["status"] | {"refSource": {}, "source": {"uri": "old"}}
    assert nested_source({"status": status}, "Task t").origin == {"uri": "old"}


def test_the_origin_of_a_local_object_changes_with_what_it_says() -> None:
    one, other = the_pipeline(task("a")), the_pipeline(task("b"))
    found = local_source(one, "Pipeline p").origin
    assert found["uri"] == "/apis/tekton.dev/v1/namespaces/ci/pipeline/p@p-1"
    assert local_source({**one, "status": {"x": 1}}, "Pipeline p").origin == found
    assert local_source(other, "Pipeline p").origin["digest"] != found["digest"]
    with pytest.raises(UnwrappableError, match="there is none"):
        local_source(None, "Pipeline p")


def test_a_task_of_the_answer_can_be_asked_for() -> None:
    refers = {"name": "a", "taskRef": {"name": "t"}, "workspaces": [{"name": "ws"}]}
    _, outcome = walk(request({"name": "pipelineref", "value": "p"}), pipeline_run(), the_pipeline(refers), the_task())
    params = json.loads(b64decode(outcome.status["data"]))["spec"]["tasks"][0]["taskRef"]["params"]
    asked = {**request(), "spec": {"params": params}}
    steps, outcome = walk(asked, the_task())
    assert steps == [GetObject("Task", "t")]
    assert json.loads(b64decode(outcome.status["data"]))["kind"] == "Task"


@pytest.mark.parametrize(("found", "after"), [("reads", ["a"]), ("writes", ["b"]), ("nothing", ["b", "a"])])
def test_nobody_waits_for_a_task_of_the_namespace_that_only_reads(found: str, after: list[str]) -> None:
    """One that is not there is an error when Tekton asks for it, which then names the pipeline's task."""
    refers = {"name": "b", "runAfter": ["a"], "taskRef": {"name": "t"}, "workspaces": [{"name": "ws"}]}
    told = the_pipeline(task("a"), refers, task("c", "b"))
    held = {"name": "ws", "readOnly": found == "reads"}
    the = None if found == "nothing" else the_task(workspaces=[held])
    steps, outcome = walk(request({"name": "pipelineref", "value": "p"}), pipeline_run(), told, the)
    assert steps[-1] == GetObject("Task", "t")
    assert named_by(json.loads(b64decode(outcome.status["data"]))["spec"], "c") == after


def test_events_lead_to_the_object_that_they_are_about() -> None:
    asked = request()
    nested = nested_request(asked, Reference(resolver="git"))
    assert request_to_reconcile(asked) == "wrap-1"
    assert request_to_reconcile(nested) is None
    assert request_to_reconcile({**nested, "status": {"data": "eA=="}}) == "wrap-1"
    assert request_to_reconcile({**asked, "status": {"data": "eA=="}}) is None
    assert request_to_reconcile(request(labels={"resolution.tekton.dev/type": "git"})) is None
    assert request_to_reconcile({"metadata": {"name": "n"}}) is None


def test_runs_that_ended_and_children_that_ended_long_ago_concern_nobody() -> None:
    ended = {"conditions": [{"type": "Succeeded", "status": "True"}]}
    run = custom_run()
    assert run_to_reconcile(run) == "run"
    assert run_to_reconcile({**run, "status": ended}) is None
    owner = {"kind": "CustomRun", "name": "run", "uid": "u-1", "controller": True}
    child = pipeline_run()
    child["metadata"]["ownerReferences"] = [owner]
    assert parent_to_reconcile(child, is_new=False) == ("CustomRun", "run")
    assert parent_to_reconcile({**child, "status": ended}, is_new=True) == ("CustomRun", "run")
    assert parent_to_reconcile({**child, "status": ended}, is_new=False) is None
    assert parent_to_reconcile(pipeline_run(), is_new=True) is None


# What cannot work is told before the run.


def of_two_users(name: str) -> dict[str, Any]:
    steps = [{"name": f"s{user}", "image": "a", "securityContext": {"runAsUser": user}} for user in (1000, 2000)]
    template = {"securityContext": {"runAsUser": 1000}}
    return task(name, taskSpec={"workspaces": [{"name": "ws"}], "steps": steps, "stepTemplate": template})


def test_steps_that_disagree_about_the_user_are_told_to_the_run_and_answered() -> None:
    """In a Pipeline that holds them, and in the Task that a pipeline's task refers to."""
    asked = request({"name": "pipelineref", "value": "p"})
    _, outcome = walk(asked, pipeline_run(), the_pipeline(of_two_users("a"), task("b", "a"), of_two_users("c")))
    assert outcome.refusal is None
    assert outcome.reason == USERS_DIFFER
    first, second = outcome.notice.split("; Pipeline ")
    assert first.startswith("Pipeline p, task a: its steps run as different users (1000, 2000)")
    assert second.startswith("p, task c: its steps run as different users")
    refers = {"name": "a", "taskRef": {"name": "t"}, "workspaces": [{"name": "ws"}]}
    asked_for = wrap(pipeline(refers))["tasks"][0]["taskRef"]["params"]
    inner = request()
    inner["spec"]["params"] = asked_for
    _, outcome = walk(inner, {**the_task(), "spec": of_two_users("a")["taskSpec"]})
    assert outcome.reason == USERS_DIFFER
    assert outcome.notice.startswith("task a, Task t: its steps run as different users")


def test_nothing_is_told_where_nothing_is_pushed_or_all_agree() -> None:
    reads = of_two_users("a")
    reads["taskSpec"]["workspaces"] = [{"name": "ws", "readOnly": True}]
    asked = request({"name": "pipelineref", "value": "p"})
    _, outcome = walk(asked, pipeline_run(), the_pipeline(task("w"), {**reads, "runAfter": ["w"]}))
    assert (outcome.refusal, outcome.notice) == (None, None)


@pytest.mark.parametrize("form", ["references", "inline"])
def test_a_missing_task_is_named_with_the_pipelines_task(form: str) -> None:
    refers = {"name": "build-it", "taskRef": {"name": "absent"}, "workspaces": [{"name": "ws"}], "runAfter": ["a"]}
    words = "task build-it, Task absent: there is none in the namespace; create it, or mend the name"
    if form == "inline":
        asked = request({"name": "pipelineref", "value": "p"}, {"name": "form", "value": "inline"})
        _, outcome = walk(asked, pipeline_run(), the_pipeline(task("a"), refers), None)
        assert outcome.refusal == f"Pipeline p, {words}"
    else:
        inner = request()
        inner["spec"]["params"] = wrap(pipeline(task("a"), refers))["tasks"][1]["taskRef"]["params"]
        assert walk(inner, None)[1].refusal == words


def test_a_task_that_another_resolver_does_not_find_is_named_with_the_pipelines_task() -> None:
    failed = {
        "metadata": {},
        "status": {"conditions": [{"type": "Succeeded", "status": "False", "message": "no repo"}]},
    }
    refers = {"name": "build-it", "taskRef": GIT, "workspaces": [{"name": "ws"}]}
    asked = request({"name": "pipelineref", "value": "p"}, {"name": "form", "value": "inline"})
    _, outcome = walk(asked, pipeline_run(), the_pipeline(refers), failed)
    assert outcome.refusal.startswith('Pipeline p, task build-it, Task git(url="u"): its resolver failed: no repo')
