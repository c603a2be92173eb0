"""Where a run has its references looked up: two spellings, one or several places; and what becomes of references."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import InvalidReferenceError, UsageError
from agent.tekton.lookup.lookup import Lookup, lookup_of, parse_lookup
from agent.tekton.lookup.lookup_request import (
    LookupRequest,
    parse_lookup_request,
    request_in,
    requests_in,
    rewrite_run,
)
from agent.tekton.model.names import LOOKUP_BUNDLE
from agent.tekton.model.object_reference import Reference, reference_in
from tests.property.edits import laws
from tests.tekton.schema import check

BUNDLE = "reg.io/team/ci:main"
DIGEST = "sha256:" + "a" * 64
GIT = {"resolver": "git", "params": [{"name": "url", "value": "https://example.com/r.git"}]}
STEPS = [{"name": "s", "image": "alpine"}]


def run(kind: str = "PipelineRun", *, says: Any = None, annotation: str | None = None, **spec: Any) -> dict[str, Any]:
    value: dict[str, Any] = {"apiVersion": "tekton.dev/v1", "kind": kind, "metadata": {"name": "r"}, "spec": spec}
    if says is not None:
        value["spec"]["lookup"] = says
    if annotation is not None:
        value["metadata"]["annotations"] = {LOOKUP_BUNDLE: annotation}
    return value


def asks(kind: str, name: str, bundle: str = BUNDLE, **params: str) -> dict[str, Any]:
    """The reference that a bare name becomes."""
    rest = [{"name": key, "value": value} for key, value in params.items()]
    named = [{"name": "bundle", "value": bundle}, {"name": "kind", "value": kind}, {"name": "name", "value": name}]
    return {"resolver": "lookup", "params": [*named, *rest]}


def rewritten(**spec: Any) -> dict[str, Any]:
    """The spec of a PipelineRun with a lookup, rewritten."""
    return dict(rewrite_run(run(annotation=BUNDLE, **spec))["spec"])


def in_pipeline(*tasks: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    named = [{"name": f"t{index}", **task} for index, task in enumerate(tasks)]
    found: list[dict[str, Any]] = rewritten(pipelineSpec={"tasks": named, **fields})["pipelineSpec"]["tasks"]
    return found


# What a run says.


@pytest.mark.parametrize(
    ("says", "places"),
    [
        ({"bundle": BUNDLE}, (BUNDLE,)),
        ([{"bundle": BUNDLE}], (BUNDLE,)),
        ([{"bundle": BUNDLE}, {"cluster": True}, {"bundle": "reg.io/b"}], (BUNDLE, "cluster", "reg.io/b")),
        ({"bundle": f"reg.io/b@{DIGEST}"}, (f"reg.io/b@{DIGEST}",)),
        ({"bundle": f"reg.io/b:1@{DIGEST}"}, (f"reg.io/b:1@{DIGEST}",)),
    ],
)
def test_field_and_annotation_say_the_same(says: Any, places: tuple[str, ...]) -> None:
    lookup = lookup_of(run(says=says), "r")
    assert lookup == Lookup(places, ",".join(places))
    assert lookup_of(run(annotation=" , ".join(places)), "r") == lookup
    assert lookup_of(run(says=says, annotation=str(lookup)), "r") == lookup


def test_who_says_nothing_looks_up_nothing() -> None:
    assert lookup_of(run(), "r") is None
    assert rewrite_run(run(pipelineRef={"name": "p"})) == run(pipelineRef={"name": "p"})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            run(says={"bundle": BUNDLE}, annotation="reg.io/other:1"),
            "spec.lookup says .*main, and the annotation .*oth",
        ),
        (run(says={}), "neither a bundle nor cluster"),
        (run(says={"bundle": ""}), "names no bundle"),
        (run(says={"bundle": 3}), "neither a bundle nor cluster"),
        (run(says={"bundle": BUNDLE, "cluster": True}), "neither a bundle nor cluster"),
        (run(says={"cluster": True}), "names no bundle"),
        (run(says=[]), "names no bundle"),
        (run(says="reg.io/b:1"), "neither a bundle nor cluster"),
        (run(says=[{"cluster": False}]), "neither a bundle nor cluster"),
        (run(says=[{"bundle": BUNDLE}, {"bundle": BUNDLE}]), "names .* twice"),
        (run(says={"bundle": "ci:main"}), "names no registry"),
        (run(says={"bundle": "reg.io/b:$(params.tag)"}), "its tag"),
        (run(annotation=""), "names no bundle"),
        (run(annotation="cluster"), "names no bundle"),
        (run(annotation="reg.io/b:1,,"), "names no bundle"),
        (run(annotation="reg.io/b:1,reg.io/b:1"), "twice"),
        (run(annotation="reg.io/b:1,ubuntu"), "annotation instep.dev/lookup-bundle, ubuntu: .* names no registry"),
    ],
)
def test_what_is_malformed_is_refused_by_name(value: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        rewrite_run(value)
    assert "PipelineRun r" in str(caught.value)


def test_a_digest_is_pinned_once_and_variables_stay_what_the_user_wrote() -> None:
    lookup = parse_lookup(f"{BUNDLE},cluster,reg.io/b:1", "x")
    pinned = lookup.pinned("reg.io/b:1", DIGEST)
    assert str(pinned) == f"{BUNDLE},cluster,reg.io/b:1@{DIGEST}"
    assert pinned.pinned(f"reg.io/b:1@{DIGEST}", "sha256:" + "b" * 64) == pinned
    assert lookup.pinned("cluster", DIGEST) == lookup
    assert pinned.substitute(["$(context.taskRun.lookupBundle)", {"a": "x $(context.pipelineRun.lookupBundle)"}]) == [
        f"{BUNDLE},cluster,reg.io/b:1",
        {"a": f"x {BUNDLE},cluster,reg.io/b:1"},
    ]


# References.


def test_a_run_that_names_a_pipeline_asks_the_resolver_and_the_field_becomes_the_annotation() -> None:
    found = rewrite_run(run(says={"bundle": BUNDLE}, pipelineRef={"name": "p"}, params=[{"name": "a", "value": "b"}]))
    assert found["spec"] == {"pipelineRef": asks("pipeline", "p"), "params": [{"name": "a", "value": "b"}]}
    assert found["metadata"] == {"name": "r", "annotations": {LOOKUP_BUNDLE: BUNDLE}}


@pytest.mark.parametrize("version", ["tekton.dev/v1", "tekton.dev/v1beta1"])
def test_both_kinds_in_both_versions_are_valid_for_tekton(version: str) -> None:
    tasks = [{"name": "a", "taskRef": {"name": "t"}}, {"name": "b", "taskSpec": {"steps": STEPS}}]
    for value in (
        run(says={"bundle": BUNDLE}, pipelineRef={"name": "p"}),
        run(says={"bundle": BUNDLE}, pipelineRef=GIT),
        run(
            says={"bundle": BUNDLE}, pipelineSpec={"tasks": tasks, "finally": [{"name": "f", "taskRef": {"name": "t"}}]}
        ),
        run("TaskRun", says={"bundle": BUNDLE}, taskRef={"name": "t", "kind": "Task"}),
        run("TaskRun", says={"bundle": BUNDLE}, taskSpec={"steps": [{"name": "s", "ref": {"name": "a"}}]}),
    ):
        check(rewrite_run({**value, "apiVersion": version}))


def test_bare_names_in_tasks_finally_nested_pipelines_and_steps_are_looked_up() -> None:
    inner = {"tasks": [{"name": "x", "taskRef": {"name": "deep"}}]}
    found = rewritten(
        pipelineSpec={
            "tasks": [
                {"name": "a", "taskRef": {"name": "t", "kind": "Task"}},
                {"name": "b", "pipelineRef": {"name": "q"}},
                {"name": "c", "pipelineSpec": inner},
                {"name": "d", "taskSpec": {"steps": [{"name": "s", "ref": {"name": "act"}}]}},
            ],
            "finally": [{"name": "f", "taskRef": {"name": "last"}}],
        }
    )["pipelineSpec"]
    assert found["tasks"][0]["taskRef"] == asks("task", "t")
    assert found["tasks"][1]["pipelineRef"] == asks("pipeline", "q")
    assert found["tasks"][2]["pipelineSpec"]["tasks"][0]["taskRef"] == asks("task", "deep")
    assert found["tasks"][3]["taskSpec"]["steps"][0]["ref"] == asks("stepaction", "act")
    assert found["finally"][0]["taskRef"] == asks("task", "last")


@pytest.mark.parametrize(
    "task",
    [
        {"taskRef": {"apiVersion": "example.dev/v1", "kind": "Wait", "name": "w"}},
        {"taskSpec": {"apiVersion": "example.dev/v1", "kind": "Wait", "spec": {"steps": [{"ref": {"name": "x"}}]}}},
        {"taskSpec": {"steps": STEPS}},
        {"taskSpec": {"steps": [{"name": "s", "ref": GIT}]}},
    ],
)
def test_custom_tasks_and_step_actions_of_their_own_source_stay_as_they_are(task: dict[str, Any]) -> None:
    assert in_pipeline(task) == [{"name": "t0", **task}]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("pipeline", {"pipelineRef": GIT}),
        ("pipeline", {"pipelineSpec": {"tasks": [{"name": "a", "pipelineRef": GIT}]}}),
        ("task", {"pipelineSpec": {"tasks": [{"name": "a", "taskRef": GIT}]}}),
        ("task", {"pipelineSpec": {"tasks": [], "finally": [{"name": "a", "taskRef": {"kind": "Task", **GIT}}]}}),
        ("task", {"taskRef": GIT}),
    ],
)
def test_what_names_its_own_source_is_asked_through_the_resolver_so_that_its_bare_names_are_looked_up(
    kind: str, spec: dict[str, Any]
) -> None:
    [request] = requests_in({"spec": rewritten(**spec)}, "r")
    assert request == LookupRequest(
        Lookup((BUNDLE,), BUNDLE), kind, "", Reference("", "git", (("url", '"https://example.com/r.git"'),))
    )


@pytest.mark.parametrize(("field", "kind"), [("pipelineRef", "pipeline"), ("taskRef", "task")])
def test_the_field_of_old_for_bundles_is_asked_through_the_resolver_too(field: str, kind: str) -> None:
    [request] = requests_in({"spec": rewritten(**{field: {"name": "p", "bundle": "reg.io/o:1"}})}, "r")
    assert str(request.source) == f'bundles(bundle="reg.io/o:1", name="p", kind="{kind}")'


def test_a_wrapped_pipeline_stays_wrapped_and_what_is_wrapped_is_looked_up() -> None:
    rest = [{"name": "target", "value": "reg.io/ws:$(context.pipelineRun.name)"}, {"name": "workspaces", "value": "ws"}]
    for params in (
        [{"name": "pipelineref", "value": "p"}],
        [{"name": "pipelineref", "value": "name: p\n"}],
    ):
        reference = rewritten(pipelineRef={"resolver": "wrap", "params": [*params, *rest]})["pipelineRef"]
        assert reference["resolver"] == "wrap"
        inner = reference_in(reference["params"], "pipelineref", "x")
        assert inner is not None
        assert inner.to_object() == asks("pipeline", "p")
        assert [param for param in reference["params"] if not param["name"].startswith("pipelineref")] == rest
    git = [{"name": "pipelineref.resolver", "value": "git"}, {"name": "pipelineref.params.url", "value": "u"}]
    reference = rewritten(pipelineRef={"resolver": "wrap.oci", "params": [*git, *rest]})["pipelineRef"]
    inner = reference_in(reference["params"], "pipelineref", "x")
    assert inner is not None
    request = request_in(inner.to_object())
    assert request is not None
    assert request.source == Reference("", "git", (("url", '"u"'),))


def test_a_custom_task_of_ours_has_its_pipeline_looked_up() -> None:
    ours = {"apiVersion": "tekton.dev/v1alpha1", "kind": "OCIPipeline"}
    [task] = in_pipeline({"taskRef": {**ours, "name": "p"}})
    assert task["taskRef"] == {**ours, **asks("pipeline", "p")}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"pipelineRef": {}}, "names neither"),
        (
            {"pipelineRef": {"params": [{"name": "url", "value": "u"}]}},
            "pipelineRef: it names neither a Pipeline nor a r",
        ),
        ({"pipelineRef": {"name": "https://example.com/p.yaml"}}, "names neither"),
        ({"pipelineRef": {"name": "https://example.com/p.yaml", "resolver": "http"}}, "names neither"),
        # Tekton may have a default for the resolver, and then decides where these come from.
        (
            {"pipelineSpec": {"tasks": [{"name": "a", "taskRef": {"params": [{"name": "url", "value": "u"}]}}]}},
            "PipelineRun r, task a, taskRef: it names neither a Task nor a resolver",
        ),
        ({"taskRef": {"name": "https://example.com/t.yaml"}}, "taskRef: it names neither a Task nor a resolver"),
        (
            {"taskSpec": {"steps": [{"name": "s", "ref": {"params": []}}]}},
            "step s, ref: it names neither a StepAction nor a resolver",
        ),
        (
            {"pipelineSpec": {"tasks": [{"name": "a", "taskRef": {"name": "t", "kind": "ClusterTask"}}]}},
            "PipelineRun r, task a, taskRef: a ClusterTask cannot be looked up",
        ),
        ({"pipelineSpec": {"tasks": 3}}, "tasks is not a list of mappings"),
        ({"pipelineRef": [1]}, "pipelineRef is not a mapping"),
    ],
)
def test_what_cannot_be_looked_up_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        rewritten(**spec)


def test_the_variables_stand_for_what_the_user_wrote_everywhere() -> None:
    both = "$(context.pipelineRun.lookupBundle) $(context.taskRun.lookupBundle)"
    [task] = in_pipeline({"taskSpec": {"steps": [{"name": "s", "image": "a", "script": f"echo {both}"}]}})
    assert task["taskSpec"]["steps"][0]["script"] == f"echo {BUNDLE} {BUNDLE}"
    [task] = in_pipeline({"taskRef": {"name": "t"}, "params": [{"name": "p", "value": [both]}]})
    assert task["params"][0]["value"] == [f"{BUNDLE} {BUNDLE}"]
    spec = rewrite_run(run("TaskRun", annotation=BUNDLE, taskSpec={"steps": [{"image": both}]}))["spec"]
    assert spec["taskSpec"]["steps"][0]["image"] == f"{BUNDLE} {BUNDLE}"


@pytest.mark.parametrize(
    "spec", [{"taskRunTemplate": {"serviceAccountName": "puller"}}, {"serviceAccountName": "puller"}]
)
def test_the_bundle_is_read_as_the_runs_service_account(spec: dict[str, Any]) -> None:
    found = rewritten(pipelineRef={"name": "p"}, **spec)
    assert found["pipelineRef"] == asks("pipeline", "p", serviceAccount="puller")


def test_what_kubectl_apply_merges_into_a_rewritten_reference_is_rewritten_as_before() -> None:
    merged = {"name": "p", **asks("pipeline", "other")}
    assert rewritten(pipelineRef=merged)["pipelineRef"] == asks("pipeline", "p")


NAMES = st.sampled_from(["a", "b"])
REFERENCES = st.one_of(
    st.builds(lambda name: {"name": name}, NAMES),
    st.just(GIT),
    st.builds(lambda name: {"name": name, "kind": "Task"}, NAMES),
    st.just({"apiVersion": "tekton.dev/v1alpha1", "kind": "OCIPipeline", "name": "p"}),
    st.just({"resolver": "wrap", "params": [{"name": "pipelineref", "value": "p"}]}),
)
TASKS = st.recursive(
    st.one_of(
        st.builds(lambda reference: {"taskRef": reference}, REFERENCES),
        st.builds(lambda reference: {"pipelineRef": reference}, st.sampled_from([{"name": "p"}, GIT])),
        st.builds(lambda name: {"taskSpec": {"steps": [{"ref": {"name": name}}]}}, NAMES),
    ),
    lambda inner: st.builds(lambda tasks: {"pipelineSpec": {"tasks": tasks}}, st.lists(inner, max_size=2)),
    max_leaves=5,
)


@laws
@given(st.lists(TASKS, max_size=3), st.lists(TASKS, max_size=2))
def test_rewriting_again_changes_nothing_and_the_argument_is_never_changed(
    tasks: list[dict[str, Any]], last: list[dict[str, Any]]
) -> None:
    value = run(says={"bundle": BUNDLE}, pipelineSpec={"tasks": tasks, "finally": last})
    before = copy.deepcopy(value)
    once = rewrite_run(value)
    assert value == before
    assert rewrite_run(once) == once
    assert not _bare(once["spec"]["pipelineSpec"])


def _bare(value: Any) -> list[Any]:
    """References that the namespace would answer."""
    if isinstance(value, list):
        return [found for item in value for found in _bare(item)]
    if not isinstance(value, dict):
        return []
    refs = [value[key] for key in ("taskRef", "pipelineRef", "ref") if key in value]
    own = [found for found in refs if "name" in found and "resolver" not in found]
    wrapped = [found for found in refs if {"name": "pipelineref", "value": "p"} in found.get("params", [])]
    return own + wrapped + [found for item in value.values() for found in _bare(item)]


# What the resolver is asked for.


def test_what_is_asked_for_is_what_is_parsed() -> None:
    for request in (
        LookupRequest(Lookup((BUNDLE,), BUNDLE), "task", "t"),
        LookupRequest(Lookup((f"{BUNDLE}@{DIGEST}", "cluster"), f"{BUNDLE},cluster"), "task", "t", None, "puller"),
        LookupRequest(Lookup((BUNDLE,), BUNDLE), "pipeline", "", Reference("", "git", (("url", '"u"'), ("l", "[1]")))),
    ):
        assert request_in(request.to_object()) == request


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"kind": "task", "name": "t"}, "parameter bundle: it names no bundle"),
        ({"bundle": BUNDLE, "name": "t"}, "parameter kind: it is missing"),
        ({"bundle": BUNDLE, "kind": "Task", "name": "t"}, "parameter kind: it is Task"),
        ({"bundle": BUNDLE, "kind": "task"}, "parameter name: it is missing"),
        ({"bundle": "ubuntu", "kind": "task", "name": "t"}, "names no registry"),
        ({"bundle": BUNDLE, "kind": "task", "name": "t", "secret": "s"}, "parameter secret: there is no such"),
        ({"bundle": [BUNDLE], "kind": "task", "name": "t"}, "value is not a string"),
    ],
)
def test_what_cannot_be_answered_is_refused(params: dict[str, Any], words: str) -> None:
    with pytest.raises((UsageError, InvalidReferenceError), match=words):
        parse_lookup_request([{"name": name, "value": value} for name, value in params.items()])
