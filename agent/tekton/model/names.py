"""The names of our parts, and the rules of Tekton's names (tekton: kmeta.ChildName, getNewRunNames, StepName)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from agent.tekton.model.fields import Object

DOMAIN = "instep.dev"
"""The prefix of our labels and annotations."""

RESOLVER = "wrap"
PIPELINEREF = "pipelineref"
PIPELINESPEC = "pipelinespec"
TASKREF = "taskref"
KIND = "kind"
PLAN = "plan"
"""Params of the resolver."""

WRAPPER = "oci"
WRAPPERS = (RESOLVER, f"{RESOLVER}.{WRAPPER}")
"""The resolver's names."""

LOOKUP = "lookup"
"""The resolver that looks up a run's references in a bundle."""

LOOKUP_BUNDLE = f"{DOMAIN}/lookup-bundle"
"""The annotation with the bundle in which a run's references are looked up."""

WRAP = f"{DOMAIN}/wrap"
"""The annotation by which a PipelineRun asks to be wrapped; `.PARAMETER` after it sets an option."""

BUNDLES = "bundles"
"""Tekton's resolver for bundles."""

CUSTOM_TASK = ("tekton.dev/v1alpha1", "OCIPipeline")
"""apiVersion and kind of our custom task."""

PULL = "instep-pull"
PUSH = "instep-push"
VOLUME = "instep"
VOLUME_PATH = "/instep"
WORKSPACES_PATH = "/instep-workspaces"
CA_VOLUME = "instep-ca"
CA_PATH = "/instep-ca"
POD_NAME = "INSTEP_POD"
POD_UID = "INSTEP_POD_UID"
POD_FIELDS = {POD_NAME: "metadata.name", POD_UID: "metadata.uid"}
"""Environment variables of the steps, each with the field of the pod that it holds."""

_LONGEST = 63
_MD5_DIGITS = 32
# Container names are "step-" and the step's name, cut to 63 characters.
_DISTINCT = 58


def free_name(name: str, taken: Collection[str], joint: str = "-") -> str:
    """Return `name`, or `name-2`, `name-3`… if it is taken.

    Args:
        joint: the text before the number.
    """
    count, found = 1, name
    while found in taken:
        count += 1
        found = f"{name}{joint}{count}"
    return found


def with_fixed_names(steps: Sequence[Object]) -> list[Object]:
    """Return steps with the names that Tekton gives to unnamed ones by their index.

    Another step in front of them would change those names, and break `$(steps.step-unnamed-0.exitCode.path)`.
    """
    return [
        step if step.get("name") else {"name": f"unnamed-{index}", **_nameless(step)}
        for index, step in enumerate(steps)
    ]


def _nameless(step: Object) -> Object:
    return {key: value for key, value in step.items() if key != "name"}


def step_names(steps: Sequence[Object]) -> set[str]:
    """Return the names of steps, cut to the length that tells containers apart."""
    return {str(step.get("name", ""))[:_DISTINCT] for step in steps}


def child_name(parent: str, suffix: str) -> str:
    """Return the name that Tekton gives a child: parent and suffix, with a hash if that exceeds 63 characters."""
    if len(parent) + len(suffix) <= _LONGEST:
        return parent + suffix
    head = _LONGEST - _MD5_DIGITS
    if head > len(suffix):
        return parent[: head - len(suffix)] + _md5(parent) + suffix
    name = parent[:head] + _md5(parent + suffix)
    name += suffix[: max(_LONGEST - len(name), 0)]
    while not (name[-1].isascii() and name[-1].isalnum()):
        name = name[:-1]
    return name


def task_run_names(run: str, task: str, count: int) -> list[str]:
    """Return the names of the TaskRuns of a matrix with `count` combinations."""
    if count == 1:
        return [child_name(run, f"-{task}")]
    names = []
    for index in range(count):
        name = child_name(run, f"-{task}-{index}")
        if not name.endswith(f"-{index}"):
            name = child_name(run, f"-{task}")[: _LONGEST - len(f"-{count}")] + f"-{index}"
        names.append(name)
    return names


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
