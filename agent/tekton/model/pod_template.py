"""What a run's pod template decides about a task's pod, as far as the agent's steps have to know."""

from __future__ import annotations

from dataclasses import dataclass

from agent.tekton.model.fields import Object, mapping, number, objects, text


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """The pod of a task, which is the same for all of its steps.

    Attributes:
        user: the UID of containers that name none, None if their images decide.
        is_non_root: whether containers that do not say otherwise may not run as root.
        volumes: names of volumes.
        variables: names of environment variables, which win over those of a step.
    """

    user: int | None = None
    is_non_root: bool = False
    volumes: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


NO_POD_TEMPLATE = PodTemplate()
"""One without a pod template."""


def parse_pod_template(template: Object, where: str) -> PodTemplate:
    """Return what a `podTemplate` decides.

    Raises:
        UnwrappableError: a field has another type than Tekton's.
    """
    context = mapping(template, "securityContext", where)
    return PodTemplate(
        user=number(context, "runAsUser", where),
        is_non_root=bool(context.get("runAsNonRoot")),
        volumes=tuple(text(volume, "name", where) for volume in objects(template, "volumes", where)),
        variables=tuple(text(variable, "name", where) for variable in objects(template, "env", where)),
    )
