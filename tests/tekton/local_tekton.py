"""As much of Tekton as a rendered pipeline needs to run here: each step a process, each pod fresh directories.

Containers are not there: where a step has a volume mounted, the path of the volume's directory takes its place in what
the step is told. All else is as Tekton does it: tasks start when what they run after is done, parallel ones at once; a
pod has an emptyDir of its own for every workspace; a failed step skips those behind it; a retry is a new pod; a pod
that is lost is made anew under its name; `finally` runs at the end, however that came.
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

from agent.tekton.graph import dependencies
from agent.tekton.steps import COMMAND

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
        lost: tasks whose pod is lost when its last step is done, before anybody has seen that.
        results: what the tasks wrote, by task.
        log: the steps in the order in which they ended, as (pod, step, exit code).
    """

    place: Path
    environ: dict[str, str]
    meeting: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    results: dict[str, dict[str, str]] = field(default_factory=dict)
    log: list[tuple[str, str, int]] = field(default_factory=list)
    output: dict[str, str] = field(default_factory=dict)

    def run(self, spec: dict[str, Any], name: str, params: dict[str, str]) -> bool:
        """Run the spec of a pipeline and say whether its tasks succeeded."""
        self.context = {
            "context.pipelineRun.name": name,
            "context.pipelineRun.uid": f"uid-of-{name}",
            "context.pipelineRun.namespace": "ci",
            **{f"params.{key}": value for key, value in params.items()},
        }
        self.barrier = threading.Barrier(max(len(self.meeting), 1))
        done = self._graph(spec["tasks"], dependencies(spec["tasks"], "p"))
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

    def _task(self, task: dict[str, Any]) -> bool:
        task_run = f"{self.context['context.pipelineRun.name']}-{task['name']}"
        for attempt in range(task.get("retries", 0) + 1):
            pod = f"{task_run}-pod" + (f"-retry{attempt}" if attempt else "")
            try:
                if task["name"] in self.lost:
                    self._pod(task, task_run, pod, self.place / f"{pod}-lost")
                self._pod(task, task_run, pod, self.place / pod)
                return True
            except StepFailedError:
                continue
        return False

    def _pod(self, task: dict[str, Any], task_run: str, pod: str, root: Path) -> None:
        spec = task["taskSpec"]
        fields = {"INSTEP_POD": pod, "INSTEP_POD_UID": str(uuid.uuid4())}
        volumes = {volume["name"]: root / "volumes" / volume["name"] for volume in spec.get("volumes", [])}
        values = {**self.context, "context.taskRun.name": task_run, "credentials.path": str(root / "creds")}
        for param in task.get("params", []):
            values[f"params.{param['name']}"] = _replaced(param["value"], self.context)
        for workspace in spec.get("workspaces", []):
            name = workspace["name"]
            volumes[f"$(workspaces.{name}.volume)"] = values[f"workspaces.{name}.path"] = root / "workspaces" / name
        for result in spec.get("results", []):
            values[f"results.{result['name']}.path"] = root / "tekton" / "results" / result["name"]
        for directory in (*volumes.values(), root / "tekton" / "results"):
            directory.mkdir(parents=True)
        failure = False
        for step in spec["steps"]:
            if failure:
                break
            known = fields | {key: str(value) for key, value in values.items()}
            code = self._step(step, root, fields, volumes, known)
            failure = code != 0 and step.get("onError") != "continue"
            if step["name"] == "instep-pull" and task["name"] in self.meeting:
                self.barrier.wait(30)
        written = sorted((root / "tekton" / "results").iterdir())
        self.results[task["name"]] = {path.name: path.read_text() for path in written}
        if failure:
            raise StepFailedError

    def _step(
        self, step: dict[str, Any], root: Path, fields: dict[str, str], volumes: dict[str, Path], known: dict[str, str]
    ) -> int:
        environ, pod = self.environ | fields, fields["INSTEP_POD"]
        mounts = {mount["mountPath"]: str(volumes[mount["name"]]) for mount in step.get("volumeMounts", [])}
        mounts["/tekton/results"] = str(root / "tekton" / "results")
        if "script" in step:
            script = root / f"{step['name']}.sh"
            script.write_text(_replaced(step["script"], known))
            command = ["sh", str(script)]
        else:
            words = [_replaced(word, known) for word in [*step["command"], *step.get("args", [])]]
            command = [*_program(words[0]), *(_moved(word, mounts) for word in words[1:])]
        directory = _replaced(step.get("workingDir", "/"), known)
        done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, timeout=60)
        self.log.append((pod, step["name"], done.returncode))
        self.output[f"{pod}/{step['name']}"] = done.stdout + done.stderr
        return done.returncode


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


def _replaced(text: str, values: dict[str, str]) -> str:
    """Return a text with known variables replaced, and others left, as Tekton and then Kubernetes do it."""
    return _VARIABLE.sub(lambda match: values.get(match[1], match[0]), text)


def environment(home: Path) -> dict[str, str]:
    """Return what steps may see of this process's environment."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(home), "LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"}
