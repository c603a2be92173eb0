"""The reconcile of a CustomRun: the next action, decided from it and its PipelineRuns alone (level-triggered).

    no child ──create──▶ running ──True──▶ done
                           │ False, retries left: recorded in retriesStatus, next child
                           │ False ──▶ failed
    RunCancelled at any point: the child is stopped, the run ends as cancelled

A final condition is written once. Events that the controller missed while it was down do not matter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.errors import UsageError
from agent.remedy import Place
from agent.tekton.controlplane.launch_run import (
    condition_of,
    controller_of,
    is_owned,
    launch,
    name_of,
    pipeline_run_name,
)
from agent.tekton.model.fields import Object, mapping, objects, text
from agent.tekton.model.wrapping import NO_DEFAULTS, Defaults

INVALID = "OCIPipelineInvalid"
_REASONS = {
    "CustomRun": {"Cancelled": "CustomRunCancelled", "PipelineRunTimeout": "CustomRunTimedOut"},
    "Run": {"Cancelled": "RunCancelled", "PipelineRunTimeout": "RunTimedOut"},
}
_OUTCOMES = {
    "CustomRunCancelled": "cancelled",
    "RunCancelled": "cancelled",
    "CustomRunTimedOut": "timed-out",
    "RunTimedOut": "timed-out",
}
_CANCELLED = ("Cancelled", "CancelledRunFinally", "StoppedRunFinally")


@dataclass(frozen=True, slots=True)
class Decision:
    """The next actions, in the order of the fields; None for no action.

    Attributes:
        create: a PipelineRun to create. If its name is taken, decide again with that object among the children.
        cancel: the name of a PipelineRun to merge-patch with `CANCEL`.
        status: a merge patch for the run's `status`.
    """

    create: dict[str, Any] | None = None
    cancel: str | None = None
    status: dict[str, Any] | None = None


CANCEL = {"spec": {"status": "Cancelled"}}


def decide(
    run: Object,
    children: Mapping[str, Object],
    now: str,
    owner: Object | None = None,
    defaults: Defaults = NO_DEFAULTS,
) -> Decision:
    """Return the next actions for a CustomRun or Run.

    Args:
        children: PipelineRuns of its namespace by name, at least those with the names of its attempts.
        now: the time, RFC 3339 in UTC with whole seconds.
        owner: the PipelineRun that the run is a task of, None for none.
        defaults: the installation's defaults.
    """
    attempt = attempt_of(run)
    name = pipeline_run_name(run, attempt)
    current = children.get(name)
    is_left_over = current is not None and _is_left_over(current, run)
    if is_left_over:
        current = None
    if current is not None and not is_owned(current, run):
        return _end(run, "False", INVALID, f"PipelineRun {name} exists and belongs to another", now)
    if mapping(run, "spec", "CustomRun").get("status") == "RunCancelled":
        return _cancelled(run, current, now)
    if condition_of(run).get("status") in ("True", "False"):
        return Decision()
    if is_left_over:
        return Decision(status=_status(run, "Unknown", "Waiting", f"an old PipelineRun {name} is being deleted", now))
    if current is None:
        return _started(run, attempt, now, owner, defaults)
    return _mirrored(run, current, attempt, now)


def attempt_of(run: Object) -> int:
    """Return the number of a run's current attempt; the first is 0."""
    return len(objects(mapping(run, "status", "CustomRun"), "retriesStatus", "CustomRun"))


def rejected(run: Object, message: str, now: str) -> Decision:
    """Return the actions for a run whose PipelineRun the API server rejects."""
    return _end(run, "False", INVALID, f"its PipelineRun is not accepted: {message}", now)


def outcome_of(status: Object) -> str | None:
    """Return `succeeded`, `failed`, `cancelled` or `timed-out` for a status that ends a run, else None."""
    condition = condition_of({"status": status})
    if condition.get("status") == "True":
        return "succeeded"
    if condition.get("status") != "False":
        return None
    return _OUTCOMES.get(str(condition.get("reason")), "failed")


def _started(run: Object, attempt: int, now: str, owner: Object | None, defaults: Defaults) -> Decision:
    try:
        created = launch(run, attempt, owner, defaults)
    except UsageError as error:
        return _end(run, "False", INVALID, error.text(Place.CONTROLLER), now)
    name = created["metadata"]["name"]
    return Decision(create=created, status=_begun(run, name, now))


def _begun(run: Object, name: str, now: str) -> dict[str, Any] | None:
    return _status(run, "Unknown", "Started", f"PipelineRun {name} begins", now, name)


def _cancelled(run: Object, current: Object | None, now: str) -> Decision:
    name = text(mapping(current or {}, "metadata", "PipelineRun"), "name", "PipelineRun")
    stops = current is not None and not _is_done(current) and not _is_stopping(current)
    message = text(mapping(run, "spec", "CustomRun"), "statusMessage", "CustomRun") or "the run was cancelled"
    ended = _end(run, "False", _reason(run, "Cancelled"), message, now, name)
    return Decision(cancel=name if stops else None, status=ended.status)


def _mirrored(run: Object, current: Object, attempt: int, now: str) -> Decision:
    condition = condition_of(current)
    name = text(mapping(current, "metadata", "PipelineRun"), "name", "PipelineRun")
    status = condition.get("status")
    if status is None:
        return Decision(status=_begun(run, name, now))
    reason = str(condition.get("reason") or "Running")
    message = f"PipelineRun {name}: {condition.get('message') or reason}"
    if status not in ("True", "False"):
        return Decision(status=_status(run, "Unknown", reason, message, now, name))
    ended = _end(run, str(status), _reason(run, reason), message, now, name, _results(current))
    retries = mapping(run, "spec", "CustomRun").get("retries")
    if status == "True" or reason in _CANCELLED or not isinstance(retries, int) or attempt >= retries:
        return ended
    return Decision(status=_retried(run, ended.status or {}, attempt, now))


def _retried(run: Object, failed: Object, attempt: int, now: str) -> dict[str, Any]:
    """Return the status at the start of the next attempt: the failed one is recorded, and no condition is final."""
    before = objects(mapping(run, "status", "CustomRun"), "retriesStatus", "CustomRun")
    recorded = {
        key: value
        for key, value in {**mapping(run, "status", "CustomRun"), **failed}.items()
        if key != "retriesStatus" and value is not None
    }
    return {
        "conditions": [_condition("Unknown", "Retrying", f"attempt {attempt + 1} failed", now)],
        "retriesStatus": [*before, recorded],
        "startTime": None,
        "completionTime": None,
        "results": None,
    }


def _end(
    run: Object, status: str, reason: str, message: str, now: str, name: str = "", results: list[Object] | None = None
) -> Decision:
    """Return the final status; no action if the run has one."""
    if condition_of(run).get("status") in ("True", "False"):
        return Decision()
    found = _status(run, status, reason, message, now, name) or {}
    return Decision(status={**found, "completionTime": now, **({"results": results} if results else {})})


def _status(run: Object, status: str, reason: str, message: str, now: str, name: str = "") -> dict[str, Any] | None:
    """Return a merge patch for the status, None if the status is up to date."""
    current = mapping(run, "status", "CustomRun")
    meta = mapping(run, "metadata", "CustomRun")
    old = condition_of(run)
    since = str(old["lastTransitionTime"]) if old.get("status") == status and old.get("lastTransitionTime") else now
    found: dict[str, Any] = {"conditions": [_condition(status, reason, message, since)]}
    if not current.get("startTime"):
        found["startTime"] = max(now, text(meta, "creationTimestamp", "CustomRun"))
    if isinstance(meta.get("generation"), int):
        found["observedGeneration"] = meta["generation"]
    if name:
        found["extraFields"] = {"pipelineRun": name}
    return found if any(current.get(key) != value for key, value in found.items()) else None


def _condition(status: str, reason: str, message: str, since: str) -> dict[str, Any]:
    # No other fields: the CRD drops them, or Tekton's webhook refuses them.
    return {"type": "Succeeded", "status": status, "reason": reason, "message": message, "lastTransitionTime": since}


def _reason(run: Object, reason: str) -> str:
    return _REASONS.get(str(run.get("kind")), _REASONS["CustomRun"]).get(reason, reason)


def _results(current: Object) -> list[Object]:
    """Return the results of a PipelineRun as strings, as a custom task has them: lists and mappings become JSON."""
    status = mapping(current, "status", "PipelineRun")
    found = objects(status, "results", "PipelineRun") or objects(status, "pipelineResults", "PipelineRun")
    return [
        {
            "name": result.get("name"),
            "value": value if isinstance(value := result.get("value"), str) else json.dumps(value, sort_keys=True),
        }
        for result in found
    ]


def _is_left_over(pipeline_run: Object, run: Object) -> bool:
    """Return whether a PipelineRun belongs to a deleted run of the same name, so that it is being deleted, too."""
    owner = controller_of(pipeline_run)
    same = owner.get("kind") == run.get("kind") and owner.get("name") == name_of(run, "CustomRun")
    return same and not is_owned(pipeline_run, run)


def _is_done(pipeline_run: Object) -> bool:
    return condition_of(pipeline_run).get("status") in ("True", "False")


def _is_stopping(pipeline_run: Object) -> bool:
    return mapping(pipeline_run, "spec", "PipelineRun").get("status") == "Cancelled"
