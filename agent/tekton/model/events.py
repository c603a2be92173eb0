"""Events (core/v1), which `kubectl describe` shows below a run.

The name of an event is computed from its content, so that each event exists once.
"""

from __future__ import annotations

from typing import Any

from agent.tekton.model.fields import Object

LOOKED_UP = "LookedUp"
STEP_FAILED = "StepFailed"
USERS_DIFFER = "UsersDiffer"
WORKSPACE_CONFLICT = "WorkspaceConflict"
"""Reasons of events. All but the first are warnings."""

_LONGEST = 1023
"""Characters of a message."""


def event(name: str, namespace: str, run: Object, reason: str, message: str, now: str) -> dict[str, Any]:
    """Return an event about a run.

    Args:
        run: an owner reference, or an object's apiVersion, kind, name and uid.
        now: the time, RFC 3339.
    """
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            **{key: run.get(key) for key in ("apiVersion", "kind", "name", "uid")},
            "namespace": namespace,
        },
        "type": "Normal" if reason == LOOKED_UP else "Warning",
        "reason": reason,
        "message": message[:_LONGEST],
        "source": {"component": "instep-controller"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
