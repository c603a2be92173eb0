"""The wrapped workspaces of a pipeline, and the use of them in its tasks (tekton: propagateWorkspaces)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.spelling.reference import LayoutReference, RegistryReference, parse_reference
from agent.core.spelling.tags import check_target_tag
from agent.errors import InvalidReferenceError, UnwrappableError
from agent.tekton.model.fields import Object, mapping, named, objects, text
from agent.tekton.model.variables import RUN_NAME, RUN_NAMESPACE, RUN_UID, mentioned, substitute
from agent.tekton.model.wrapping import Run, Wrapping

_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
_STEP_FIELDS = ("script", "args", "command", "workingDir")


@dataclass(frozen=True, slots=True)
class Use:
    """The use of a wrapped workspace in a task.

    Attributes:
        name: its name in the task.
        workspace: its name in the pipeline.
        sub_path: the directory that is mounted, empty for all.
    """

    name: str
    workspace: str
    sub_path: str


def targets(spec: Object, wrapping: Wrapping, run: Run, where: str) -> dict[str, str]:
    """Return the wrapped workspaces of a pipeline, each with its target.

    Raises:
        UnwrappableError: a listed workspace cannot be wrapped, a target is invalid, or two workspaces share a target.
    """
    found = {
        name: target_of(wrapping.target, name, run.variables(), where) for name in _chosen(spec, wrapping, run, where)
    }
    for name, target in found.items():
        others = [other for other, same in found.items() if same == target and other != name]
        if others:
            raise UnwrappableError(
                f"workspaces {name} and {others[0]} would be kept at one image, {target}",
                subject=where,
                remedy="put {{workspace}} into the target",
            )
    return found


def target_of(template: str, workspace: str, variables: Mapping[str, str], where: str) -> str:
    """Return the target of a workspace. Only the run's own variables may remain in it.

    Raises:
        UnwrappableError: the result is not a target.
    """
    subject = f"{where}, target"
    if not template:
        raise UnwrappableError("there is none", subject=subject, remedy="name registry/repository-{{workspace}}:tag")
    for found in _PLACEHOLDER.findall(template):
        if found.strip() != "workspace":
            raise UnwrappableError(
                f"{{{{{found}}}}} is not known", subject=subject, remedy="write {{workspace}}, or write it out"
            )
    target = substitute(_PLACEHOLDER.sub(lambda _: workspace, template), variables, subject=subject)
    try:
        reference = image_of(_with_examples(target))
        if reference.digest is not None or reference.tag is None:
            raise InvalidReferenceError("it has a digest", subject=target, remedy="name a tag")
        check_target_tag(reference.tag)
    except InvalidReferenceError as error:
        remedy = error.remedy
        if workspace != workspace.lower() and _PLACEHOLDER.search(template.rpartition(":")[0]):
            remedy = "put {{workspace}} into the tag, behind the colon: a repository may have no capitals, a tag may"
        raise UnwrappableError(
            f"for workspace {workspace} it is {target}: {error.what}", subject=subject, remedy=remedy
        ) from error
    return target


def base_of(template: str | None, variables: Mapping[str, str], where: str) -> str | None:
    """Return the image that workspaces start from, None if there is none.

    Raises:
        UnwrappableError: the result is not an image reference.
    """
    if not template:
        return None
    subject = f"{where}, base"
    base = substitute(template, variables, subject=subject)
    try:
        image_of(_with_examples(base))
    except InvalidReferenceError as error:
        raise UnwrappableError(f"it is {base}: {error.what}", subject=subject, remedy=error.remedies) from error
    return base


def image_of(text: str) -> RegistryReference:
    """Return the reference of an image in a registry.

    Raises:
        InvalidReferenceError: the text is not a reference, or an OCI image layout, which no other pod can read.
    """
    reference = parse_reference(text)
    if isinstance(reference, LayoutReference):
        raise InvalidReferenceError(
            "it is a directory, which the steps have not", subject=text, remedy="name an image of a registry"
        )
    return reference


def uses(task: Object, wrapped: Mapping[str, str], spec: Object, run: Run, where: str) -> list[Use]:
    """Return the wrapped workspaces that a task uses: those that it maps, and those that its embedded spec mentions.

    Args:
        spec: the pipeline's spec, for the defaults of its parameters.

    Raises:
        UnwrappableError: a sub-path has a variable without a value before the run.
    """
    mappings = objects(task, "workspaces", where)
    names = {text(mapped, "name", where) for mapped in mappings}
    mentions = workspaces_mentioned(mapping(task, "taskSpec", where), where)
    mappings = mappings + [{"name": name} for name in mentions if name not in names]
    found = []
    for mapped in mappings:
        name = text(mapped, "name", where)
        workspace = text(mapped, "workspace", where) or name
        if workspace in wrapped:
            outer = text(run.bindings[workspace], "subPath", where)
            inner = text(mapped, "subPath", where)
            subject = f"{where}, subPath of workspace {name}"
            found.append(Use(name, workspace, _joined(outer, inner, _known(spec, run, where), subject)))
    return found


def workspaces_mentioned(spec: Object, where: str) -> list[str]:
    """Return the workspaces whose variables a task's spec uses, in the fields that Tekton reads."""
    steps = objects(spec, "steps", where)
    read: list[Any] = [step.get("params") for step in steps]
    for part in (*steps, *objects(spec, "sidecars", where), mapping(spec, "stepTemplate", where)):
        read += [part.get(key) for key in _STEP_FIELDS]
        read += [variable.get("value") for variable in objects(part, "env", where)]
    return mentioned(read, "workspaces")


def overlap(one: str, other: str) -> bool:
    """Return whether two sub-paths overlap."""
    first, second = one.split("/") if one else [], other.split("/") if other else []
    return all(left == right for left, right in zip(first, second, strict=False))


def _chosen(spec: Object, wrapping: Wrapping, run: Run, where: str) -> list[str]:
    if wrapping.workspaces is None:
        return [name for name, binding in run.bindings.items() if _source(binding) == "emptyDir"]
    return [name for name in dict.fromkeys(wrapping.workspaces) if _is_bound(name, spec, run, where)]


def _is_bound(name: str, spec: Object, run: Run, where: str) -> bool:
    subject = f"{where}, workspace {name}"
    declared = named(objects(spec, "workspaces", where), name)
    if name not in run.bindings:
        if declared is None:
            raise UnwrappableError("the pipeline has no such workspace", subject=subject, remedy="list its workspaces")
        if declared.get("optional"):
            return False
        raise UnwrappableError("the run does not bind it", subject=subject, remedy="bind it to an emptyDir")
    source = _source(run.bindings[name])
    if source != "emptyDir":
        raise UnwrappableError(
            f"it is bound to a {source}, which tasks share by themselves",
            subject=subject,
            remedy="bind it to an emptyDir, or do not list it",
        )
    return True


def _source(binding: Object) -> str:
    return next((key for key in binding if key not in ("name", "subPath") and binding[key] is not None), "nothing")


def _known(spec: Object, run: Run, where: str) -> dict[str, str]:
    defaults = {
        f"params.{text(param, 'name', where)}": param["default"]
        for param in objects(spec, "params", where)
        if isinstance(param.get("default"), str) and "$(" not in param["default"]
    }
    return defaults | run.variables()


def _with_examples(text: str) -> str:
    """Return a text with a placeholder for each variable that Tekton will replace."""
    for variable in (RUN_NAME, RUN_UID, RUN_NAMESPACE):
        text = text.replace(variable, "x")
    return text


def _joined(outer: str, inner: str, known: Mapping[str, str], subject: str) -> str:
    path = substitute("/".join(part for part in (outer, inner) if part), known, subject=subject)
    path = posixpath.normpath(path).lstrip("/") if path else ""
    if path == ".." or path.startswith("../"):
        raise UnwrappableError("it leaves the workspace", subject=subject, remedy="name a directory inside of it")
    if any(left in _with_examples(path) for left in ("$(", "{{")) or not path.isprintable():
        raise UnwrappableError(f"it is {path!r}", subject=subject, remedy="name a directory without $( and {{ in it")
    return "" if path == "." else path
