"""Refusing what cannot be wrapped: each error names the object, the field and a remedy."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import UnwrappableError
from agent.tekton.model.fields import Object, mapping, text
from agent.tekton.model.pipeline_tasks import is_custom

HERMETIC = "experimental.tekton.dev/execution-mode"
_OS_LABELS = ("kubernetes.io/os", "beta.kubernetes.io/os")


def refuse_hermetic(annotations: Object, where: str) -> None:
    """Refuse the annotation that cuts off all steps from the network.

    Raises:
        UnwrappableError: the annotation is set.
    """
    if annotations.get(HERMETIC) == "hermetic":
        raise UnwrappableError(
            "hermetic steps have no network, and the agent's steps need the registry",
            subject=f"{where}, annotation {HERMETIC}",
            remedy="take the annotation off, or bind its workspaces to a volume and leave them out",
        )


def refuse_windows(pod_template: Object, where: str) -> None:
    """Refuse pods on Windows nodes.

    Raises:
        UnwrappableError: the node selector asks for Windows.
    """
    selector = mapping(pod_template, "nodeSelector", where)
    for label in _OS_LABELS:
        if selector.get(label) == "windows":
            raise _windows(f"{where}, podTemplate.nodeSelector")


def refuse_windows_scripts(steps: Sequence[Object], where: str) -> None:
    """Refuse steps that Tekton runs on Windows.

    Raises:
        UnwrappableError: a script begins with `#!win`.
    """
    for step in steps:
        if str(step.get("script") or "").startswith("#!win"):
            raise _windows(f"{where}, step {step.get('name', '')}")


def refuse_foreign(task: Object, where: str, workspace: str) -> None:
    """Refuse tasks that do not become TaskRuns: custom tasks and pipelines get an emptyDir of their own.

    Raises:
        UnwrappableError: the task is one of them.
    """
    for field in ("taskRef", "taskSpec"):
        found = mapping(task, field, where)
        if is_custom(found):
            raise UnwrappableError(
                f"it is a custom task ({found['apiVersion']} {found['kind']}), whose workspace {workspace} the agent "
                "cannot reach",
                subject=f"{where}, {field}",
                remedy=f"do not give it workspace {workspace}, or bind that to a volume and leave it out",
            )
    for field in ("pipelineRef", "pipelineSpec"):
        if task.get(field) is not None:
            raise UnwrappableError(
                f"it is a pipeline in the pipeline, whose tasks would not share workspace {workspace}",
                subject=f"{where}, {field}",
                remedy="write its tasks into this pipeline, or do not give it the workspace",
            )


def refuse_odd_reference(reference: Object, where: str) -> None:
    """Refuse references to Tasks that cannot be passed to a resolver.

    Raises:
        UnwrappableError: the reference is one of them.
    """
    subject = f"{where}, taskRef"
    if text(reference, "kind", where) not in ("", "Task"):
        raise UnwrappableError(
            f"its kind is {reference['kind']}", subject=subject, remedy="refer to a Task of the namespace"
        )
    if reference.get("bundle"):
        raise UnwrappableError(
            "the field bundle is of Tekton's past", subject=subject, remedy="use the resolver bundles instead"
        )
    name = text(reference, "name", where)
    if not (name or reference.get("resolver")) or "://" in name:
        raise UnwrappableError(
            "it names neither a Task of the namespace nor a resolver",
            subject=subject,
            remedy="name the Task, or the resolver with its params",
        )


def _windows(subject: str) -> UnwrappableError:
    return UnwrappableError(
        "the agent does not run on Windows",
        subject=subject,
        remedy="run the task on Linux, or leave its workspaces out",
    )
