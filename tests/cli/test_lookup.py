"""`agent render` with bundles: the tests that TEP-0018 asks for, against real ones."""

from __future__ import annotations

import copy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.tekton.model import documents
from tests.cli.conftest import Agent
from tests.cli.pages import shown
from tests.tekton.schema import check
from tests.tekton.test_lookup import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "lookup"
TARGET = "reg.io/ws-{{workspace}}:$(context.pipelineRun.name)"


def objects(path: Path) -> list[dict[str, Any]]:
    return [found for file in sorted(path.glob("*.yaml")) for found in documents.read(file.read_text(), file.name)]


OBJECTS = objects(EXAMPLE / "tekton")
RUN: dict[str, Any] = {
    "apiVersion": "tekton.dev/v1",
    "kind": "PipelineRun",
    "metadata": {"generateName": "ci-"},
    "spec": {"pipelineRef": {"name": "ci"}, "workspaces": [{"name": "source", "emptyDir": {}}]},
}


class Lookups:
    """Bundles in one registry, and what `agent render` makes of runs."""

    def __init__(self, agent: Agent, base: str) -> None:
        self.agent = agent
        self.base = base

    def push(self, tag: str, *values: dict[str, Any]) -> tuple[str, str]:
        """Return the bundle by its tag, and with its digest."""
        self.write("bundle.yaml", *values)
        bundle = f"{self.base}:{tag}"
        return bundle, self.agent("bundle", "push", bundle, "-f", "bundle.yaml").stdout.strip()

    def write(self, name: str, *values: dict[str, Any]) -> None:
        (self.agent.place / name).write_text(documents.write(values))

    def render(self, *words: str, values: tuple[dict[str, Any], ...] = (RUN,)) -> list[dict[str, Any]]:
        self.write("given.yaml", *values)
        found = documents.read(self.agent("render", "-f", "given.yaml", *words).stdout, "rendered")
        for value in found:
            check(value)
        return found

    def fails(self, exits: int, *words: str, values: tuple[dict[str, Any], ...] = (RUN,)) -> str:
        self.write("given.yaml", *values)
        done = self.agent("render", "-f", "given.yaml", *words, exits=exits)
        assert done.stdout == ""
        return str(done.stderr)


@pytest.fixture
def lookups(agent: Agent, registry: str, tmp_path: Path) -> Lookups:
    return Lookups(agent, f"{registry}/lookup/{tmp_path.name.replace('_', '-').lower()}")


def test_all_that_a_run_names_is_written_into_it_and_the_rest_is_pinned(lookups: Lookups) -> None:
    bundle, pinned = lookups.push("1", *OBJECTS)
    [found] = lookups.render("--lookup-bundle", bundle)
    kept = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [{"kind": "List", "items": [RUN]}, {"kind": "List", "items": []}],
    }
    assert lookups.render("--lookup-bundle", bundle, values=(kept,)) == [found]
    spec = found["spec"]
    assert found["metadata"] == {"generateName": "ci-", "annotations": {"instep.dev/pipeline-source": pinned}}
    assert "pipelineRef" not in spec
    build, test = spec["pipelineSpec"]["tasks"]
    assert build["taskSpec"]["steps"][1]["ref"] == {
        "resolver": "bundles",
        "params": [
            {"name": "bundle", "value": pinned},
            {"name": "kind", "value": "stepaction"},
            {"name": "name", "value": "stamp"},
        ],
    }
    assert build["taskSpec"]["metadata"]["annotations"] == {"instep.dev/task-source": pinned}
    assert f"looked up in {bundle}" in test["taskSpec"]["steps"][0]["script"]
    assert spec["workspaces"] == RUN["spec"]["workspaces"]
    assert lookups.render("--lookup-bundle", pinned) == [_with_variable(found, bundle, pinned)]


def _with_variable(found: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """The same, rendered with another name of the bundle."""
    value = copy.deepcopy(found)
    step = value["spec"]["pipelineSpec"]["tasks"][1]["taskSpec"]["steps"][0]
    step["script"] = step["script"].replace(f"looked up in {old}", f"looked up in {new}")
    return value


@pytest.mark.parametrize("spelling", ["field", "annotation", "option", "option-over-field"])
def test_a_run_says_itself_where_it_looks_or_is_told(lookups: Lookups, spelling: str) -> None:
    bundle, pinned = lookups.push("1", *OBJECTS)
    value = copy.deepcopy(RUN)
    if spelling == "annotation":
        value["metadata"]["annotations"] = {"instep.dev/lookup-bundle": bundle}
    elif spelling != "option":
        value["spec"]["lookup"] = {"bundle": bundle if spelling == "field" else "reg.io/else:1"}
    words = ["--lookup-bundle", bundle] if spelling.startswith("option") else []
    [found] = lookups.render(*words, values=(value,))
    assert found["metadata"]["annotations"] == {"instep.dev/pipeline-source": pinned}


def test_what_is_in_the_bundle_goes_before_what_is_among_the_files_and_is_left_out(lookups: Lookups) -> None:
    bundle, _ = lookups.push("1", *OBJECTS)
    theirs = {**OBJECTS[0], "spec": {"tasks": []}}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    found = lookups.render("--lookup-bundle", bundle, values=(theirs, RUN, config, *OBJECTS[1:]))
    assert [value["kind"] for value in found] == ["PipelineRun", "ConfigMap"]
    assert len(found[0]["spec"]["pipelineSpec"]["tasks"]) == 2


def test_a_bundle_that_cannot_be_reached_is_an_error_and_nothing_is_looked_up_elsewhere(lookups: Lookups) -> None:
    lookups.push("1", *OBJECTS)
    files = (*OBJECTS, RUN)
    assert "127.0.0.1:1" in lookups.fails(21, "--patience=1s", "--lookup-bundle", "127.0.0.1:1/ci:1", values=files)
    assert "there is no such bundle" in lookups.fails(2, "--lookup-bundle", f"{lookups.base}:none", values=files)
    # Nor are the places after it in a list.
    both = f"127.0.0.1:1/ci:1,cluster,{lookups.base}:1"
    assert "127.0.0.1:1" in lookups.fails(21, "--patience=1s", "--lookup-bundle", both, values=files)


def test_a_bundle_that_holds_some_of_what_is_named_is_an_error_that_says_what_it_holds(lookups: Lookups) -> None:
    bundle, pinned = lookups.push("1", *[value for value in OBJECTS if value["metadata"]["name"] != "test"])
    said = lookups.fails(2, "--lookup-bundle", bundle, values=(*OBJECTS, RUN))
    assert f"task test: it is not in bundle {pinned}, which has pipeline/ci, stepaction/stamp, task/build;" in said
    bundle, _ = lookups.push("2", *[value for value in OBJECTS if value["kind"] == "Task"])
    said = lookups.fails(2, "--lookup-bundle", bundle, values=(*OBJECTS, RUN))
    assert f"pipeline ci: it is not in bundle {bundle}, which has task/build, task/test;" in said


def test_a_list_is_gone_through_in_its_order_where_an_object_is_not_there(lookups: Lookups) -> None:
    by_kind = {value["metadata"]["name"]: value for value in OBJECTS}
    first, first_pinned = lookups.push("1", by_kind["test"], by_kind["stamp"])
    last, last_pinned = lookups.push("3", by_kind["build"])
    mine = {**by_kind["test"], "spec": {"steps": [{"name": "s", "image": "never"}]}}
    lists = [{"bundle": first}, {"cluster": True}, {"bundle": last}]
    value = {**RUN, "spec": {**RUN["spec"], "lookup": lists}}
    found = lookups.render(values=(value, by_kind["ci"], mine))
    [rendered] = [item for item in found if item["kind"] == "PipelineRun"]
    build, test = rendered["spec"]["pipelineSpec"]["tasks"]
    assert rendered["metadata"]["annotations"] == {"instep.dev/pipeline-source": "cluster"}
    assert build["taskSpec"]["metadata"]["annotations"] == {"instep.dev/task-source": last_pinned}
    assert test["taskSpec"]["metadata"]["annotations"] == {"instep.dev/task-source": first_pinned}
    assert build["taskSpec"]["steps"][1]["ref"]["params"][0]["value"] == first_pinned
    assert f"looked up in {first},cluster,{last}" in test["taskSpec"]["steps"][0]["script"]


def test_an_inline_pipeline_and_a_task_run_look_up_their_tasks(lookups: Lookups) -> None:
    bundle, pinned = lookups.push("1", *OBJECTS)
    tasks = [{"name": "a", "taskRef": {"name": "test"}, "workspaces": [{"name": "source"}]}]
    inline = run(pipelineSpec={"workspaces": [{"name": "source"}], "tasks": tasks})
    single = run("TaskRun", taskRef={"name": "test"})
    found = lookups.render("--lookup-bundle", bundle, values=(inline, single))
    embedded = found[0]["spec"]["pipelineSpec"]["tasks"][0]["taskSpec"]
    assert embedded["steps"] == found[1]["spec"]["taskSpec"]["steps"]
    assert found[1]["metadata"]["annotations"] == {"instep.dev/task-source": pinned}
    assert "taskRef" not in found[1]["spec"]


def explicit(place: str, name: str, kind: str = "task") -> dict[str, Any]:
    """A reference that names its bundle by itself."""
    params = {"bundle": place, "name": name, "kind": kind}
    return {"resolver": "bundles", "params": [{"name": key, "value": value} for key, value in params.items()]}


def asked_of(reference: dict[str, Any]) -> dict[str, Any]:
    return {param["name"]: param["value"] for param in reference["params"]} | {"resolver": reference["resolver"]}


def stamp(bundle: str) -> dict[str, Any]:
    return {"bundle": bundle, "kind": "stepaction", "name": "stamp", "resolver": "bundles"}


def actions(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [step["ref"] for step in spec["steps"] if "ref" in step]


def test_a_task_that_names_its_bundle_is_written_in_and_what_it_names_is_looked_up(lookups: Lookups) -> None:
    bundle, pinned = lookups.push("1", *OBJECTS)
    other, other_pinned = lookups.push("other", *OBJECTS[1:])
    embedded = run(pipelineSpec={"tasks": [{"name": "a", "taskRef": explicit(other, "build")}]})
    single = run("TaskRun", taskRef=explicit(other, "build"))
    pipelines, tasks = lookups.render("--lookup-bundle", bundle, values=(embedded, single))
    [task] = pipelines["spec"]["pipelineSpec"]["tasks"]
    assert task["taskSpec"]["metadata"]["annotations"] == {"instep.dev/task-source": other_pinned}
    assert tasks["metadata"]["annotations"] == {"instep.dev/task-source": other_pinned}
    for spec in (task["taskSpec"], tasks["spec"]["taskSpec"]):
        assert [asked_of(action) for action in actions(spec)] == [stamp(pinned)]


def test_a_step_action_that_names_its_bundle_stays_and_is_pinned(lookups: Lookups) -> None:
    bundle, _ = lookups.push("1", *OBJECTS)
    other, other_pinned = lookups.push("other", OBJECTS[-1])
    steps = [{"name": "s", "ref": explicit(other, "stamp", "stepaction")}]
    [found] = lookups.render("--lookup-bundle", bundle, values=(run("TaskRun", taskSpec={"steps": steps}),))
    assert actions(found["spec"]["taskSpec"]) == [explicit(other_pinned, "stamp", "stepaction")]


def test_a_task_of_a_source_that_cannot_be_asked_comes_from_the_files_or_is_refused(lookups: Lookups) -> None:
    """Left as it is, its StepActions would be those of the namespace."""
    bundle, pinned = lookups.push("1", *OBJECTS)
    params = [{"name": "url", "value": "https://example.com/r.git"}, {"name": "pathInRepo", "value": "ci/build.yaml"}]
    git = {"resolver": "git", "params": params}
    values = (run("TaskRun", taskRef=git), run(pipelineSpec={"tasks": [{"name": "a", "taskRef": git}]}))
    for value in values:
        said = lookups.fails(2, "--lookup-bundle", bundle, values=(value,))
        assert "Task git(" in said
        assert "is not among the files; give the file that has it" in said
    single, embedded = lookups.render("--lookup-bundle", bundle, values=(*values, *OBJECTS))
    [action] = actions(single["spec"]["taskSpec"])
    assert action["params"][0]["value"] == pinned
    assert actions(embedded["spec"]["pipelineSpec"]["tasks"][0]["taskSpec"]) == [action]


def test_a_bundle_that_a_variable_names_is_refused(lookups: Lookups) -> None:
    bundle, _ = lookups.push("1", *OBJECTS)
    value = run(pipelineSpec={"tasks": [{"name": "a", "taskRef": explicit("$(params.bundle)", "build")}]})
    assert "task a, Task bundles(" in lookups.fails(2, "--lookup-bundle", bundle, values=(value,))


def test_a_pipeline_of_another_bundle_has_its_bare_names_looked_up(lookups: Lookups) -> None:
    tasks, _ = lookups.push("tasks", *OBJECTS[1:])
    elsewhere, pinned = lookups.push("pipelines", OBJECTS[0])
    params = [{"name": "bundle", "value": elsewhere}, {"name": "name", "value": "ci"}]
    reference = {"resolver": "bundles", "params": [*params, {"name": "kind", "value": "pipeline"}]}
    [found] = lookups.render("--lookup-bundle", tasks, values=(run(pipelineRef=reference),))
    assert found["metadata"]["annotations"] == {"instep.dev/pipeline-source": pinned}
    assert [task["taskSpec"]["steps"][0]["name"] for task in found["spec"]["pipelineSpec"]["tasks"]] == [
        "build",
        "test",
    ]


def test_bundles_that_objects_of_the_bundle_name_are_re_pointed(lookups: Lookups) -> None:
    pipeline = {
        **OBJECTS[0],
        "spec": {"tasks": [{"name": "t", "taskRef": explicit(f"{lookups.base}:release", "test")}]},
    }
    bundle, pinned = lookups.push("1", pipeline, *OBJECTS[1:])
    words = ["--rewrite-bundle", f"{lookups.base}={bundle}"]
    [found] = lookups.render("--lookup-bundle", bundle, *words)
    [task] = found["spec"]["pipelineSpec"]["tasks"]
    assert task["taskSpec"]["metadata"]["annotations"] == {"instep.dev/task-source": pinned}
    # Without a lookup it is a change of text: nothing is asked.
    [shown] = lookups.render(*words, values=(pipeline,))
    assert shown["spec"]["tasks"][0]["taskRef"]["params"][0]["value"] == bundle


@pytest.mark.parametrize("how", ["target", "wrap", "custom"])
def test_a_run_has_its_tasks_from_the_bundle_and_its_workspaces_from_the_registry(lookups: Lookups, how: str) -> None:
    bundle, pinned = lookups.push("1", *OBJECTS)
    words, value = ["--lookup-bundle", bundle], copy.deepcopy(RUN)
    if how == "target":
        words += ["--target", TARGET]
    elif how == "wrap":
        params = [{"name": "pipelineref", "value": "ci"}, {"name": "target", "value": TARGET}]
        value["spec"]["pipelineRef"] = {"resolver": "wrap", "params": params}
    else:
        value = {
            "apiVersion": "tekton.dev/v1beta1",
            "kind": "CustomRun",
            "metadata": {"name": "c"},
            "spec": {
                "customRef": {"apiVersion": "tekton.dev/v1alpha1", "kind": "OCIPipeline", "name": "ci"},
                "params": [{"name": "ocipipeline.target", "value": TARGET}],
                "workspaces": RUN["spec"]["workspaces"],
            },
        }
    [found] = lookups.render(*words, values=(value,))
    build, test = found["spec"]["pipelineSpec"]["tasks"]
    names = [[step["name"] for step in task["taskSpec"]["steps"]] for task in (build, test)]
    assert names == [["instep-pull", "build", "stamp", "instep-push"], ["instep-pull", "test"]]
    assert build["taskSpec"]["metadata"]["annotations"]["instep.dev/task-source"] == pinned
    assert "pipelineRef" not in found["spec"]


def test_versions_may_differ_between_run_pipeline_and_task(lookups: Lookups) -> None:
    old = [{**value, "apiVersion": "tekton.dev/v1beta1"} for value in OBJECTS]
    build = next(value for value in old if value["metadata"]["name"] == "build")
    spec = copy.deepcopy(build["spec"])
    spec["steps"][0]["resources"] = {"limits": {"cpu": "1"}}
    bundle, _ = lookups.push("1", *[value for value in old if value is not build], {**build, "spec": spec})
    [found] = lookups.render("--lookup-bundle", bundle)
    step = found["spec"]["pipelineSpec"]["tasks"][0]["taskSpec"]["steps"][0]
    assert step["computeResources"] == {"limits": {"cpu": "1"}}
    lookups.render("--lookup-bundle", bundle, values=({**RUN, "apiVersion": "tekton.dev/v1beta1"},))


def test_a_layout_serves_where_there_is_no_registry(agent: Agent) -> None:
    here = Lookups(agent, "oci:bundles")
    bundle, _ = here.push("1", *OBJECTS)
    assert "task build, step stamp, ref: a StepAction stays a reference" in here.fails(2, "--lookup-bundle", bundle)
    single = run("TaskRun", taskRef={"name": "test"})
    [found] = here.render("--lookup-bundle", bundle, values=(single,))
    assert found["spec"]["taskSpec"]["steps"][0]["name"] == "test"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lookup-bundle", "ci:1"], "annotation instep.dev/lookup-bundle, ci:1: not an image reference"),
        (["--lookup-bundle", "cluster"], "names no bundle"),
        (["--lookup-bundle", ""], "names no bundle"),
        (["--rewrite-bundle", "reg.io/a:1"], "it is not OLD=NEW"),
        (["--rewrite-bundle", "a=b"], "not an image reference"),
    ],
)
def test_wrong_words_are_one_line(lookups: Lookups, words: list[str], said: str) -> None:
    assert said in lookups.fails(2, *words)


def test_a_run_that_contradicts_itself_is_refused(lookups: Lookups) -> None:
    value = run(says={"bundle": "reg.io/a:1"}, annotation="reg.io/b:1", pipelineRef={"name": "p"})
    assert "leave one of them out" in lookups.fails(2, values=(value,))


# The example.


def test_the_example_is_valid() -> None:
    for value in [*OBJECTS, *objects(EXAMPLE / "runs"), *objects(EXAMPLE / "other-repository")]:
        value["spec"].pop("lookup", None)
        check(value)


def test_the_presubmit_of_the_example_makes_runs_of_this_commit(lookups: Lookups) -> None:
    (lookups.agent.place / "agent").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m agent "$@"\n')
    (lookups.agent.place / "agent").chmod(0o755)
    environ = {**lookups.agent.environ, "PATH": f"{lookups.agent.place}:{lookups.agent.environ['PATH']}"}
    bundle = f"{lookups.base}:pr-7"
    done = subprocess.run(
        [EXAMPLE / "presubmit.sh", bundle], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    nightly, ci = documents.read(done.stdout, "presubmit")
    for value in (nightly, ci):
        check(value)
    pinned = f"{bundle}@{lookups.agent.json('bundle', 'list', bundle)['digest']}"
    assert nightly["metadata"]["annotations"] == {"instep.dev/task-source": pinned}
    assert ci["metadata"]["annotations"] == {"instep.dev/pipeline-source": pinned}
    assert "registry.example.com/team/ci" not in done.stdout
    refers = actions(nightly["spec"]["taskSpec"]) + actions(ci["spec"]["pipelineSpec"]["tasks"][0]["taskSpec"])
    assert [asked_of(action) for action in refers] == [stamp(pinned), stamp(pinned)]
    assert [task["taskSpec"]["steps"][-1]["name"] for task in ci["spec"]["pipelineSpec"]["tasks"]] == [
        "instep-push",
        "test",
    ]


def test_two_repositories_with_the_same_names_do_not_meet(lookups: Lookups) -> None:
    other = objects(EXAMPLE / "other-repository")
    ours, ours_pinned = lookups.push("ours", *OBJECTS)
    theirs, theirs_pinned = lookups.push("theirs", *[value for value in other if value["kind"] != "PipelineRun"])
    [run_of_theirs] = [value for value in other if value["kind"] == "PipelineRun"]
    runs = (
        {**RUN, "spec": {**RUN["spec"], "lookup": {"bundle": ours}}},
        {**run_of_theirs, "spec": {**run_of_theirs["spec"], "lookup": {"bundle": theirs}}},
    )
    found = lookups.render(values=runs)
    sources = [value["metadata"]["annotations"]["instep.dev/pipeline-source"] for value in found]
    assert sources == [ours_pinned, theirs_pinned]
    commands = [value["spec"]["pipelineSpec"]["tasks"][0]["taskSpec"]["steps"][0] for value in found]
    assert "script" in commands[0]
    assert commands[1]["args"] == [f"looked up in {theirs}"]


def test_the_commands_of_the_page_work(lookups: Lookups) -> None:
    """All of them that need no cluster, with a registry of our own in the page and in the files."""
    root, place = EXAMPLE.parents[1], lookups.agent.place
    ours = lookups.base
    for path in EXAMPLE.rglob("*.yaml"):
        copied = place / path.relative_to(root)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_text(path.read_text().replace("registry.example.com", ours))
    commands = shown(root / "docs" / "how-to" / "run-from-a-bundle.md")
    lines = [shlex.split(found.command.replace("registry.example.com", ours)) for found in commands]
    answers = [lookups.agent(*words[1:]).stdout for words in lines if words[0] == "agent"]
    assert len(answers) == 7
    [listed] = [found.output for found in commands if found.command.startswith("agent bundle list")]
    assert answers[1].splitlines() == list(listed)
    nightly, run_of_ours = documents.read(answers[2], "page")
    assert "taskRef" not in nightly["spec"]
    assert "pipelineRef" not in run_of_ours["spec"]
    [run_of_theirs] = documents.read(answers[4], "page")
    assert run_of_theirs["metadata"]["annotations"]["instep.dev/pipeline-source"].startswith("oci:bundles:ci@sha256:")
    [openssl] = [words for words in lines if words[0] == "openssl"]
    subprocess.run(openssl, cwd=place, check=True, capture_output=True)
    assert (place / "tls.crt").exists()
