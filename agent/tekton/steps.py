"""The two steps (design section 11): one argument for both, JSON that says everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.tekton import names
from agent.tekton.budget import result_limit
from agent.tekton.fields import Object, mapping, objects, text
from agent.tekton.plan import Mount, Plan
from agent.tekton.security import security_context
from agent.tekton.variables import CREDENTIALS, POD, TASK_RUN, dump

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

    There is no pull step where nothing can be there to pull, and no push step where nothing may be written; but where
    there are results a push step compares their size with what the kubelet lets through.

    Args:
        spec: the task's, with all steps named.
        is_v1: whether it is of `tekton.dev/v1`; v1beta1 calls compute resources otherwise.
    """
    mounts = [mount for mount in plan.mounts if not (mount.is_fresh and mount.is_read_only)]
    if not mounts:
        return Injection((), (), ())
    results = [text(result, "name", where) for result in objects(spec, "results", where)]
    pulls = any(not mount.is_fresh for mount in mounts)
    pushes = any(not mount.is_read_only for mount in mounts) or bool(results)
    volume = names.free(names.VOLUME, {text(item, "name", where) for item in objects(spec, "volumes", where)})
    arguments = _arguments(plan, mounts)
    if results and plan.settings.results_from == "termination-message":
        limit = result_limit(spec, pulls + pushes, where)
        arguments["results"] = {"directory": "/tekton/results", "names": results, "limit": limit}
    step = _step(plan, mounts, spec, volume, dump(arguments), is_v1=is_v1, where=where)
    taken = names.step_names(objects(spec, "steps", where))
    before = ({**step, **_named("pull", names.free(names.PULL, taken), step)},) if pulls else ()
    after = ({**step, **_named("push", names.free(names.PUSH, taken), step)},) if pushes else ()
    return Injection(before, after, tuple(_volumes(plan, volume)))


def is_injected(step: Object) -> bool:
    """Say whether a step is one of ours."""
    args = step.get("args")
    return (
        str(step.get("name", "")).startswith((names.PULL, names.PUSH))
        and step.get("command") == COMMAND
        and isinstance(args, list)
        and args[:2] in (["step", "pull"], ["step", "push"])
    )


def _named(word: str, name: str, step: Mapping[str, Any]) -> Object:
    return {"name": name, "args": ["step", word, *step["args"]]}


def _step(
    plan: Plan, mounts: Sequence[Mount], spec: Object, volume: str, argument: str, *, is_v1: bool, where: str
) -> dict[str, Any]:
    """Return what the two steps share: nothing that a stepTemplate has may decide anything that matters."""
    template = mapping(spec, "stepTemplate", where)
    private = [{"name": volume, "mountPath": names.VOLUME_PATH}]
    if plan.settings.ca_config_map:
        private.append({"name": names.CA_VOLUME, "mountPath": names.CA_PATH})
    data = [{"name": f"$(workspaces.{mount.name}.volume)", "mountPath": directory_of(mount)} for mount in mounts]
    step: dict[str, Any] = {
        "name": "",
        "image": plan.settings.image,
        "imagePullPolicy": "IfNotPresent",
        "workingDir": "/",
        "command": COMMAND,
        "args": [argument],
        "env": [{"name": "INSTEP_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "volumeMounts": private + data,
        "securityContext": security_context(
            objects(spec, "steps", where), template, is_non_root=plan.is_non_root, where=where
        ),
    }
    if plan.settings.resources:
        step["computeResources" if is_v1 else "resources"] = plan.settings.resources
    return step


def _volumes(plan: Plan, volume: str) -> list[Object]:
    found: list[Object] = [{"name": volume, "emptyDir": {}}]
    if plan.settings.ca_config_map:
        found.append({"name": names.CA_VOLUME, "configMap": {"name": plan.settings.ca_config_map}})
    return found


def directory_of(mount: Mount) -> str:
    """Return where the steps find the root of a workspace's volume."""
    return f"{names.WORKSPACES_PATH}/{mount.name}"


def _arguments(plan: Plan, mounts: Sequence[Mount]) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "volume": names.VOLUME_PATH,
        "pod": POD,
        "credentials": CREDENTIALS,
        "on-conflict": plan.on_conflict,
        "workspaces": [_workspace(plan, mount) for mount in mounts],
    }
    if plan.settings.plain_http:
        arguments["plain-http"] = True
    if plan.settings.ca_config_map:
        arguments["ca-file"] = f"{names.CA_PATH}/ca.crt"
    return arguments


def _workspace(plan: Plan, mount: Mount) -> dict[str, Any]:
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
        "directory": directory_of(mount),
        "target": mount.target,
        "lane": mount.lane + member,
        **{key: value for key, value in optional.items() if value},
    }
