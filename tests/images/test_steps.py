"""The two steps around a task, in the agent's image, with what a pod template may say meant for other images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.trees import snapshot, unlike
from tests.images.container import Container

pytestmark = pytest.mark.timeout(600)
NOWHERE = ("HOME", "TMPDIR", "PATH", "DOCKER_CONFIG", "INSTEP_STATE", "PYTHONHOME", "PYTHONPATH")
HOSTILE = {**dict.fromkeys(NOWHERE, "/nowhere"), "SSL_CERT_FILE": "/etc/passwd"}


class Task:
    """A task's pod: the volume of its steps, and that of its workspace."""

    def __init__(self, container: Container, name: str, target: str, **fields: object) -> None:
        self.container = container
        self.workspace = self._directory(f"{name}-source")
        workspace = {"name": "source", "directory": f"/volume/{name}-source", "target": target, "lane": f"run/{name}"}
        volume = self._directory(f"{name}-instep")
        self.report = volume / "report.json"
        said = {"volume": f"/volume/{volume.name}", "pod": f"{name}-pod", "workspaces": [{**workspace, **fields}]}
        self.argument = json.dumps(said)

    def _directory(self, name: str) -> Path:
        made = self.container.volume / name
        made.mkdir()
        made.chmod(0o777)
        return made

    def step(self, word: str) -> None:
        self.container("step", word, self.argument, env=HOSTILE)


def test_a_task_hands_its_workspace_to_the_next(container: Container, registry: str) -> None:
    target = f"{registry}/images/steps/{{{{workspace}}}}:ws"
    clone = Task(container, "clone", target)
    clone.step("pull")
    (clone.workspace / "src").mkdir()
    (clone.workspace / "src/main.c").write_text("int main;\n")
    clone.step("push")
    [pushed] = json.loads(clone.report.read_text())["workspaces"]
    assert (pushed["name"], pushed["push"]["written"]) == ("source", 2)

    build = Task(container, "build", target, after=["run/clone"])
    build.step("pull")
    assert unlike(snapshot(clone.workspace, owners=False), snapshot(build.workspace, owners=False)) == {}
    (build.workspace / "src/main.c").unlink()
    build.step("push")
    assert container("ls", f"{registry}/images/steps/source:ws").stdout == "src/\n"
