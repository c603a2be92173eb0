"""The compute resources of the two steps. Tekton merges those of a stepTemplate under ours, name by name."""

from __future__ import annotations

from agent.tekton.model.fields import Object, mapping

_NOTHING = "0"
"""As a request it adds nothing to the pod's, and as a limit it is none."""


def step_resources(own: Object, template: Object, where: str) -> Object:
    """Return a step's `computeResources`, to be merged over the template's by Tekton.

    What the template names and the installation does not becomes 0: the template's requests would make the pod larger
    (two devices more, say), and its limits may be too small for the agent.

    Args:
        own: what the installation decides, `requests` and `limits`.
        template: the `stepTemplate`'s.
    """
    requests, limits = mapping(own, "requests", where), mapping(own, "limits", where)
    limited = sorted(mapping(template, "limits", where).keys() - limits.keys())
    requested = sorted(mapping(template, "requests", where).keys() - requests.keys())
    # A request above its limit is refused, and one that is not there is as large as its limit.
    requests = {**requests, **dict.fromkeys([*requested, *limited], _NOTHING)}
    limits = {**limits, **dict.fromkeys(limited, _NOTHING)}
    return {**own, **{key: value for key, value in (("requests", requests), ("limits", limits)) if value}}
