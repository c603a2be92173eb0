"""The compute resources of the two steps. Tekton merges those of a stepTemplate under ours, name by name."""

from __future__ import annotations

from agent.tekton.model.fields import Object, mapping

_NOTHING = "0"
"""As a request it adds nothing to the pod's, and as a limit it means none."""


def step_resources(own: Object, template: Object, where: str) -> Object:
    """Return a step's `computeResources`. Tekton merges them over the template's.

    A resource of the template that the installation does not set becomes 0: the template's requests would make the pod
    larger (by two devices, for example), and its limits may be too small for the agent.

    Args:
        own: the installation's `requests` and `limits`.
        template: those of the `stepTemplate`.
    """
    requests, limits = mapping(own, "requests", where), mapping(own, "limits", where)
    limited = sorted(mapping(template, "limits", where).keys() - limits.keys())
    requested = sorted(mapping(template, "requests", where).keys() - requests.keys())
    # Kubernetes refuses a request above its limit, and sets a missing request to the limit.
    requests = {**requests, **dict.fromkeys([*requested, *limited], _NOTHING)}
    limits = {**limits, **dict.fromkeys(limited, _NOTHING)}
    return {**own, **{key: value for key, value in (("requests", requests), ("limits", limits)) if value}}
