"""The parts of a run's pod template that concern the agent's steps."""

from __future__ import annotations

from dataclasses import dataclass

from agent.tekton.model.fields import Object, mapping, number, objects, text


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """The pod template of a task, which applies to all of its steps.

    Attributes:
        user: the UID of containers that name none, None if their images decide.
        is_non_root: whether containers may not run as root by default.
        volumes: names of volumes.
        variables: names of environment variables. They win over those of a step.
    """

    user: int | None = None
    is_non_root: bool = False
    volumes: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


NO_POD_TEMPLATE = PodTemplate()
"""The template of a run that has none."""


def parse_pod_template(template: Object, where: str) -> PodTemplate:
    """Return the parts of a `podTemplate`.

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
