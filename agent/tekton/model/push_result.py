"""The step result of the push step: a short JSON text that reaches the TaskRun's status (design, "Tekton").

It says which change was published and how many conflicts that change takes part in. The step writes it, the controller
reads it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

NAME = "published"
"""Name of the step result."""

PATH = f"step.results.{NAME}.path"
"""Tekton's variable for the path of the file that the step has to write."""

DECLARATION = {"name": NAME, "type": "string"}
"""The result as the step declares it. Without a type, Tekton would take the JSON object for a result of type object."""

LONGEST = 120
"""Bytes that a result has at most."""

_CHANGE_DIGITS = 12
_PATHS_DIGITS = 8
_COUNT_MAX = 10**9
_WORKSPACES_MAX = 10**4
_FORMAT = re.compile(
    rf'\{{(?:"change":"([0-9a-f]{{{_CHANGE_DIGITS}}})",)?"conflicts":([0-9]{{1,10}})'
    rf'(?:,"paths":"([0-9a-f]{{{_PATHS_DIGITS}}})")?(?:,"workspace":([0-9]{{1,5}}))?\}}',
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push step published in all workspaces of its task.

    Attributes:
        conflicts: number of conflicts with other changes, the sum over all workspaces.
        change: the first digits of a change's id: of the first workspace with conflicts, else of the first workspace
            that has a new change; None if there is no new change.
        workspace: index of that workspace in the step's argument.
        paths: a digest of the paths in conflict, with their targets; None without a conflict.
    """

    conflicts: int = 0
    change: str | None = None
    workspace: int | None = None
    paths: str | None = None


class PushedWorkspace(NamedTuple):
    """One push of a push step.

    Attributes:
        place: the index of the workspace in the step's argument.
        target: its image.
        change: id of the new change, None if there was nothing to publish.
        paths: the path of each conflict of that change.
    """

    place: int
    target: str
    change: str | None
    paths: tuple[str, ...]


def summarize(pushes: Sequence[PushedWorkspace]) -> PushResult:
    """Return the result of several pushes."""
    new = [push for push in pushes if push.change is not None]
    places = sorted({(push.target, path) for push in new for path in push.paths})
    first = next((push for push in new if push.paths), new[0] if new else None)
    if first is None or first.change is None:
        return PushResult()
    return PushResult(
        conflicts=min(sum(len(push.paths) for push in new), _COUNT_MAX),
        change=first.change[:_CHANGE_DIGITS],
        workspace=first.place,
        paths=hashlib.sha256(json.dumps(places).encode()).hexdigest()[:_PATHS_DIGITS] if places else None,
    )


def format_result(result: PushResult) -> str:
    """Return a result as JSON, without the fields that are None. It has at most `LONGEST` bytes."""
    fields = {
        "change": result.change,
        "conflicts": result.conflicts,
        "paths": result.paths,
        "workspace": result.workspace,
    }
    return json.dumps({key: value for key, value in fields.items() if value is not None}, separators=(",", ":"))


WIDEST = format_result(PushResult(_COUNT_MAX, "0" * _CHANGE_DIGITS, _WORKSPACES_MAX, "0" * _PATHS_DIGITS))
"""A result that is as long as any."""


def parse_result(text: str) -> PushResult | None:
    """Return the result that `format_result` wrote, None for any other text: steps of users write results, too."""
    match = _FORMAT.fullmatch(text)
    if match is None:
        return None
    change, conflicts, paths, workspace = match.groups()
    result = PushResult(int(conflicts), change, None if workspace is None else int(workspace), paths)
    if (workspace is None) != (change is None) or (paths is None) != (result.conflicts == 0):
        return None
    if paths is not None and change is None:
        return None
    return result if format_result(result) == text else None
