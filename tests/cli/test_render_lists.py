"""`agent render` of what `kubectl get` prints: lists, in YAML and in JSON, from files and from standard input."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from agent.tekton.model import documents
from tests.cli.conftest import Agent

SPEC = {
    "workspaces": [{"name": "w"}],
    "tasks": [
        {
            "name": "t",
            "workspaces": [{"name": "w"}],
            "taskSpec": {"workspaces": [{"name": "w"}], "steps": [{"image": "busybox", "script": "true"}]},
        }
    ],
}
RUN = {
    "apiVersion": "tekton.dev/v1",
    "kind": "PipelineRun",
    "metadata": {"generateName": "r-"},
    "spec": {"workspaces": [{"name": "w", "emptyDir": {}}], "pipelineSpec": SPEC},
}
TASK = {"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t"}, "spec": {"steps": [{"image": "x"}]}}
WORDS = ("--image", "r.example.com/a:1", "--target", "r.example.com/ws/{{workspace}}:$(context.pipelineRun.name)")


def listed(*items: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": list(items)}


def test_lists_are_rendered_as_their_objects_are(agent: Agent) -> None:
    values = [listed(listed(RUN), listed()), TASK]
    (agent.place / "plain.yaml").write_text(documents.write([RUN, TASK]))
    (agent.place / "list.yaml").write_text(documents.write(values))
    plain = agent("render", *WORDS, "-f", "plain.yaml").stdout
    assert plain.count("name: instep-push") == 1
    assert agent("render", *WORDS, "-f", "list.yaml").stdout == plain
    done = subprocess.run(
        agent._command(("render", *WORDS, "-f", "-")),
        cwd=agent.place,
        env=agent.environ,
        input="\n".join(map(json.dumps, values)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == plain


def test_an_empty_list_is_nothing(agent: Agent) -> None:
    (agent.place / "list.yaml").write_text(documents.write([listed()]))
    assert agent("render", *WORDS, "-f", "list.yaml").stdout == ""
    done = agent("bundle", "push", f"oci:{agent.place}/b:t", "-f", "list.yaml", exits=2)
    assert "nothing to put in" in done.stderr


def test_a_list_of_no_objects_is_named_by_its_file(agent: Agent) -> None:
    (agent.place / "list.yaml").write_text("kind: List\nitems: [x]\n")
    assert "list.yaml: a list in it" in agent("render", *WORDS, "-f", "list.yaml", exits=2).stderr
