"""The size limit of a step's results (kubelet: normalizeStatus; tekton: pkg/termination)."""

from __future__ import annotations

from collections.abc import Sequence

from agent.tekton.model.fields import Object, mapping, objects

_POD = 12 * 1024
_CONTAINER = 4096
_PREPARE = 1


def result_limit(spec: Object, added: int, where: str) -> int:
    """Return the size in bytes of a step's termination message above which the kubelet cuts it silently.

    The kubelet divides 12 KiB by the number of containers. The content of a StepAction is unknown here. So an
    init container for scripts and one for working directories are counted for it.

    Args:
        spec: the task's.
        added: how many steps are added to it.
    """
    steps, sidecars = objects(spec, "steps", where), objects(spec, "sidecars", where)
    has_script = any(part.get("script") or part.get("ref") for part in (*steps, *sidecars))
    template = mapping(spec, "stepTemplate", where)
    directories = [step.get("workingDir") or template.get("workingDir") for step in steps]
    inits = _PREPARE + has_script + _are_made(directories)
    return min(_CONTAINER, _POD // (len(steps) + added + len(sidecars) + inits))


def _are_made(directories: Sequence[object]) -> bool:
    # The value of a variable is most likely a path below /workspace.
    return any(
        str(path).startswith(("/workspace/", "$(")) or not str(path).startswith("/") for path in directories if path
    )
