"""The two steps (design, "Tekton"): one argument for both, JSON that says everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.tekton.model import names, push_result
from agent.tekton.model.fields import Object, mapping, objects, text
from agent.tekton.model.variables import CREDENTIALS, TASK_RUN, dump
from agent.tekton.wrap.compute_resources import step_resources
from agent.tekton.wrap.free_names import Room, room_in
from agent.tekton.wrap.result_budget import result_limit
from agent.tekton.wrap.security import identity, security_context
from agent.tekton.wrap.task_plan import Mount, Plan

COMMAND = ["/usr/local/bin/agent"]
"""Where the image has it: a pod template may set PATH."""


@dataclass(frozen=True, slots=True)
class Injection:
    """What a task gets: steps in front of its own, steps behind them, volumes."""

    before: tuple[Object, ...]
    after: tuple[Object, ...]
    volumes: tuple[Object, ...]


def injection(plan: Plan, spec: Object, *, is_v1: bool, where: str) -> Injection:
    """Return what a task gets.

    The pull step is there even if there is nothing to pull: it sees, before the task does its work, that a push
    will be let in (docs/decisions/first-tasks-check.md). There is no push step where nothing may be written; but where
    there are results that the kubelet may cut, a push step compares their size with what it lets through.

    Args:
        spec: the task's, with all steps named.
        is_v1: whether it is of `tekton.dev/v1`; v1beta1 calls compute resources otherwise.
    """
    mounts = [mount for mount in plan.mounts if not (mount.is_fresh and mount.is_read_only)]
    if not mounts:
        return Injection((), (), ())
    results = [text(result, "name", where) for result in objects(spec, "results", where)]
    is_limited = bool(results) and plan.settings.results_from == "termination-message"
    writes = any(not mount.is_read_only for mount in mounts)
    pushes = writes or is_limited
    room = room_in(spec, plan.pod, where)
    arguments = _arguments(plan, mounts, room)
    if is_limited:
        limit = result_limit(spec, 1 + pushes, where)
        arguments["results"] = {
            "directory": "/tekton/results",
            "names": results,
            "limit": limit,
            "steps": "/tekton/steps",
        }
    shared = _step(plan, mounts, spec, room, is_v1=is_v1, where=where)
    pull = {**shared, "name": room.pull, "args": ["step", "pull", _json(arguments, room)]}
    push = {**shared, "name": room.push, "args": ["step", "push", _json(arguments, room)]}
    if plan.step_result and writes:
        # Tekton replaces the variable in the step that has the result, and in no other.
        arguments["step-result"] = f"$({push_result.PATH})"
        push |= {"args": ["step", "push", _json(arguments, room)], "results": [push_result.DECLARATION]}
    return Injection((pull,), (push,) if pushes else (), tuple(_volumes(plan, room)))


def is_injected(step: Object) -> bool:
    """Say whether a step is one of ours."""
    args = step.get("args")
    return (
        str(step.get("name", "")).startswith((names.PULL, names.PUSH))
        and step.get("command") == COMMAND
        and isinstance(args, list)
        and args[:2] in (["step", "pull"], ["step", "push"])
    )


def _step(plan: Plan, mounts: Sequence[Mount], spec: Object, room: Room, *, is_v1: bool, where: str) -> dict[str, Any]:
    """Return what the two steps share: nothing that a stepTemplate has may decide anything that matters."""
    template = mapping(spec, "stepTemplate", where)
    private = [{"name": room.volume, "mountPath": room.path}]
    if plan.settings.ca_config_map:
        private.append({"name": room.ca_volume, "mountPath": room.ca_path})
    data = [{"name": f"$(workspaces.{mount.name}.volume)", "mountPath": room.directory(mount)} for mount in mounts]
    who = identity(objects(spec, "steps", where), template, plan.pod, where)
    step: dict[str, Any] = {
        "name": "",
        "image": plan.settings.image,
        "imagePullPolicy": "IfNotPresent",
        "workingDir": "/",
        "command": COMMAND,
        "args": [],
        "env": [
            *(
                {"name": room.variables[name], "valueFrom": {"fieldRef": {"fieldPath": path}}}
                for name, path in names.POD_FIELDS.items()
            ),
            # Tekton copies the logins there before a step begins, and a template's HOME may be the user's steps'.
            {"name": "HOME", "value": room.path},
        ],
        "volumeMounts": private + data,
        "securityContext": security_context(who, template, where),
    }
    if plan.timeout:
        step["timeout"] = plan.timeout
    key = "computeResources" if is_v1 else "resources"
    resources = step_resources(plan.settings.resources, mapping(template, key, where), where)
    return {**step, key: resources} if resources else step


def _json(arguments: Object, room: Room) -> str:
    return dump(arguments, *room.variables.values(), push_result.PATH)


def _volumes(plan: Plan, room: Room) -> list[Object]:
    found: list[Object] = [{"name": room.volume, "emptyDir": {}}]
    if plan.settings.ca_config_map:
        found.append({"name": room.ca_volume, "configMap": {"name": plan.settings.ca_config_map}})
    return found


def _arguments(plan: Plan, mounts: Sequence[Mount], room: Room) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "volume": room.path,
        "pod": room.value_of(names.POD_NAME),
        "pod-uid": room.value_of(names.POD_UID),
        "credentials": CREDENTIALS,
        "on-conflict": plan.on_conflict,
        "workspaces": [_workspace(plan, mount, room) for mount in mounts],
    }
    if plan.patience:
        arguments["patience"] = plan.patience
    if plan.settings.plain_http:
        arguments["plain-http"] = True
    if plan.settings.ca_config_map:
        arguments["ca-file"] = f"{room.ca_path}/ca.crt"
    return arguments


def _workspace(plan: Plan, mount: Mount, room: Room) -> dict[str, Any]:
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
        "directory": room.directory(mount),
        "target": mount.target,
        "lane": mount.lane + member,
        **{key: value for key, value in optional.items() if value},
    }
