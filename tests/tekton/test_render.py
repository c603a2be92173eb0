"""`agent render`, as users run it."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.tekton.frontends.render_objects import render
from agent.tekton.frontends.render_request import RenderOptions
from agent.tekton.model import documents
from tests.property.edits import laws
from tests.tekton.golden_cases import CASES, HERE, SETTINGS, TARGET, rendered
from tests.tekton.golden_cases import given as given_case

PIPELINE = """\
apiVersion: tekton.dev/v1
kind: Pipeline
metadata:
  name: p
spec:
  workspaces:
  - name: ws
  tasks:
  - name: a
    workspaces:
    - name: ws
    taskSpec:
      workspaces:
      - name: ws
      steps:
      - name: work
        image: alpine
        script: |
          echo 12:30
"""
RUN = """\
apiVersion: tekton.dev/v1
kind: PipelineRun
metadata:
  name: r
spec:
  pipelineRef:
    name: p
  workspaces:
  - name: ws
    emptyDir: {}
"""


class Render:
    def __init__(self, place: Path) -> None:
        self.place = place

    def write(self, name: str, text: str) -> str:
        path = self.place / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return name

    def __call__(self, *words: str, exits: int = 0, given: str | None = None, code: str | None = None) -> Any:
        command = [sys.executable, *(["-c", code] if code else ["-m", "agent"]), "render", *words]
        done = subprocess.run(
            command, cwd=self.place, input=given, capture_output=True, text=True, timeout=60, env=dict(os.environ)
        )
        assert done.returncode == exits, done.stderr
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def agent_render(tmp_path: Path) -> Render:
    return Render(tmp_path)


def test_pipeline_and_run_may_stand_in_one_file_in_several_or_in_a_directory(agent_render: Render) -> None:
    both = agent_render.write("both.yaml", f"{PIPELINE}---\n{RUN}")
    pipeline = agent_render.write("dir/a.yaml", PIPELINE)
    run = agent_render.write("dir/b.yml", RUN)
    agent_render.write("dir/README.md", "- no: object")
    outputs = [
        agent_render("--target", TARGET, *words, given=given).stdout
        for words, given in [
            (["-f", both], None),
            (["-f", pipeline, "-f", run], None),
            (["-f", "dir"], None),
            (["-f", "-"], f"{PIPELINE}---\n{RUN}"),
        ]
    ]
    assert len(set(outputs)) == 1
    wrapped, unchanged = documents.read(outputs[0], "x")
    assert [step["name"] for step in wrapped["spec"]["tasks"][0]["taskSpec"]["steps"]] == [
        "instep-pull",
        "work",
        "instep-push",
    ]
    assert documents.write([unchanged]) == f"---\n{RUN}"


def test_the_diff_shows_only_what_is_added(agent_render: Render) -> None:
    agent_render.write("x.yaml", f"{PIPELINE}---\n{RUN}")
    shown = agent_render("-f", "x.yaml", "--target", TARGET, "--diff").stdout.splitlines()
    assert shown[:2] == ["--- given", "+++ rendered"]
    assert not [line for line in shown[2:] if line.startswith("-")]
    assert "+      - name: instep-push" in shown


def test_options_say_what_the_objects_do_not(agent_render: Render) -> None:
    agent_render.write("x.yaml", f"{PIPELINE}---\n{RUN}")
    words = [
        "--target",
        TARGET,
        "--base",
        "reg.io/b:1",
        "--on-conflict",
        "fail",
        "--image",
        "reg.io/me:2",
        "--plain-http",
    ]
    text = agent_render("-f", "x.yaml", *words, "--workspace", "ws", "--ca-config-map", "ca").stdout
    for said in (
        "image: reg.io/me:2",
        '"base": "reg.io/b:1"',
        '"on-conflict": "fail"',
        '"plain-http": true',
        "/instep-ca/ca.crt",
    ):
        assert said in text


def test_who_does_not_name_the_agents_image_is_told_what_stands_for_it(agent_render: Render) -> None:
    agent_render.write("x.yaml", f"{PIPELINE}---\n{RUN}")
    words = ["-f", "x.yaml", "--target", TARGET]
    assert "registry.example.com/instep/agent:" in agent_render(*words).stderr
    assert agent_render(*words, "--image", "reg.io/agent:1").stderr == ""


def test_what_is_rendered_can_be_rendered_again(agent_render: Render) -> None:
    agent_render.write("x.yaml", f"{PIPELINE}---\n{RUN}")
    once = agent_render("-f", "x.yaml", "--target", TARGET).stdout
    assert agent_render("-f", "-", "--target", TARGET, given=once).stdout == once


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (f"{PIPELINE}---\n{RUN}", [], "Pipeline p, target: there is none; name registry/"),
        (RUN, ["--target", TARGET], "PipelineRun r: its Pipeline, p, is not among the files; give the file"),
        (RUN.replace("name: p", "{}"), ["--target", TARGET], "PipelineRun r: it names no Pipeline"),
        (f"{PIPELINE}---\n{RUN}", ["--target", "x"], "not an image reference"),
        (f"{PIPELINE}---\n{RUN}", ["--target", TARGET, "--workspace", "wx"], "workspace wx: the pipeline has no such"),
        ("a: [", [], "x.yaml, line 1: no YAML"),
        ("- a\n", [], "x.yaml: one of its documents is no mapping"),
        ("kind: PipelineRun\nspec: 3\n", [], "spec is not a mapping"),
        ("kind: PipelineRun\nmetadata: [a]\n", [], "metadata is not a mapping"),
    ],
)
def test_what_cannot_be_rendered_is_one_line_and_exit_code_2(
    agent_render: Render, text: str, words: list[str], message: str
) -> None:
    agent_render.write("x.yaml", text)
    done = agent_render("-f", "x.yaml", *words, exits=2)
    assert done.stdout == ""
    assert re.fullmatch(r"agent: error: [^\n]*; [^\n]*\n", done.stderr)
    assert message in done.stderr


def test_a_file_that_cannot_be_read_is_exit_code_40(agent_render: Render) -> None:
    assert "missing.yaml: cannot be read" in agent_render("-f", "missing.yaml", exits=40).stderr
    (agent_render.place / "x.yaml").write_bytes(b"a: \xff\xfe")
    assert "x.yaml: not UTF-8" in agent_render("-f", "x.yaml", exits=2).stderr


# Objects in, objects out.


def test_runs_without_an_empty_dir_and_objects_of_others_stay_as_they_are() -> None:
    found = [
        {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "b"}},
        {"kind": "PipelineRun", "metadata": {"name": "r"}, "spec": {"pipelineRef": {"name": "elsewhere"}}},
        {"kind": "Deployment", "spec": {"tasks": 3}},
    ]
    assert render(found, RenderOptions(SETTINGS)) == found


def test_runs_that_want_the_same_of_a_pipeline_share_it_and_others_get_their_own() -> None:
    pipeline, run = documents.read(f"{PIPELINE}---\n{RUN}", "x")
    again = {**run, "metadata": {"generateName": "again-"}}
    wrapped = render([pipeline, run, again], RenderOptions(SETTINGS, TARGET))
    assert wrapped[0] != pipeline
    assert wrapped[1:] == [run, again]
    other = copy.deepcopy(again)
    other["spec"]["workspaces"][0]["subPath"] = "x"
    plain = {
        **run,
        "spec": {**run["spec"], "workspaces": [{"name": "ws", "persistentVolumeClaim": {"claimName": "c"}}]},
    }
    found = render([run, other, again, plain, pipeline], RenderOptions(SETTINGS, TARGET))
    assert [item["metadata"].get("name") for item in found] == ["r", None, None, "r", "p", "p-2", "p-3"]
    assert [item["spec"]["pipelineRef"]["name"] for item in found[:4]] == ["p-2", "p-3", "p-2", "p"]
    assert found[4] == pipeline
    assert render(found, RenderOptions(SETTINGS, TARGET)) == found


@pytest.mark.parametrize(("kind", "is_refused"), [("array", True), ("string", False)])
def test_tasks_whose_parameters_tekton_would_mix_up_are_not_written_into_a_pipeline_spec(
    kind: str, is_refused: bool
) -> None:
    tasks = [
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "Task",
            "metadata": {"name": name},
            "spec": {
                "params": [{"name": "words", "type": of}],
                "workspaces": [{"name": "ws"}],
                "steps": [{"name": "s", "image": "a", "command": ["c"]}],
            },
        }
        for name, of in (("one", "string"), ("two", kind))
    ]
    uses = [{"name": name, "taskRef": {"name": name}, "workspaces": [{"name": "ws"}]} for name in ("one", "two")]
    spec = {"workspaces": [{"name": "ws"}], "tasks": uses}
    run = {**documents.read(RUN, "r")[0], "spec": {"workspaces": [{"name": "ws", "emptyDir": {}}]}}
    inline = [{**run, "spec": {**run["spec"], "pipelineSpec": spec}}, *tasks]
    if is_refused:
        with pytest.raises(AgentError, match="task two: its parameter words is of type array"):
            render(inline, RenderOptions(SETTINGS, target=TARGET))
    else:
        render(inline, RenderOptions(SETTINGS, target=TARGET))
    pipeline = {"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "spec": spec}
    apart = [{**run, "spec": {**run["spec"], "pipelineRef": {"name": "p"}}}, pipeline, *tasks]
    render(apart, RenderOptions(SETTINGS, target=TARGET))


def test_a_task_for_a_resolver_is_known_by_its_name_or_its_files() -> None:
    [task, *_] = [found for found in given_case("referenced") if found["kind"] == "Task"]
    for params in (
        [{"name": "kind", "value": "task"}, {"name": "name", "value": "git-clone"}],
        [{"name": "pathInRepo", "value": "task/0.10/git-clone.yaml"}],
        [{"name": "url", "value": "https://example.com/git-clone.yml"}],
    ):
        pipeline, run = documents.read(f"{PIPELINE}---\n{RUN}", "x")
        [asks] = pipeline["spec"]["tasks"]
        del asks["taskSpec"]
        asks |= {
            "taskRef": {"resolver": "any", "params": params},
            "workspaces": [{"name": "output", "workspace": "ws"}],
        }
        wrapped, _, _ = render([pipeline, run, task], RenderOptions(SETTINGS, TARGET))
        assert wrapped["spec"]["tasks"][0]["taskSpec"]["steps"][-1]["name"] == "instep-push"


@pytest.mark.parametrize("case", CASES)
def test_nothing_of_a_pipeline_is_lost(case: str) -> None:
    """Whatever was there is there, in its place: only steps, volumes, names and what a Task brings are added."""
    before = given_case(case)
    for old, new in zip(before, rendered(case), strict=True):
        if old["kind"] in ("Pipeline", "PipelineRun"):
            _assert_within(old["spec"], new["spec"], old["kind"])


def _assert_within(old: Any, new: Any, place: str) -> None:
    if isinstance(old, dict):
        for key, value in old.items():
            if key not in ("taskRef", "pipelineRef"):
                assert key in new, place
                _assert_within(value, new[key], f"{place}.{key}")
    elif isinstance(old, list) and all(isinstance(item, dict) for item in old):
        kept = (
            [item for item in new if not str(item.get("name")).startswith("instep")] if place.endswith("steps") else new
        )
        mine = (
            [item for item in old if not str(item.get("name")).startswith("instep")] if place.endswith("steps") else old
        )
        assert len(kept) >= len(mine), place
        for index, (was, now) in enumerate(zip(mine, kept, strict=False)):
            _assert_within(was, now, f"{place}[{index}]")
    else:
        assert old == new, place


# Anything that is no pipeline ends in the declared error.

JUNK = (
    st.none()
    | st.integers()
    | st.text(max_size=3)
    | st.lists(st.none(), max_size=1)
    | st.just({})
    | st.just({"name": 1})
)


@laws
@given(st.sampled_from(CASES), st.data())
def test_a_spoilt_object_is_refused_or_rendered_but_never_a_crash(case: str, data: st.DataObject) -> None:
    found = given_case(case)
    for _ in range(data.draw(st.integers(1, 2))):
        _spoil(data.draw(st.sampled_from(found)), data)
    try:
        documents.write(render(found, RenderOptions(SETTINGS, TARGET)))
    except AgentError as error:
        assert error.exit_code == 2


def _spoil(value: Any, data: st.DataObject) -> None:
    while True:
        key = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        if isinstance(value[key], dict | list) and value[key] and data.draw(st.integers(0, 5)):
            value = value[key]
            continue
        value[key] = copy.deepcopy(data.draw(JUNK))
        return


def test_the_golden_files_are_what_the_command_prints(agent_render: Render) -> None:
    shown = agent_render("-f", str(HERE / "parallel" / "given.yaml"), "--image", SETTINGS.image).stdout
    assert shown == (HERE / "parallel" / "rendered.yaml").read_text()


def test_what_cannot_work_is_told_on_standard_error(agent_render: Render) -> None:
    users = "".join(
        f"      - {{name: s{user}, image: a, securityContext: {{runAsUser: {user}}}}}\n" for user in (1000, 2000)
    )
    template = "      stepTemplate: {securityContext: {runAsUser: 1000}}\n"
    head = PIPELINE.partition("      steps:\n")[0]
    name = agent_render.write("p.yaml", f"{head}{template}      steps:\n{users}---\n{RUN}")
    done = agent_render("--target", TARGET, "-f", name)
    assert "Pipeline p, task a: its steps run as different users (1000, 2000)" in done.stderr
    assert "different users" not in done.stdout


@pytest.mark.parametrize(("words", "expected"), [([], "54m"), (["--step-timeout", "10m"], "10m")])
def test_the_steps_have_a_timeout(agent_render: Render, words: list[str], expected: str) -> None:
    name = agent_render.write("p.yaml", f"{PIPELINE}---\n{RUN}")
    done = agent_render("--target", TARGET, "-f", name, *words)
    assert f"timeout: '{expected}'" in done.stdout
    refused = agent_render("--target", TARGET, "-f", name, "--step-timeout", "soon", exits=2)
    assert "--step-timeout: it is soon; write a duration" in refused.stderr
