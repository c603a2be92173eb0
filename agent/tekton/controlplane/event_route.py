"""The object to reconcile for an event. An event of a child requeues its parent; irrelevant events requeue nothing."""

from __future__ import annotations

from agent.tekton.controlplane.conflict_event import push_conflicts
from agent.tekton.controlplane.effects import is_answered
from agent.tekton.controlplane.failed_step import failed_step, is_recent
from agent.tekton.controlplane.launch_run import condition_of, controller_of, is_oci_pipeline
from agent.tekton.controlplane.nested_request import is_nested
from agent.tekton.controlplane.resolution import is_for_us
from agent.tekton.model.fields import Object

FINAL = ("True", "False")


def request_to_reconcile(request: Object) -> str | None:
    """Return the name of the ResolutionRequest to reconcile: itself, or its owner."""
    if is_for_us(request):
        return str(request["metadata"]["name"])
    if is_nested(request) and is_answered(request):
        return str(controller_of(request).get("name"))
    return None


def run_to_reconcile(run: Object) -> str | None:
    """Return the name of the CustomRun or Run to reconcile: itself, unless it has ended."""
    if is_oci_pipeline(run) and condition_of(run).get("status") not in FINAL:
        return str(run["metadata"]["name"])
    return None


def parent_to_reconcile(pipeline_run: Object, *, is_new: bool) -> tuple[str, str] | None:
    """Return kind and name of the CustomRun or Run to reconcile.

    Args:
        is_new: whether the event is a change. At the controller's start, the run itself has an event, too.
    """
    owner = controller_of(pipeline_run)
    if owner.get("kind") not in ("CustomRun", "Run"):
        return None
    if not is_new and condition_of(pipeline_run).get("status") in FINAL:
        return None
    return str(owner["kind"]), str(owner.get("name"))


def task_run_to_reconcile(task_run: Object, now: str) -> str | None:
    """Return the name of the TaskRun to reconcile: itself, if it ended recently with something to report.

    That is a step of ours that failed, or conflicts of a change that it published.
    """
    if not is_recent(task_run, now) or (failed_step(task_run) is None and push_conflicts(task_run) is None):
        return None
    return str(task_run["metadata"]["name"])
