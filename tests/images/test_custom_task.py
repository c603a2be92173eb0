"""The example of a task's image, and of a task that uses it alone, run as Tekton would run it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.images.container import Container, Images
from tests.tekton.schema import check

pytestmark = pytest.mark.timeout(600)
EXAMPLE = Path(__file__).parents[2] / "examples/custom-task-image"


@pytest.fixture(scope="module")
def task() -> dict[str, Any]:
    value = yaml.safe_load((EXAMPLE / "task.yaml").read_text())
    assert isinstance(value, dict)
    return value


@pytest.fixture
def todo(images: Images, tmp_path: Path) -> Iterator[Container]:
    images.build("todo", EXAMPLE, "--build-arg", "AGENT=localhost/agent")
    with images.container("todo", tmp_path / "volume") as made:
        yield made


def run(container: Container, task: Mapping[str, Any], given: Mapping[str, str], exits: int = 0) -> Any:
    """Do the task's one step, with these values for its parameters and variables."""
    values = {f"params.{param['name']}": param.get("default", "") for param in task["spec"]["params"]}
    values |= {"credentials.path": "/tekton/creds", **given}
    [step] = task["spec"]["steps"]

    def filled(text: str) -> str:
        return re.sub(r"\$\(([^)]+)\)", lambda found: values[found[1]], text)

    env = {variable["name"]: filled(variable["value"]) for variable in step["env"] if "value" in variable}
    assert {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}} in step["env"]
    words = [filled(word) for word in [*step["command"], *step["args"]]]
    return container.run(*words, exits=exits, env={**env, "HOME": "/tekton/home"})


def test_tekton_takes_the_task(task: dict[str, Any]) -> None:
    check(task)


def test_the_task_lists_what_is_to_be_done_and_a_failed_one_keeps_its_tree(
    images: Images, todo: Container, task: dict[str, Any], registry: str
) -> None:
    base, repository = f"{registry}/todo/base:1", f"{registry}/todo/ws"
    images.push("base", f"docker://{base}")
    given = {"params.repository": repository, "params.base": base}

    def write(line: str) -> None:
        seeding = ("exec", "--state", "/volume/seeding", "--base", base, f"{repository}:main", "/volume/seed", "--")
        todo(*seeding, "sh", "-c", f"echo '{line}' > main.c")

    write("// TODO: all")
    run(todo, task, {**given, "context.taskRun.uid": "one", "POD": "one-pod"})
    assert todo("cat", f"{repository}:main", "TODO.txt").stdout == "./main.c:1:// TODO: all\n"
    write("// FIXME")
    for pod in ("two-pod", "two-pod-retry1"):
        again = {**given, "context.taskRun.uid": "two", "POD": pod}
        assert "there is a FIXME" in run(todo, task, again, exits=1).stderr
        assert todo("cat", f"{repository}:failed-{pod}", "TODO.txt").stdout == ""
        todo.run("sh", "-c", "rm -rf /volume/tree /volume/state")  # a try has a pod and volumes of its own
    assert todo("cat", f"{repository}:main", "TODO.txt").stdout != ""
