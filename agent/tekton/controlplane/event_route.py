"""Which object an event is about: a child's event is its parent's. Events that change nothing lead nowhere."""

from __future__ import annotations

from agent.tekton.controlplane.effects import is_answered
from agent.tekton.controlplane.failed_step import failed_step, is_recent
from agent.tekton.controlplane.launch_run import condition_of, controller_of, is_oci_pipeline
from agent.tekton.controlplane.nested_request import is_nested
from agent.tekton.controlplane.push_conflicts import push_conflicts
from agent.tekton.controlplane.resolution import is_for_us
from agent.tekton.model.fields import Object

FINAL = ("True", "False")


def request_concerned(request: Object) -> str | None:
    """Return the name of the ResolutionRequest to look at: itself, or the one that it was made for."""
    if is_for_us(request):
        return str(request["metadata"]["name"])
    if is_nested(request) and is_answered(request):
        return str(controller_of(request).get("name"))
    return None


def run_concerned(run: Object) -> str | None:
    """Return the name of the CustomRun or Run to look at: itself, while it has not ended."""
    if is_oci_pipeline(run) and condition_of(run).get("status") not in FINAL:
        return str(run["metadata"]["name"])
    return None


def parent_concerned(pipeline_run: Object, *, is_new: bool) -> tuple[str, str] | None:
    """Return kind and name of the CustomRun or Run to look at.

    Args:
        is_new: whether it happens now. At the controller's start, a run whose child has ended has an event of its own.
    """
    owner = controller_of(pipeline_run)
    if owner.get("kind") not in ("CustomRun", "Run"):
        return None
    if not is_new and condition_of(pipeline_run).get("status") in FINAL:
        return None
    return str(owner["kind"]), str(owner.get("name"))


def task_run_concerned(task_run: Object, now: str) -> str | None:
    """Return the name of the TaskRun to look at: itself, if it ended a short time ago with something to report.

    That is a step of ours that failed, or conflicts of what it published.
    """
    if not is_recent(task_run, now) or (failed_step(task_run) is None and push_conflicts(task_run) is None):
        return None
    return str(task_run["metadata"]["name"])
