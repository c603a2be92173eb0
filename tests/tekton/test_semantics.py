"""A wrapped pipeline does what it would do on a shared volume: run for real, with the agent and a registry."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.tekton.frontends.render_objects import render
from agent.tekton.frontends.render_request import RenderOptions
from agent.tekton.model import documents
from agent.tekton.model.push_result import parse_result
from tests.tekton.local_tekton import LocalTekton, environment
from tests.tekton.made import SETTINGS

EXAMPLE = Path(__file__).parents[2] / "examples" / "simple-pipeline.yaml"


class Bench:
    """Renders pipelines and runs them against a registry."""

    def __init__(self, place: Path, registry: str) -> None:
        self.place = place
        self.target = f"{registry}/{place.name.replace('_', '-').lower()}/{{{{workspace}}}}:$(context.pipelineRun.name)"

    def run(
        self,
        text: str,
        name: str,
        *,
        meeting: frozenset[str] = frozenset(),
        lost: frozenset[str] = frozenset(),
        **params: str,
    ) -> LocalTekton:
        rendered = documents.read(
            documents.write(render(documents.read(text, "x"), RenderOptions(SETTINGS, self.target))), "x"
        )
        tekton = LocalTekton(self.place / name, environment(self.place), meeting=meeting, lost=lost)
        self.succeeded = tekton.run(spec_of(rendered), name, params)
        return tekton

    def agent(self, command: str, name: str, workspace: str, *words: str) -> str:
        target = self.target.replace("{{workspace}}", workspace).replace("$(context.pipelineRun.name)", name)
        program = [sys.executable, "-m", "agent", command, target, *words]
        done = subprocess.run(program, env=environment(self.place), capture_output=True, text=True, check=True)
        return done.stdout


def spec_of(rendered: list[dict[str, Any]]) -> dict[str, Any]:
    return next(found["spec"] for found in rendered if found["kind"] == "Pipeline")


@pytest.fixture
def bench(tmp_path: Path, registry: str) -> Bench:
    return Bench(tmp_path, registry)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A Git repository with two files."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    root = tmp_path / "words"
    root.mkdir()
    (root / "a.txt").write_text("hello\n")
    (root / "b.txt").write_text("world\n")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "words"]):
        subprocess.run(["git", *words], cwd=root, check=True, env=environment(tmp_path))
    return root


def test_finally_sees_what_parallel_tasks_did_to_what_the_first_one_made(bench: Bench, repository: Path) -> None:
    """Build and test have both pulled before either pushes, and `report` has only what the registry holds."""
    tekton = bench.run(
        EXAMPLE.read_text(), "simple-1", meeting=frozenset({"build", "test"}), url=f"file://{repository}"
    )
    assert bench.succeeded, tekton.output
    assert tekton.results["report"] == {"summary": "hello\nworld tested: a.txt\nb.txt"}
    paths = bench.agent("ls", "simple-1", "source").splitlines()
    assert {"a.txt", "b.txt", "out/", "out/program", "out/tested"} <= set(paths)
    assert len(bench.agent("log", "simple-1", "source").splitlines()) == 3


SIDES = ("left", "right")
PIPELINE = """\
kind: Pipeline
apiVersion: tekton.dev/v1
metadata: {name: p}
spec:
  workspaces: [{name: ws}]
  tasks:
  - name: make
    workspaces: [{name: ws}]
    taskSpec:
      workspaces: [{name: ws}]
      steps:
      - name: work
        image: alpine
        workingDir: $(workspaces.ws.path)
        script: echo 1 > kept; echo 2 > removed; mkdir part; echo 3 > part/inner
%s
---
kind: PipelineRun
apiVersion: tekton.dev/v1
metadata: {generateName: p-}
spec: {pipelineRef: {name: p}, workspaces: [{name: ws, emptyDir: {}}]}
"""


def task(name: str, script: str, **fields: Any) -> str:
    step = {"name": "work", "image": "alpine", "workingDir": "$(workspaces.ws.path)", "script": script}
    found = {
        "name": name,
        "workspaces": [{"name": "ws"}],
        "taskSpec": {"workspaces": [{"name": "ws"}], "steps": [step]},
    }
    text = documents.write([[found | fields]]).removeprefix("---\n")
    return "".join(f"  {line}\n" for line in text.splitlines())


def test_a_deletion_reaches_the_next_task(bench: Bench) -> None:
    tasks = task("remove", "rm removed", runAfter=["make"]) + task(
        "look", "test ! -e removed && cat kept", runAfter=["remove"]
    )
    tekton = bench.run(PIPELINE % tasks, "deletion")
    assert bench.succeeded, tekton.output
    assert tekton.output["deletion-look-pod/work"] == "1\n"


def test_a_retry_begins_with_what_the_task_was_given_and_counts_once(bench: Bench, tmp_path: Path) -> None:
    """The first attempt dies after it wrote; nothing of that is there in the second, nor at the end."""
    script = (
        f"test ! -e half || exit 9; echo x > half; if mkdir {tmp_path}/once; then exit 1; fi; rm half; echo x > whole"
    )
    tasks = task("flaky", script, runAfter=["make"], retries=1) + "  finally:\n" + task("look", "ls")
    tekton = bench.run(PIPELINE % tasks, "retry")
    assert bench.succeeded, tekton.output
    steps = [entry for entry in tekton.log if "flaky" in entry[0]]
    assert steps == [
        ("retry-flaky-pod", "instep-pull", 0),
        ("retry-flaky-pod", "work", 1),
        ("retry-flaky-pod-retry1", "instep-pull", 0),
        ("retry-flaky-pod-retry1", "work", 0),
        ("retry-flaky-pod-retry1", "instep-push", 0),
    ]
    assert tekton.output["retry-look-pod/work"].split() == ["kept", "part", "removed", "whole"]


@pytest.mark.sweep(2)
@pytest.mark.parametrize("retries", [0, 1])
def test_a_pod_that_was_lost_after_its_push_counts_once(bench: Bench, retries: int) -> None:
    """As when a node is lost: Tekton makes the pod anew, under the same name."""
    tasks = task("count", "echo x >> kept; echo $INSTEP_POD_UID > by", runAfter=["make"], retries=retries) + task(
        "look", "cat kept by", runAfter=["count"]
    )
    tekton = bench.run(PIPELINE % tasks, "lost", lost=frozenset({"count"}))
    assert bench.succeeded, tekton.output
    assert [entry for entry in tekton.log if entry[1] == "instep-push" and "count" in entry[0]] == [
        ("lost-count-pod", "instep-push", 0)
    ] * 2
    first, second, uid = tekton.output["lost-look-pod/work"].split()
    assert (first, second) == ("1", "x")
    changes = json.loads(bench.agent("log", "lost", "ws", "--json"))["changes"]
    assert [entry["superseded"] for entry in changes if entry["lane"].endswith("/count")] == [False, True]
    assert uid in [entry["pod"] for entry in changes if not entry["superseded"]]


def test_a_conflict_is_in_the_step_result_of_the_task_that_met_it(bench: Bench) -> None:
    """Both have pulled before either pushes; the one that pushes last, or both, see that they disagree."""
    tasks = "".join(task(name, f"echo {name} > kept; echo {name} > {name}", runAfter=["make"]) for name in SIDES)
    tasks += task("settle", "echo settled > kept", runAfter=list(SIDES))
    tekton = bench.run(PIPELINE % tasks, "conflict", meeting=frozenset(SIDES))
    assert bench.succeeded, tekton.output
    written = {
        name: parse_result(tekton.step_results[f"conflict-{name}-pod", "instep-push"]["published"])
        for name in ("make", *SIDES, "settle")
    }
    found = [written[name] for name in SIDES if written[name] and written[name].conflicts]
    assert found and {result.conflicts for result in found} == {1} and len({result.paths for result in found}) == 1
    changes = json.loads(bench.agent("log", "conflict", "ws", "--json"))["changes"]
    lanes = {result.change: name for name, result in written.items() if result is not None}
    assert {change["id"][:12]: change["lane"].rpartition("/")[2] for change in changes} == lanes
    assert not any(written[name].conflicts for name in ("make", "settle") if written[name])
    assert tekton.step_results["conflict-left-pod", "instep-pull"] == {}


def test_finally_sees_what_was_pushed_before_a_task_failed(bench: Bench) -> None:
    tasks = task("good", "echo x > good", runAfter=["make"]) + task("bad", "echo x > bad; exit 1", runAfter=["good"])
    tekton = bench.run(PIPELINE % (tasks + "  finally:\n" + task("look", "ls")), "failure")
    assert not bench.succeeded
    assert tekton.output["failure-look-pod/work"].split() == ["good", "kept", "part", "removed"]


def test_first_tasks_that_run_at_once_and_pull_nothing_are_merged(bench: Bench) -> None:
    tasks = (
        task("other", "echo other > other; mkdir part; echo 4 > part/more")
        + "  finally:\n"
        + task("look", "find . -type f | sort")
    )
    tekton = bench.run(PIPELINE % tasks, "firsts")
    assert bench.succeeded, tekton.output
    looked = [pod for pod, step, _ in tekton.log if step == "instep-pull"]
    assert sorted(looked) == ["firsts-look-pod", "firsts-make-pod", "firsts-other-pod"]
    assert tekton.output["firsts-look-pod/work"].split() == [
        "./kept",
        "./other",
        "./part/inner",
        "./part/more",
        "./removed",
    ]
