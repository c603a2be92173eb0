"""The security context of the two steps: a user that can read the task's files, with as few rights as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.tekton.model.fields import Object, mapping, number
from agent.tekton.model.pod_template import PodTemplate
from agent.tekton.model.variables import strings

_ROOT = 0
_READS_ALL = frozenset(("ALL", "DAC_OVERRIDE", "CAP_DAC_OVERRIDE"))
"""Capabilities. Each of them lets root read files that only another user may read."""


@dataclass(frozen=True, slots=True)
class StepUser:
    """The user of the agent's steps.

    Attributes:
        user: the UID, None for the user of the agent's image, which is root in the image that this project builds.
        fields: the fields of `securityContext` for this user, besides those of the pod template.
        is_non_root: whether the user is certainly not root.
        warning: a warning about what the steps cannot do for this task, None for none.
    """

    user: int | None
    fields: dict[str, Any]
    is_non_root: bool
    warning: str | None = None


def choose_step_user(steps: Sequence[Object], template: Object, pod: PodTemplate, where: str) -> StepUser:
    """Return the user of the agent's steps.

    If all steps of the task have the same user, it is that user. Otherwise it is root if one of them is root, because
    root can read the files of all. If none of them is root, the agent does not become root by itself.

    Args:
        steps: the task's own steps. The user of a step that refers to a StepAction is taken from the templates.
        template: the `stepTemplate`.
    """
    shared = mapping(template, "securityContext", where)
    given = {"runAsUser": pod.user, "runAsNonRoot": pod.is_non_root}
    inherited: dict[str, Any] = {**given, **shared}
    contexts: list[Object] = [
        inherited if step.get("ref") else {**inherited, **mapping(step, "securityContext", where)} for step in steps
    ]
    user = _user(contexts, inherited, where)
    fields = {
        key: contexts[0].get(key)
        for key in ("runAsGroup", "runAsNonRoot")
        if contexts and all(context.get(key) == contexts[0].get(key) for context in contexts)
    }
    if user == _ROOT or (user is None and _may_be_root(contexts)):
        fields["runAsNonRoot"] = False
    fields = {
        key: value
        for key, value in {"runAsUser": user, **fields}.items()
        if value not in (given.get(key), None) or value != inherited.get(key)
    }
    is_non_root = bool(user or {**inherited, **fields}.get("runAsNonRoot"))
    return StepUser(user, fields, is_non_root, _warning(contexts, user, shared, where))


def security_context(step_user: StepUser, template: Object, where: str) -> dict[str, Any]:
    """Return a step's `securityContext`. Tekton merges it over the template's.

    Root keeps the runtime's capabilities, which it needs to restore owners. Other users drop all of them.

    Args:
        template: the `stepTemplate`.
    """
    context: dict[str, Any] = {
        **step_user.fields,
        "privileged": False,
        "readOnlyRootFilesystem": False,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    adds = mapping(mapping(template, "securityContext", where), "capabilities", where).get("add")
    if not adds:  # SYS_ADMIN without escalation is refused by Kubernetes, and a template's cannot be taken away
        context["allowPrivilegeEscalation"] = False
    if step_user.is_non_root:
        context["capabilities"] = {"drop": ["ALL"]}
    return context


def _user(contexts: Sequence[Object], inherited: Object, where: str) -> int | None:
    """Return the UID of the agent's steps, None for that of their image.

    Args:
        contexts: the security contexts of the task's steps, with inherited fields.
        inherited: the fields that a step without its own inherits.
    """
    users = [number(context, "runAsUser", where) for context in contexts]
    own = number(inherited, "runAsUser", where)
    if len(set(users)) <= 1:
        return users[0] if users else own
    if any(_is_root(context) for context in contexts):
        return _ROOT
    if own is not None or _may_be_root(contexts):
        return own
    if inherited["runAsNonRoot"] or all(context.get("runAsNonRoot") for context in contexts):
        return next((user for user in reversed(users) if user), None)
    return None  # the same as for a container without runAsUser


def _is_root(context: Object) -> bool:
    return context.get("runAsUser") == _ROOT and not context.get("runAsNonRoot")


def _may_be_root(contexts: Sequence[Object]) -> bool:
    """Return whether the user of one of the steps is its image's, and may be root."""
    return any(context.get("runAsUser") is None and not context.get("runAsNonRoot") for context in contexts)


def _warning(contexts: Sequence[Object], user: int | None, shared: Object, where: str) -> str | None:
    users = {context.get("runAsUser") for context in contexts}
    if len(users) <= 1:
        return None
    if user:
        reason = f"the agent's steps run as {user}"
    elif any(users) and not _reads_all(mapping(shared, "capabilities", where)):
        reason = "the agent's steps run as root without the capability DAC_OVERRIDE"
    else:
        return None
    listed = ", ".join(sorted("their image's" if found is None else str(found) for found in users))
    return (
        f"its steps run as different users ({listed}), and {reason}: they cannot push a file that another user keeps "
        "to itself (mode 0600); give all steps of the task one runAsUser"
    )


def _reads_all(capabilities: Object) -> bool:
    """Return whether root with these capabilities can read the files of all users."""
    added, dropped = set(strings(capabilities.get("add"))), set(strings(capabilities.get("drop")))
    return bool(added & _READS_ALL) or not dropped & _READS_ALL
