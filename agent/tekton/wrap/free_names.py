"""Free names and paths for the agent's steps in a task: the task, its pod template and its workspaces do not use them.

Tekton adds the mounts of a step template and of workspaces to the agent's steps. The pod has the volumes of the pod
template and of the task. The environment variables of a pod template win over those of a step.
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
    """Names and paths for the agent's steps.

    Attributes:
        pull, push: names of the steps.
        volume, path: their own volume, and its mount path.
        ca_volume, ca_path: the volume of certificates, and its mount path.
        workspaces_path: the directory of the mounts of workspaces.
        variables: the name in this task for each environment variable of `names.POD_FIELDS`.
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
        """Return the variable that Kubernetes replaces by the value of an environment variable."""
        return f"$({self.variables[variable]})"

    def directory(self, mount: WorkspaceMount) -> str:
        """Return the mount path of a workspace's volume in the steps."""
        return f"{self.workspaces_path}/{mount.name}"


def free_names_in(spec: Object, pod: PodTemplate, where: str) -> FreeNames:
    """Return names and paths that are free in a task.

    Args:
        spec: the task's spec.
        pod: the pod template of the run.

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
    volume = names.free_name(names.VOLUME, volumes)
    return FreeNames(
        pull=names.free_name(names.PULL, steps),
        push=names.free_name(names.PUSH, steps),
        volume=volume,
        path=_free_path(names.VOLUME_PATH, paths),
        ca_volume=names.free_name(names.CA_VOLUME, volumes | {volume}),
        ca_path=_free_path(names.CA_PATH, paths),
        workspaces_path=_free_path(names.WORKSPACES_PATH, paths),
        variables={name: names.free_name(name, variables, "_") for name in names.POD_FIELDS},
    )


def _mount_paths(part: Object, where: str) -> list[str]:
    """Return the mount paths of a step, a sidecar or the step template."""
    mounts = [*objects(part, "volumeMounts", where), *objects(part, "volumeDevices", where)]
    paths = [text(mount, key, where) for mount in mounts for key in ("mountPath", "devicePath")]
    return [*paths, *(text(use, "mountPath", where) for use in objects(part, "workspaces", where))]


def _workspace_paths(spec: Object, where: str) -> list[str]:
    return [text(workspace, "mountPath", where) for workspace in objects(spec, "workspaces", where)]


def _free_path(path: str, taken: Iterable[str]) -> str:
    """Return a path, or a similar one, that is not equal to, above or below a path that is taken."""
    used = {posixpath.normpath(other) for other in taken if other}
    used_roots = {found.strip("/").split("/", 1)[0] for found in used}
    return "/" + names.free_name(path.strip("/"), used_roots)
