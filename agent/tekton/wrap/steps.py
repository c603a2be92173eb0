"""The pull step and the push step of a task, with one JSON argument for both (design, "Tekton")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.tekton.model import names, push_result
from agent.tekton.model.fields import Object, mapping, objects, text
from agent.tekton.model.variables import CREDENTIALS, TASK_RUN, dump
from agent.tekton.wrap.compute_resources import step_resources
from agent.tekton.wrap.free_names import FreeNames, free_names_in
from agent.tekton.wrap.result_budget import result_limit
from agent.tekton.wrap.security import choose_step_user, security_context
from agent.tekton.wrap.task_plan import TaskPlan, WorkspaceMount

COMMAND = ["/usr/local/bin/agent"]
"""The absolute path of the agent in its image, because a pod template may set PATH."""


@dataclass(frozen=True, slots=True)
class Injection:
    """The additions to a task: steps in front of its own, steps behind them, volumes."""

    before: tuple[Object, ...]
    after: tuple[Object, ...]
    volumes: tuple[Object, ...]


def injection(plan: TaskPlan, spec: Object, *, is_v1: bool, where: str) -> Injection:
    """Return the additions to a task.

    The pull step exists even if there is nothing to pull: it checks before the task's work that the registry will
    accept a push (docs/decisions/first-tasks-check.md). There is a push step if a workspace may be written, or if the
    kubelet may cut the task's results: then the step compares their size with the limit.

    Args:
        spec: the task's spec, in which each step has a name.
        is_v1: whether it is of `tekton.dev/v1`; the field of compute resources has another name in v1beta1.
    """
    mounts = [mount for mount in plan.mounts if not (mount.is_fresh and mount.is_read_only)]
    if not mounts:
        return Injection((), (), ())
    results = [text(result, "name", where) for result in objects(spec, "results", where)]
    is_limited = bool(results) and plan.settings.results_from == "termination-message"
    writes = any(not mount.is_read_only for mount in mounts)
    pushes = writes or is_limited
    free = free_names_in(spec, plan.pod, where)
    arguments = _arguments(plan, mounts, free)
    if is_limited:
        limit = result_limit(spec, 1 + pushes, where)
        arguments["results"] = {
            "directory": "/tekton/results",
            "names": results,
            "limit": limit,
            "steps": "/tekton/steps",
        }
    shared = _step(plan, mounts, spec, free, is_v1=is_v1, where=where)
    pull = {**shared, "name": free.pull, "args": ["step", "pull", _json(arguments, free)]}
    push = {**shared, "name": free.push, "args": ["step", "push", _json(arguments, free)]}
    if plan.step_result and writes:
        # Tekton replaces the variable in the step that has the result, and in no other.
        arguments["step-result"] = f"$({push_result.PATH})"
        push |= {"args": ["step", "push", _json(arguments, free)], "results": [push_result.DECLARATION]}
    return Injection((pull,), (push,) if pushes else (), tuple(_volumes(plan, free)))


def is_injected(step: Object) -> bool:
    """Return whether a step is one of ours."""
    args = step.get("args")
    return (
        str(step.get("name", "")).startswith((names.PULL, names.PUSH))
        and step.get("command") == COMMAND
        and isinstance(args, list)
        and args[:2] in (["step", "pull"], ["step", "push"])
    )


def _step(
    plan: TaskPlan, mounts: Sequence[WorkspaceMount], spec: Object, free: FreeNames, *, is_v1: bool, where: str
) -> dict[str, Any]:
    """Return the common fields of the two steps. They override all fields of a stepTemplate that would do harm."""
    template = mapping(spec, "stepTemplate", where)
    private = [{"name": free.volume, "mountPath": free.path}]
    if plan.settings.ca_config_map:
        private.append({"name": free.ca_volume, "mountPath": free.ca_path})
    data = [{"name": f"$(workspaces.{mount.name}.volume)", "mountPath": free.directory(mount)} for mount in mounts]
    step_user = choose_step_user(objects(spec, "steps", where), template, plan.pod, where)
    step: dict[str, Any] = {
        "name": "",
        "image": plan.settings.image,
        "imagePullPolicy": "IfNotPresent",
        "workingDir": "/",
        "command": COMMAND,
        "args": [],
        "env": [
            *(
                {"name": free.variables[name], "valueFrom": {"fieldRef": {"fieldPath": path}}}
                for name, path in names.POD_FIELDS.items()
            ),
            # Tekton copies the logins to HOME before a step begins. A template's HOME is for the user's steps.
            {"name": "HOME", "value": free.path},
        ],
        "volumeMounts": private + data,
        "securityContext": security_context(step_user, template, where),
    }
    if plan.timeout:
        step["timeout"] = plan.timeout
    key = "computeResources" if is_v1 else "resources"
    resources = step_resources(plan.settings.resources, mapping(template, key, where), where)
    return {**step, key: resources} if resources else step


def _json(arguments: Object, free: FreeNames) -> str:
    return dump(arguments, *free.variables.values(), push_result.PATH)


def _volumes(plan: TaskPlan, free: FreeNames) -> list[Object]:
    found: list[Object] = [{"name": free.volume, "emptyDir": {}}]
    if plan.settings.ca_config_map:
        found.append({"name": free.ca_volume, "configMap": {"name": plan.settings.ca_config_map}})
    return found


def _arguments(plan: TaskPlan, mounts: Sequence[WorkspaceMount], free: FreeNames) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "volume": free.path,
        "pod": free.value_of(names.POD_NAME),
        "pod-uid": free.value_of(names.POD_UID),
        "credentials": CREDENTIALS,
        "on-conflict": plan.on_conflict,
        "workspaces": [_workspace(plan, mount, free) for mount in mounts],
    }
    if plan.patience:
        arguments["patience"] = plan.patience
    if plan.settings.plain_http:
        arguments["plain-http"] = True
    if plan.settings.ca_config_map:
        arguments["ca-file"] = f"{free.ca_path}/ca.crt"
    return arguments


def _workspace(plan: TaskPlan, mount: WorkspaceMount, free: FreeNames) -> dict[str, Any]:
    member = f"/{TASK_RUN}" if plan.is_matrix else ""
    optional = {
        "after": list(mount.after),
        "base": plan.base,
        "fresh": mount.is_fresh,
        "read-only": mount.is_read_only,
        "sub-path": mount.sub_path,
    }
    return {
        "name": mount.name,
        "directory": free.directory(mount),
        "target": mount.target,
        "lane": mount.lane + member,
        **{key: value for key, value in optional.items() if value},
    }
