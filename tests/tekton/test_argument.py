"""What the agent's steps are told is what they understand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from agent.sync.task.argument import parse_step
from agent.tekton.model.variables import strings
from tests.tekton.golden_cases import CASES, answers, rendered

VALUES = {
    "$(INSTEP_POD)": "run-task-pod-retry2",
    "$(INSTEP_POD_UID)": "7f4c",
    "$(credentials.path)": "/tekton/creds",
    "$(step.results.published.path)": "/tekton/steps/step-instep-push/results/published",
    "$(context.taskRun.name)": "run-task-0",
    "$(context.pipelineRun.name)": "run",
    "$(context.pipelineRun.uid)": "0b3f",
    "$(context.pipelineRun.namespace)": "ci",
}


def told(made: list[Any]) -> Iterator[str]:
    """Yield every argument of a step, with the variables replaced as Tekton and Kubernetes do it."""
    for text in strings(made):
        if text.startswith("{") and '"volume"' in text:
            yield re.sub(r"\$\([^()]*\)", lambda match: VALUES[match[0]], text)


@pytest.mark.parametrize("case", CASES)
def test_the_steps_understand_what_they_are_told(case: str) -> None:
    arguments = [*told(rendered(case)), *told(answers(case))]
    assert arguments
    for text in arguments:
        found = parse_step(text)
        assert found.attempt == 2
        assert [one.name for one in found.workspaces] == [one["name"] for one in json.loads(text)["workspaces"]]
