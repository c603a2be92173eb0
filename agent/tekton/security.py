"""The security context of the two steps: as little as the files allow, and the identity of the steps they serve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.tekton.fields import Object, mapping

_IDENTITY = ("runAsUser", "runAsGroup", "runAsNonRoot")


def security_context(steps: Sequence[Object], template: Object, *, is_non_root: bool, where: str) -> dict[str, Any]:
    """Return a step's `securityContext`, to be merged over the template's by Tekton.

    What the user's steps agree on (user, group) holds for ours, so that they can read and write the same files. Root
    keeps the runtime's capabilities: it needs them to restore owners. Who certainly is not root has no use for any.

    Args:
        steps: the user's steps.
        template: the `stepTemplate`.
        is_non_root: whether the pod's template forbids root.
    """
    shared = mapping(template, "securityContext", where)
    contexts = [{**shared, **mapping(step, "securityContext", where)} for step in steps]
    has_unknown = any(step.get("ref") for step in steps)
    identity = {
        key: contexts[0][key]
        for key in _IDENTITY
        if contexts and not has_unknown and all(context.get(key) == contexts[0].get(key, ...) for context in contexts)
    }
    adds = mapping(shared, "capabilities", where).get("add")
    context: dict[str, Any] = {
        **identity,
        "privileged": False,
        "readOnlyRootFilesystem": False,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if not adds:  # SYS_ADMIN without escalation is refused by Kubernetes, and a template's cannot be taken away
        context["allowPrivilegeEscalation"] = False
    effective = {**shared, **identity}
    if is_non_root or effective.get("runAsNonRoot") or effective.get("runAsUser"):
        context["capabilities"] = {"drop": ["ALL"]}
    return context


def forbids_root(pod_template: Object, where: str) -> bool:
    """Say whether a pod template makes sure that nothing runs as root."""
    context = mapping(pod_template, "securityContext", where)
    return bool(context.get("runAsNonRoot") or context.get("runAsUser"))
