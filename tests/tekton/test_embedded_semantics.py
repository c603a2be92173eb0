"""Runs with a Pipeline of their own, in the shapes that Tekton's examples have: admitted, resolved, and run for real.

Tekton gives an embedded spec some things without a declaration, and a Pipeline that a resolver answers with none of
them. So each shape goes all the way: the answers of webhook and resolver, what Tekton demands, and the tasks with
a registry.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from agent.tekton.controlplane.effects import AskResolver, GetObject, RequestAnswer
from agent.tekton.controlplane.launch_run import launch
from agent.tekton.controlplane.resolution import resolve
from agent.tekton.model import documents
from agent.tekton.pipeline.installation import Installation
from tests.tekton.local_tekton import LocalTekton, environment
from tests.tekton.made import SETTINGS
from tests.tekton.referenced import problems_of_pipeline
from tests.tekton.schema import check
from tests.tekton.test_admission import stored
from tests.tekton.test_resolution import T0, request

IMAGE = {"name": "work", "image": "alpine"}


class Cluster:
    """A namespace with Tasks, a registry, and a run in it."""

    def __init__(self, place: Path, registry: str) -> None:
        self.place = place
        self.target = f"{registry}/{place.name.replace('_', '-').lower()}/{{{{workspace}}}}:$(context.pipelineRun.name)"
        self.tasks: dict[str, dict[str, Any]] = {}
        """By name, or by the resolver that finds it."""

    def run(self, text: str, *, form: str = "references", **bindings: dict[str, str] | None) -> LocalTekton:
        """Run what a manifest says, with the annotations that ask for the wrapping.

        Args:
            bindings: files of workspaces that are no emptyDir.
        """
        manifest, *others = documents.read(text, "x")
        self.tasks |= {found["metadata"]["name"]: found for found in others}
        says = {"instep.dev/wrap.target": self.target, "instep.dev/wrap.form": form}
        if manifest["kind"] == "PipelineRun":
            manifest["metadata"] = {"generateName": "r-", "annotations": says}
        check(manifest)
        live = launch(manifest) if manifest["kind"] == "CustomRun" else stored(manifest)
        check(live)
        live["metadata"] = {**live["metadata"], "name": "run", "namespace": "ci", "uid": "uid-of-run"}
        pipeline = self.answered(live, live["spec"]["pipelineRef"]["params"])
        assert list(problems_of_pipeline(pipeline["spec"])) == []
        referenced = {task["name"] for task in tasks_of(pipeline["spec"]) if "taskRef" in task}
        for task in tasks_of(pipeline["spec"]):
            if "taskRef" in task:
                task["taskSpec"] = self.referred(live, task["taskRef"])["spec"]
        empty = [binding["name"] for binding in live["spec"]["workspaces"] if "emptyDir" in binding]
        given = {param["name"]: param["value"] for param in live["spec"].get("params", [])}
        found = LocalTekton(
            self.place / "run",
            environment(self.place),
            bindings={**bindings, **dict.fromkeys(empty)},
            referenced=frozenset(referenced),
        )
        self.succeeded = found.run(pipeline["spec"], "run", given)
        return found

    def referred(self, live: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
        if reference.get("resolver") == "wrap":
            return self.answered(live, reference["params"])
        return self.tasks[reference.get("name") or reference["resolver"]]

    def answered(self, live: dict[str, Any], params: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what our resolver answers, with Tekton's part played: variables, the namespace, other resolvers."""
        asked = request()
        meta = live["metadata"]
        text = json.dumps(params)
        for name in ("name", "namespace", "uid"):
            text = text.replace(f"$(context.pipelineRun.{name})", meta[name])
        for param in live["spec"].get("params", []):
            text = text.replace(f"$(params.{param['name']})", "BROKEN" if isinstance(param["value"], str) else "")
        asked["spec"]["params"] = json.loads(text)
        asked["metadata"]["ownerReferences"][0] |= {"name": meta["name"], "uid": meta["uid"]}
        resolution = resolve(asked, Installation(SETTINGS), T0)
        step = next(resolution)
        try:
            while True:
                step = resolution.send(self.found(step, live))
        except StopIteration as end:
            outcome = end.value
        assert isinstance(outcome, RequestAnswer)
        assert outcome.refusal is None, outcome.refusal
        found = json.loads(b64decode(outcome.status["data"]))
        check(found)
        return dict(found)

    def found(self, step: Any, live: dict[str, Any]) -> Any:
        match step:
            case GetObject("PipelineRun", _):
                return live
            case GetObject("Task", name):
                return self.tasks.get(name)
            case AskResolver(nested):
                label = nested["metadata"]["labels"]["resolution.tekton.dev/type"]
                data = b64encode(json.dumps(self.tasks[label]).encode()).decode()
                return {**nested, "status": {"data": data, "refSource": {}}}
            case _:
                raise AssertionError(step)


def tasks_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec["tasks"], *spec.get("finally", [])]


@pytest.fixture
def cluster(tmp_path: Path, registry: str) -> Cluster:
    return Cluster(tmp_path, registry)


def manifest(spec: str) -> str:
    return f"apiVersion: tekton.dev/v1\nkind: PipelineRun\nmetadata: {{}}\nspec:\n{spec}"


def test_workspaces_and_parameters_that_nobody_declares(cluster: Cluster) -> None:
    """Propagated: a ConfigMap, a Secret and an emptyDir of the run, and a parameter, straight in the steps' scripts."""
    tekton = cluster.run(
        manifest("""\
  params: [{name: file, value: menu.txt}]
  workspaces:
  - {name: shared, emptyDir: {}}
  - {name: recipes, configMap: {name: recipes}}
  - {name: vault, secret: {secretName: vault}}
  pipelineSpec:
    tasks:
    - name: cook
      taskSpec:
        steps:
        - name: work
          image: a
          script: |
            grep -q sesame $(workspaces.vault.path)/word
            cp $(workspaces.recipes.path)/soup $(workspaces.shared.path)/$(params.file)
    - name: serve
      runAfter: [cook]
      taskSpec:
        steps:
        - {name: work, image: a, script: "cat $(workspaces.shared.path)/$(params.file)"}
"""),
        recipes={"soup": "boil water"},
        vault={"word": "sesame"},
    )
    assert cluster.succeeded, tekton.output
    assert tekton.output["run-serve-pod/work"] == "boil water"


@pytest.mark.parametrize("form", ["references", "inline"])
def test_a_task_that_is_referred_to_beside_an_embedded_one(cluster: Cluster, form: str) -> None:
    """The Task declares its workspace, and the pipeline's task maps it; the pipeline declares none."""
    tekton = cluster.run(
        manifest("""\
  workspaces: [{name: shared, emptyDir: {}}]
  pipelineSpec:
    tasks:
    - {name: fetch, workspaces: [{name: data, workspace: shared}], taskRef: {name: fetch}}
    - name: print
      runAfter: [fetch]
      taskSpec:
        steps: [{name: work, image: a, script: cat $(workspaces.shared.path)/it}]
---
apiVersion: tekton.dev/v1
kind: Task
metadata: {name: fetch}
spec:
  workspaces: [{name: data}]
  steps: [{name: work, image: a, script: printf hi > $(workspaces.data.path)/it}]
"""),
        form=form,
    )
    assert cluster.succeeded, tekton.output
    assert tekton.output["run-print-pod/work"] == "hi"


def test_a_task_of_another_resolver(cluster: Cluster) -> None:
    cluster.tasks["git"] = {
        "apiVersion": "tekton.dev/v1",
        "kind": "Task",
        "metadata": {"name": "clone"},
        "spec": {
            "params": [{"name": "url"}],
            "workspaces": [{"name": "output"}],
            "steps": [{**IMAGE, "script": "printf '%s' '$(params.url)' > $(workspaces.output.path)/from"}],
        },
    }
    tekton = cluster.run(
        manifest("""\
  workspaces: [{name: output, emptyDir: {}}]
  pipelineSpec:
    workspaces: [{name: output}]
    tasks:
    - name: clone
      workspaces: [{name: output}]
      taskRef: {resolver: git, params: [{name: url, value: https://example.com/catalog}]}
      params: [{name: url, value: https://example.com/it}]
    - name: look
      runAfter: [clone]
      taskSpec:
        steps: [{name: work, image: a, script: cat $(workspaces.output.path)/from}]
""")
    )
    assert cluster.succeeded, tekton.output
    assert tekton.output["run-look-pod/work"] == "https://example.com/it"


def test_an_optional_workspace_that_is_bound_to_nothing(cluster: Cluster) -> None:
    """Passed on as text by the pipeline, asked for by a Task, and looked at by a task that is referred to."""
    tekton = cluster.run(
        manifest("""\
  workspaces: [{name: launch, emptyDir: {}}]
  pipelineSpec:
    workspaces:
    - {name: launch}
    - {name: before, optional: true}
    tasks:
    - name: make
      taskSpec:
        steps: [{name: work, image: a, script: echo run > $(workspaces.launch.path)/main}]
    - name: say
      taskRef: {name: say}
      params: [{name: values, value: [is it there, $(workspaces.before.bound), and, $(workspaces.launch.bound)]}]
    - name: run
      runAfter: [say, make]
      workspaces: [{name: before, workspace: before}, {name: launch, workspace: launch}]
      taskRef: {name: run}
---
apiVersion: tekton.dev/v1
kind: Task
metadata: {name: say}
spec:
  params: [{name: values, type: array}]
  steps: [{name: work, image: a, command: [echo], args: ["$(params.values[*])"]}]
---
apiVersion: tekton.dev/v1
kind: Task
metadata: {name: run}
spec:
  workspaces: [{name: before, optional: true}, {name: launch}]
  steps:
  - {name: work, image: a, script: "test $(workspaces.before.bound) = false && cat $(workspaces.launch.path)/main"}
""")
    )
    assert cluster.succeeded, tekton.output
    assert tekton.output["run-say-pod/work"] == "is it there false and true\n"
    assert tekton.output["run-run-pod/work"] == "run\n"


@pytest.mark.parametrize("bound", [True, False])
def test_a_task_that_runs_when_an_optional_workspace_is_bound(cluster: Cluster, bound: bool) -> None:
    binding = "{name: motd, emptyDir: {}}" if bound else "{name: other, emptyDir: {}}"
    tekton = cluster.run(
        manifest(f"""\
  workspaces: [{binding}]
  pipelineSpec:
    workspaces: [{{name: motd, optional: true}}]
    tasks:
    - name: with
      when: [{{input: $(workspaces.motd.bound), operator: in, values: ["true"]}}]
      workspaces: [{{name: motd, workspace: motd}}]
      taskSpec:
        workspaces: [{{name: motd, optional: true}}]
        steps: [{{name: work, image: a, script: echo hello > $(workspaces.motd.path)/seen}}]
    - name: without
      when: [{{input: $(workspaces.motd.bound), operator: in, values: ["false"]}}]
      taskSpec:
        steps: [{{name: work, image: a, script: echo none}}]
""")
    )
    assert cluster.succeeded, tekton.output
    assert tekton.ended == {"with": "Succeeded" if bound else "None", "without": "None" if bound else "Succeeded"}


def test_a_workspace_that_one_step_alone_mounts(cluster: Cluster) -> None:
    """Isolated: the agent's steps reach the volume all the same, and the others do not see it."""
    tekton = cluster.run(
        manifest("""\
  workspaces: [{name: keys, emptyDir: {}}]
  pipelineSpec:
    workspaces: [{name: keys}]
    tasks:
    - name: make
      workspaces: [{name: creds, workspace: keys}]
      taskSpec:
        workspaces: [{name: creds}]
        steps:
        - {name: work, image: a, script: echo key > /creds/id, workspaces: [{name: creds, mountPath: /creds}]}
        - {name: other, image: a, script: test ! -d /creds}
    - name: use
      runAfter: [make]
      workspaces: [{name: creds, workspace: keys}]
      taskSpec:
        workspaces: [{name: creds}]
        steps: [{name: work, image: a, script: cat /creds/id, workspaces: [{name: creds, mountPath: /creds}]}]
""")
    )
    assert cluster.succeeded, tekton.output
    assert tekton.output["run-use-pod/work"] == "key\n"


def test_steps_whose_failure_is_ignored_by_a_parameter(cluster: Cluster) -> None:
    tekton = cluster.run(
        manifest("""\
  params: [{name: CONTINUE, value: continue}]
  workspaces: [{name: ws, emptyDir: {}}]
  pipelineSpec:
    params: [{name: CONTINUE}]
    workspaces: [{name: ws}]
    tasks:
    - name: writer
      params: [{name: CONTINUE, value: $(params.CONTINUE)}]
      workspaces: [{name: mine, workspace: ws}]
      taskSpec:
        params: [{name: CONTINUE}]
        results: [{name: number}]
        workspaces: [{name: mine}]
        steps:
        - {name: work, image: a, onError: $(params.CONTINUE), script: "echo bar > $(workspaces.mine.path)/foo; exit 1"}
        - {name: result, image: a, onError: continue, script: "printf 123 > $(results.number.path); exit 11"}
    - name: reader
      params: [{name: number, value: $(tasks.writer.results.number)}]
      workspaces: [{name: yours, workspace: ws}]
      taskSpec:
        workspaces: [{name: yours}]
        steps:
        - {name: work, image: a, script: "test $(params.number) = 123 && cat $(workspaces.yours.path)/foo"}
        - {name: last, image: a, onError: continue, script: exit 20}
""")
    )
    assert cluster.succeeded, tekton.output
    assert tekton.output["run-reader-pod/work"] == "bar\n"
    assert ("run-writer-pod", "work", 1) in tekton.log


def test_tasks_that_conditions_skip_and_a_finally_that_looks_at_how_they_ended(cluster: Cluster) -> None:
    tekton = cluster.run(
        manifest("""\
  params:
  - {name: path, value: README.md}
  - {name: branches, value: [main, hotfix]}
  workspaces: [{name: source, emptyDir: {}}]
  pipelineSpec:
    params:
    - {name: path, type: string}
    - {name: branches, type: array}
    workspaces: [{name: source}]
    tasks:
    - name: create
      when: [{input: $(params.path), operator: in, values: [README.md]}]
      workspaces: [{name: source, workspace: source}]
      taskSpec:
        workspaces: [{name: source}]
        steps: [{name: work, image: a, script: touch $(workspaces.source.path)/README.md}]
    - name: check
      runAfter: [create]
      params: [{name: path, value: $(params.path)}]
      workspaces: [{name: source, workspace: source}]
      taskSpec:
        params: [{name: path}]
        workspaces: [{name: source}]
        results: [{name: exists}]
        steps:
        - name: work
          image: a
          script: test -f $(workspaces.source.path)/$(params.path) && printf yes > $(results.exists.path)
    - name: echo
      when: [{input: $(tasks.check.results.exists), operator: in, values: ["yes"]}]
      taskSpec: {steps: [{name: work, image: a, script: echo it exists}]}
    - name: on-main
      when: [{input: main, operator: in, values: ["$(params.branches[*])"]}]
      taskSpec: {steps: [{name: work, image: a, script: echo main}]}
    - name: never
      runAfter: [echo]
      when: [{input: $(params.path), operator: notin, values: [README.md]}]
      workspaces: [{name: source}]
      taskSpec: {steps: [{name: work, image: a, script: exit 1}]}
    finally:
    - name: done
      when:
      - {input: $(tasks.echo.status), operator: in, values: [Succeeded]}
      - {input: $(tasks.status), operator: in, values: [Completed]}
      workspaces: [{name: source}]
      taskSpec: {steps: [{name: work, image: a, script: ls $(workspaces.source.path)}]}
    - name: not-done
      when: [{input: $(tasks.status), operator: in, values: [Failed]}]
      taskSpec: {steps: [{name: work, image: a, script: exit 1}]}
""")
    )
    assert cluster.succeeded, tekton.output
    assert tekton.ended == {
        "create": "Succeeded",
        "check": "Succeeded",
        "echo": "Succeeded",
        "on-main": "Succeeded",
        "never": "None",
        "done": "Succeeded",
        "not-done": "None",
    }
    assert tekton.output["run-done-pod/work"] == "README.md\n"


def test_what_is_passed_to_an_embedded_spec_without_a_declaration_goes_before_what_the_run_has(
    cluster: Cluster,
) -> None:
    """Scopes: the task's own value, then the task's default, then the run's; the text may look like anything."""
    tekton = cluster.run(
        manifest("""\
  params:
  - {name: given, value: of the run}
  - {name: both, value: of the run}
  - {name: odd, value: '"}$(x) \\u0024'}
  workspaces: [{name: ws, emptyDir: {}}]
  pipelineSpec:
    tasks:
    - name: say
      params:
      - {name: both, value: of the task}
      - {name: own, value: its own}
      workspaces: [{name: ws}]
      taskSpec:
        steps:
        - name: work
          image: a
          command: [printf, '%s/%s/%s/%s/%s']
          args: [$(params.given), $(params.both), $(params.own), $(params.odd), $(context.pipeline.name)]
        - {name: keep, image: a, script: echo x > $(workspaces.ws.path)/x}
""")
    )
    assert cluster.succeeded, tekton.output
    assert tekton.output["run-say-pod/work"] == 'of the run/of the task/its own/"}$(x) \\u0024/run'


def test_a_custom_task_with_an_embedded_spec(cluster: Cluster) -> None:
    """The way that needs no webhook. Its parameters and workspaces are the Pipeline's."""
    tekton = cluster.run(
        f"""\
apiVersion: tekton.dev/v1beta1
kind: CustomRun
metadata: {{name: run}}
spec:
  params:
  - {{name: ocipipeline.target, value: "{cluster.target.replace("pipelineRun", "run")}"}}
  - {{name: word, value: hi}}
  workspaces: [{{name: ws, emptyDir: {{}}}}]
  customSpec:
    apiVersion: tekton.dev/v1alpha1
    kind: OCIPipeline
    spec:
      tasks:
      - name: make
        taskSpec:
          steps: [{{name: work, image: a, script: printf $(params.word) > $(workspaces.ws.path)/it}}]
      - name: look
        runAfter: [make]
        taskSpec:
          steps: [{{name: work, image: a, script: cat $(workspaces.ws.path)/it}}]
"""
    )
    assert cluster.succeeded, tekton.output
    assert tekton.output["run-look-pod/work"] == "hi"
