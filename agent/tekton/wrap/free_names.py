"""Names and places of the agent's steps in a task: none that the task, its pod template or its workspaces have.

Tekton merges what a step template mounts into the agent's steps, and mounts the workspaces there, too. A pod template's
volumes stand beside the task's, and its environment variables win over those of a step.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.tekton.model import names
from agent.tekton.model.fields import Object, mapping, objects, text
from agent.tekton.model.pod_template import PodTemplate
from agent.tekton.wrap.task_plan import WorkspaceMount


@dataclass(frozen=True, slots=True)
class FreeNames:
    """What is free for the agent's steps.

    Attributes:
        pull, push: names of the steps.
        volume, path: their own volume, and where they mount it.
        ca_volume, ca_path: the certificates, likewise.
        workspaces_path: below it they mount the workspaces.
        variables: the environment variables of `names.POD_FIELDS`, each with what it is called here.
    """

    pull: str
    push: str
    volume: str
    path: str
    ca_volume: str
    ca_path: str
    workspaces_path: str
    variables: Mapping[str, str]

    def value_of(self, variable: str) -> str:
        """Return what Kubernetes replaces by the value of an environment variable."""
        return f"$({self.variables[variable]})"

    def directory(self, mount: WorkspaceMount) -> str:
        """Return where the steps find the root of a workspace's volume."""
        return f"{self.workspaces_path}/{mount.name}"


def free_names_in(spec: Object, pod: PodTemplate, where: str) -> FreeNames:
    """Return names and places that nothing in a task has.

    Args:
        spec: the task's.

    Raises:
        UnwrappableError: a field has another type than Tekton's.
    """
    template = mapping(spec, "stepTemplate", where)
    parts = [template, *objects(spec, "steps", where), *objects(spec, "sidecars", where)]
    steps = names.step_names(parts)
    volumes = {text(volume, "name", where) for volume in objects(spec, "volumes", where)} | set(pod.volumes)
    paths = [path for part in parts for path in _mount_paths(part, where)] + _workspace_paths(spec, where)
    variables = {text(item, "name", where) for part in parts for item in objects(part, "env", where)}
    variables |= set(pod.variables)
    volume = names.free(names.VOLUME, volumes)
    return FreeNames(
        pull=names.free(names.PULL, steps),
        push=names.free(names.PUSH, steps),
        volume=volume,
        path=_free_path(names.VOLUME_PATH, paths),
        ca_volume=names.free(names.CA_VOLUME, volumes | {volume}),
        ca_path=_free_path(names.CA_PATH, paths),
        workspaces_path=_free_path(names.WORKSPACES_PATH, paths),
        variables={name: names.free(name, variables, "_") for name in names.POD_FIELDS},
    )


def _mount_paths(part: Object, where: str) -> list[str]:
    """Return where a step, a sidecar or the step template mounts something."""
    mounts = [*objects(part, "volumeMounts", where), *objects(part, "volumeDevices", where)]
    paths = [text(mount, key, where) for mount in mounts for key in ("mountPath", "devicePath")]
    return [*paths, *(text(use, "mountPath", where) for use in objects(part, "workspaces", where))]


def _workspace_paths(spec: Object, where: str) -> list[str]:
    return [text(workspace, "mountPath", where) for workspace in objects(spec, "workspaces", where)]


def _free_path(path: str, taken: Iterable[str]) -> str:
    """Return a path, or one like it that is neither one of those taken, nor above or below one."""
    used = {posixpath.normpath(other) for other in taken if other}
    beside = {found.strip("/").split("/", 1)[0] for found in used}
    return "/" + names.free(path.strip("/"), beside)
