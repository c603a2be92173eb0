"""As much of Tekton as a wrapped pipeline needs to run here: each step a process, each pod fresh directories.

Containers are not there: where a step has a volume mounted, the path of the volume's directory takes its place in what
the step is told. All else is as Tekton does it: tasks start when what they run after is done, parallel ones at once; a
pod has an emptyDir of its own for every workspace; parameters, results and workspaces reach an embedded spec without a
declaration, and a referenced Task not; a failed step skips those behind it; a retry is a new pod; a pod that is lost is
made anew under its name; what `when` rules out is skipped; `finally` runs at the end, however that came.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.tekton.model.variables import canonical
from agent.tekton.pipeline.graph import dependencies
from agent.tekton.wrap.steps import COMMAND
from agent.tekton.wrap.workspaces import workspaces_mentioned

_VARIABLE = re.compile(r"\$\(([^()]*)\)")


class StepFailedError(Exception):
    """A step ended with a code that is not 0."""


@dataclass
class LocalTekton:
    """Runs a pipeline.

    Attributes:
        place: an empty directory for the pods.
        environ: the environment of every step.
        meeting: tasks that wait for each other when they have pulled, so that none sees what another pushes.
        bindings: the run's workspaces: None for an emptyDir, else the files that a ConfigMap or a Secret has. Without
            them, every workspace that a task declares is an emptyDir.
        referenced: tasks whose spec is a Task that they refer to.
        lost: tasks whose pod is lost when its last step is done, before anybody has seen that.
        results: what the tasks wrote, by task.
        step_results: what the steps wrote as results of their own, by pod and step.
        ended: how the tasks ended: `Succeeded`, `Failed`, `None` for skipped.
        log: the steps in the order in which they ended, as (pod, step, exit code).
    """

    place: Path
    environ: dict[str, str]
    meeting: frozenset[str] = frozenset()
    bindings: dict[str, dict[str, str] | None] | None = None
    referenced: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    results: dict[str, dict[str, str]] = field(default_factory=dict)
    step_results: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    log: list[tuple[str, str, int]] = field(default_factory=list)
    output: dict[str, str] = field(default_factory=dict)

    def run(self, spec: dict[str, Any], name: str, params: dict[str, Any]) -> bool:
        """Run the spec of a pipeline and say whether its tasks succeeded."""
        defaults = {param["name"]: param["default"] for param in spec.get("params", []) if "default" in param}
        declared = [workspace["name"] for workspace in spec.get("workspaces", [])]
        bound = self.bindings or {}
        self.context = {
            "context.pipelineRun.name": name,
            "context.pipelineRun.uid": f"uid-of-{name}",
            "context.pipelineRun.namespace": "ci",
            "context.pipeline.name": name,
            **{f"workspaces.{workspace}.bound": "false" for workspace in declared},
            **{f"workspaces.{workspace}.bound": "true" for workspace in bound},
        }
        self.params = flat({**defaults, **params})
        self.barrier = threading.Barrier(max(len(self.meeting), 1))
        done = self._graph(spec["tasks"], dependencies(spec["tasks"], "p"))
        ends = [self.ended.get(task["name"], "None") for task in spec["tasks"]]
        whole = "Failed" if "Failed" in ends else "Completed" if "None" in ends else "Succeeded"
        self.context |= {f"tasks.{task['name']}.status": end for task, end in zip(spec["tasks"], ends, strict=True)}
        self.context["tasks.status"] = whole
        last = self._graph(spec.get("finally", []), {task["name"]: [] for task in spec.get("finally", [])})
        return done and last

    def _graph(self, tasks: list[dict[str, Any]], waits: dict[str, list[str]]) -> bool:
        by_name = {task["name"]: task for task in tasks}
        done: set[str] = set()
        started: dict[Future[bool], str] = {}
        failed = False
        with ThreadPoolExecutor(max_workers=8) as pool:
            while True:
                for name in waits:
                    if not failed and name not in started.values() and done.issuperset(waits[name]):
                        started[pool.submit(self._task, by_name[name])] = name
                running = [future for future, name in started.items() if name not in done]
                if not running:
                    return not failed
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done.add(started[future])
                    failed |= not future.result()

    def _known(self) -> dict[str, Any]:
        """Return what a pipeline's variables stand for by now."""
        results = {
            f"tasks.{task}.results.{name}": value
            for task, found in self.results.items()
            for name, value in found.items()
        }
        return {**self.context, **self.params, **results}

    def _task(self, task: dict[str, Any]) -> bool:
        known = self._known()
        conditions = [_expanded(condition, known) for condition in task.get("when", [])]
        if not all((one["input"] in one["values"]) == (one["operator"] == "in") for one in conditions):
            self.ended[task["name"]] = "None"
            return True
        task_run = f"{self.context['context.pipelineRun.name']}-{task['name']}"
        for attempt in range(task.get("retries", 0) + 1):
            pod = f"{task_run}-pod" + (f"-retry{attempt}" if attempt else "")
            try:
                if task["name"] in self.lost:
                    self._pod(task, task_run, pod, self.place / f"{pod}-lost")
                self._pod(task, task_run, pod, self.place / pod)
                self.ended[task["name"]] = "Succeeded"
                return True
            except StepFailedError:
                continue
        self.ended[task["name"]] = "Failed"
        return False

    def _workspaces(self, task: dict[str, Any], root: Path) -> tuple[dict[str, Path], dict[str, str]]:
        """Return the volumes of a pod's workspaces, and what their variables stand for."""
        spec = task["taskSpec"]
        declared = [workspace["name"] for workspace in spec.get("workspaces", [])]
        mapped = {use["name"]: use.get("workspace", use["name"]) for use in task.get("workspaces", [])}
        if task["name"] not in self.referenced:
            mapped = {name: name for name in workspaces_mentioned(spec, "x")} | mapped
        volumes, values = {}, {}
        for name in dict.fromkeys([*declared, *mapped]):
            is_bound = self.bindings is None or mapped.get(name) in self.bindings
            values[f"workspaces.{name}.bound"] = str(is_bound).lower()
            values[f"workspaces.{name}.path"] = ""
            if is_bound:
                directory = root / "workspaces" / name
                volumes[f"$(workspaces.{name}.volume)"] = directory
                values[f"workspaces.{name}.path"] = str(directory)
                directory.mkdir(parents=True)
                for file, content in ((self.bindings or {}).get(mapped.get(name, "")) or {}).items():
                    (directory / file).write_text(content)
        return volumes, values

    def _pod(self, task: dict[str, Any], task_run: str, pod: str, root: Path) -> None:
        spec = task["taskSpec"]
        fields = {"INSTEP_POD": pod, "INSTEP_POD_UID": str(uuid.uuid4())}
        volumes, own = self._workspaces(task, root)
        volumes |= {volume["name"]: root / "volumes" / volume["name"] for volume in spec.get("volumes", [])}
        known = self._known()
        values: dict[str, Any] = {} if task["name"] in self.referenced else dict(known)
        values |= {**self.context, **own, "context.taskRun.name": task_run, "credentials.path": str(root / "creds")}
        defaults = {param["name"]: param["default"] for param in spec.get("params", []) if "default" in param}
        values |= flat(defaults | {param["name"]: _expanded(param["value"], known) for param in task.get("params", [])})
        for result in spec.get("results", []):
            values[f"results.{result['name']}.path"] = str(root / "tekton" / "results" / result["name"])
        for directory in (*volumes.values(), root / "tekton" / "results"):
            directory.mkdir(parents=True, exist_ok=True)
        failure = False
        for step in spec["steps"]:
            if failure:
                break
            code = self._step(step, root, fields, volumes, values)
            failure = code != 0 and _expanded(step.get("onError", ""), values) != "continue"
            if step["name"] == "instep-pull" and task["name"] in self.meeting:
                self.barrier.wait(30)
        written = sorted((root / "tekton" / "results").iterdir())
        self.results[task["name"]] = {path.name: path.read_text() for path in written}
        if failure:
            raise StepFailedError

    def _step(
        self,
        step: dict[str, Any],
        root: Path,
        fields: dict[str, str],
        volumes: dict[str, Path],
        values: dict[str, Any],
    ) -> int:
        environ, pod = self.environ | fields, fields["INSTEP_POD"]
        mounts = {mount["mountPath"]: str(volumes[mount["name"]]) for mount in step.get("volumeMounts", [])}
        mounts["/tekton/results"] = str(root / "tekton" / "results")
        own = root / "tekton" / "steps" / f"step-{step['name']}" / "results"
        own.mkdir(parents=True)
        declared = [result["name"] for result in step.get("results", [])]
        known = values | fields | {f"step.results.{name}.path": str(own / name) for name in declared}
        if "script" in step:
            text = _replaced(step["script"], known)
            for use in step.get("workspaces", []):
                text = text.replace(use["mountPath"], str(volumes[f"$(workspaces.{use['name']}.volume)"]))
            script = root / f"{step['name']}.sh"
            script.write_text(text)
            command = ["sh", str(script)]
        else:
            words = _expanded([*step["command"], *step.get("args", [])], known)
            command = [*_program(words[0]), *(_moved(word, mounts) for word in words[1:])]
        directory = _replaced(step.get("workingDir", "/"), known)
        done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, timeout=60)
        self.log.append((pod, step["name"], done.returncode))
        self.output[f"{pod}/{step['name']}"] = done.stdout + done.stderr
        written = [name for name in declared if (own / name).exists()]
        self.step_results[pod, step["name"]] = {name: (own / name).read_text() for name in written}
        return done.returncode


def flat(params: dict[str, Any]) -> dict[str, Any]:
    """Return what the variables of parameters stand for."""
    found: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, list):
            found |= {f"params.{name}[{index}]": item for index, item in enumerate(value)} | {
                f"params.{name}[*]": value
            }
        elif isinstance(value, dict):
            found |= {f"params.{name}.{key}": item for key, item in value.items()} | {f"params.{name}[*]": value}
        else:
            found[f"params.{name}"] = value
    return found


def _expanded(value: Any, known: dict[str, Any]) -> Any:
    """Return a value with known variables replaced; one that stands for a list takes the place of its text."""
    if isinstance(value, dict):
        return {key: _expanded(item, known) for key, item in value.items()}
    if isinstance(value, list):
        items = [_expanded(item, known) for item in value]
        return [one for item in items for one in (item if isinstance(item, list) else [item])]
    if not isinstance(value, str):
        return value
    entire = _VARIABLE.fullmatch(value.strip())
    if entire and not isinstance(known.get(canonical(entire[1]), ""), str):
        return known[canonical(entire[1])]
    return _replaced(value, known)


def _program(word: str) -> list[str]:
    return [sys.executable, "-m", "agent"] if word == COMMAND[0] else [word]


def _moved(word: str, mounts: dict[str, str]) -> str:
    """Return a step's word with the directories that it has mounted in the place of the paths they are mounted at."""
    if not word.startswith("{"):
        return word
    return json.dumps(_moved_in(json.loads(word), mounts))


def _moved_in(value: Any, mounts: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _moved_in(item, mounts) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved_in(item, mounts) for item in value]
    return mounts.get(value, value) if isinstance(value, str) else value


def _replaced(text: str, values: dict[str, Any]) -> str:
    """Return a text with known variables replaced, and others left, as Tekton and then Kubernetes do it."""
    return _VARIABLE.sub(lambda match: str(values.get(canonical(match[1]), match[0])), text)


def environment(home: Path) -> dict[str, str]:
    """Return what steps may see of this process's environment."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(home), "LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"}
