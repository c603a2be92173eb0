"""The argument of the steps: what it may say, and that everything else is refused before anything is done."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.spelling.reference import parse_reference
from agent.errors import UsageError
from agent.sync.task.argument import Results, StepArgument, StepWorkspace, parse_step

WORKSPACE = {"name": "source", "directory": "/w/source", "target": "reg.example.com/run/{{workspace}}:x"}
EVERYTHING = {
    "volume": "/instep",
    "pod": "build-pod-retry3",
    "pod-uid": "0f6e2a9c-5a5e-4c57-9c26-0d8f3e1f7a11",
    "credentials": "/tekton/creds",
    "ca-file": "/ca.crt",
    "plain-http": True,
    "on-conflict": "fail",
    "compression": "gzip",
    "message": "costs $(5) {{each}}",
    "results": {"directory": "/tekton/results", "names": ["a", "b.c"], "limit": 2457},
    "step-result": "/tekton/steps/step-push/results/published",
    "workspaces": [
        {
            **WORKSPACE,
            "base": "reg.example.com/base@sha256:" + "0" * 64,
            "base-path": "/usr/share/x/",
            "lane": "uid/build",
            "after": ["uid/clone"],
            "sub-path": "dir/in*er",
            "read-only": True,
            "paths": ["src/**"],
        }
    ],
}


def parsed(**changed: Any) -> StepArgument:
    return parse_step(json.dumps({"volume": "/v", "workspaces": [WORKSPACE], **changed}))


def workspace(**changed: Any) -> StepWorkspace:
    return parsed(workspaces=[{**WORKSPACE, **changed}]).workspaces[0]


def test_every_field_is_understood() -> None:
    assert parse_step(json.dumps(EVERYTHING)) == StepArgument(
        volume="/instep",
        attempt=3,
        pod_uid="0f6e2a9c-5a5e-4c57-9c26-0d8f3e1f7a11",
        credentials="/tekton/creds",
        ca_file="/ca.crt",
        plain_http=True,
        on_conflict="fail",
        compression="gzip",
        message="costs $(5) {{each}}",
        results=Results("/tekton/results", ("a", "b.c"), 2457),
        step_result="/tekton/steps/step-push/results/published",
        workspaces=(
            StepWorkspace(
                name="source",
                directory="/w/source",
                target=parse_reference("reg.example.com/run/source:x"),
                base=parse_reference("reg.example.com/base@sha256:" + "0" * 64),
                base_path=b"usr/share/x",
                lane="uid/build",
                after=("uid/clone",),
                sub_path=b"dir/in*er",
                read_only=True,
                paths=(b"dir/in[*]er/src/**",),
            ),
        ),
    )


def test_a_fresh_workspace_is_understood() -> None:
    assert workspace(fresh=True).fresh is True
    assert workspace().fresh is workspace(fresh=False).fresh is False


def test_most_fields_may_be_left_out() -> None:
    found = parsed()
    assert (found.attempt, found.on_conflict, found.compression, found.results) == (None, "last", "zstd", None)
    assert found.workspaces[0].paths == ()


@pytest.mark.parametrize(
    ("pod", "attempt"), [("build-pod", 0), ("build-pod-retry1", 1), ("x-pod-retry12", 12), ("retry1-pod", 0)]
)
def test_the_attempt_is_read_from_the_pods_name(pod: str, attempt: int) -> None:
    assert parsed(pod=pod).attempt == attempt


def test_a_sub_path_selects_exactly_itself() -> None:
    assert workspace(**{"sub-path": "a[b]/?"}).paths == (b"a[[]b]/[?]",)


ODD = [
    ({"colour": 1}, "unknown field 'colour'"),
    ({"volume": 1}, "volume: not a string"),
    ({"volume": "v"}, "volume: v is not an absolute path"),
    ({"volume": "/$(params.v)"}, "'$('"),
    ({"pod": "$(INSTEP_POD)"}, "pod"),
    ({"pod": ""}, "pod: empty"),
    ({"pod": "build-pod", "pod-uid": "$(INSTEP_POD_UID)"}, "pod-uid"),
    ({"pod": "build-pod", "pod-uid": ""}, "pod-uid: empty"),
    ({"pod-uid": "0f6e"}, "pod-uid: the pod is not named"),
    ({"plain-http": 1}, "plain-http: neither true nor false"),
    ({"plain-http": None}, "plain-http"),
    ({"on-conflict": "maybe"}, "on-conflict: not one of last, fail"),
    ({"on-conflict": []}, "on-conflict: not one of"),
    ({"compression": "xz"}, "compression: not one of"),
    ({"message": "\udc80"}, "message: not UTF-8"),
    ({"results": {"directory": "/r", "names": ["a"]}}, "results: the field 'limit' is missing"),
    ({"results": {"directory": "/r", "names": ["../a"], "limit": 1}}, "results.names[0]"),
    ({"results": {"directory": "/r", "names": [], "limit": 0}}, "results.limit"),
    ({"results": {"directory": "/r", "names": [], "limit": True}}, "results.limit"),
    ({"step-result": "published"}, "step-result: published is not an absolute path"),
    ({"step-result": "$(step.results.published.path)"}, "step-result: $(step.results.published.path) still has"),
    ({"step-result": True}, "step-result: not a string"),
    ({"workspaces": []}, "workspaces: none"),
    ({"workspaces": {}}, "workspaces: not a list"),
    ({"workspaces": ["x"]}, "workspaces[0]: not an object"),
]


@pytest.mark.parametrize(("changed", "said"), ODD)
def test_what_the_argument_may_not_say_is_named(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(**changed)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


ODD_WORKSPACES = [
    ({"colour": 1}, "workspaces[0]: unknown field 'colour'"),
    ({"name": ""}, "workspaces[0].name"),
    ({"name": "Source"}, "lower case"),
    ({"name": "sharedData"}, "put {{workspace}} into the tag"),
    ({"name": "sharedData", "target": "reg.example.com/{{workspace}}/x:y"}, "put {{workspace}} into the tag"),
    ({"target": "reg.example.com/{{name}}:x"}, "unknown placeholder {{name}}"),
    ({"target": "reg.example.com/{{workspace:x"}, "'{{'"),
    ({"target": "reg.example.com/$(context.pipelineRun.name):x"}, "'$('"),
    ({"target": "nowhere/x:y"}, "names no registry"),
    ({"target": "reg.example.com/x@sha256:" + "0" * 64}, "no tag"),
    ({"target": "reg.example.com/x:y._caaaaaaaaaa" + "0" * 26}, "derived"),
    ({"target": "oci:layout:ws"}, "not an absolute path"),
    ({"base": "x"}, "workspaces[0].base"),
    ({"base-path": "usr"}, "no base"),
    ({"base": "reg.example.com/b:1", "base-path": "a/../b"}, "below the root"),
    ({"sub-path": "../x"}, "below the root"),
    ({"sub-path": 1}, "not a string"),
    ({"lane": "$(context.taskRun.uid)/build"}, "workspaces[0].lane"),
    ({"lane": "{{workspace}}"}, "workspaces[0].lane"),
    ({"after": "uid/x"}, "not a list"),
    ({"after": ["$(x)"]}, "workspaces[0].after[0]"),
    ({"read-only": "yes"}, "workspaces[0].read-only"),
    ({"fresh": "yes"}, "workspaces[0].fresh"),
    ({"fresh": True, "base": "reg.example.com/b:1"}, "there is a base, which must be pulled"),
    ({"paths": ["/"]}, "the glob is empty"),
    ({"directory": "work"}, "absolute"),
]


@pytest.mark.parametrize(("changed", "said"), ODD_WORKSPACES)
def test_what_a_workspace_may_not_say_is_named(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        workspace(**changed)
    assert said in str(caught.value)


@pytest.mark.parametrize("target", ["reg.example.com/x:{{workspace}}", "oci:/layouts/{{workspace}}:x"])
def test_a_name_with_capitals_may_stand_where_capitals_may(target: str) -> None:
    found = workspace(name="sharedData", target=target).target
    assert "sharedData" in str(found)


@pytest.mark.parametrize("text", ["", "[]", "nothing", '{"volume": "/v", "volume": "/v"}', "[" * 100_000, "{"])
def test_what_is_no_such_object_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_step(text)


@pytest.mark.parametrize("missing", ["name", "directory", "target"])
def test_a_missing_field_is_named(missing: str) -> None:
    with pytest.raises(UsageError, match=missing):
        parsed(workspaces=[{key: value for key, value in WORKSPACE.items() if key != missing}])


def two(**changed: Any) -> StepArgument:
    other = {**WORKSPACE, "name": "other", "directory": "/w/other", "target": "reg.example.com/run/source:x"}
    return parsed(workspaces=[{**WORKSPACE, "lane": "a", "sub-path": "one"}, {**other, **changed}])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "source"}, "second workspace"),
        ({"directory": "/w/source"}, "second workspace in"),
        ({"lane": "b"}, "cannot be kept alike"),
        ({"lane": "b", "sub-path": "one/in"}, "cannot be kept alike"),
        ({"lane": "a", "sub-path": "two"}, "a lane of its own"),
    ],
)
def test_workspaces_do_not_get_into_each_others_way(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        two(**changed)


@pytest.mark.parametrize(
    "changed", [{"lane": "b", "sub-path": "two"}, {"lane": "b", "sub-path": "one-more"}, {"read-only": True}]
)
def test_one_target_may_be_there_twice_where_they_do_not(changed: dict[str, Any]) -> None:
    assert len(two(**changed).workspaces) == 2


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*EVERYTHING, *WORKSPACE]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*EVERYTHING]), VALUES), st.dictionaries(st.sampled_from([*WORKSPACE]), VALUES))
def test_any_json_is_understood_or_refused_in_words(changed: dict[str, Any], inner: dict[str, Any]) -> None:
    text = json.dumps({**EVERYTHING, "workspaces": [{**WORKSPACE, **inner}], **changed})
    try:
        assert parse_step(text).workspaces
    except UsageError as error:
        assert "the step's argument" in error.subject
