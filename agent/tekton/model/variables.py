"""Tekton's variables `$(…)`: replacing those with known values, refusing others, and escaping texts of users.

Tekton and Kubernetes replace variables textually, also in JSON. So JSON for a step's arguments has `\\u0024` instead
of every `$` of a user. No part of it can become a variable, and no value can end the string that contains it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agent.errors import UnwrappableError

RUN_NAME = "$(context.pipelineRun.name)"
RUN_UID = "$(context.pipelineRun.uid)"
RUN_NAMESPACE = "$(context.pipelineRun.namespace)"
TASK_RUN = "$(context.taskRun.name)"
CREDENTIALS = "$(credentials.path)"
_OURS = (RUN_NAME, RUN_UID, RUN_NAMESPACE, TASK_RUN, CREDENTIALS)
_VARIABLE = re.compile(r"\$\(([^()]*)\)")
_SUBSCRIPT = re.compile(r"""\[(?:"([^"]*)"|'([^']*)')\]""")


def dump(value: Any, *names: str) -> str:
    """Return JSON with sorted keys, in which only the variables of this module are replaced.

    Args:
        names: the environment variables of the container that Kubernetes replaces, too.
    """
    text = json.dumps(value, sort_keys=True).replace("$", "\\u0024")
    for variable in (*_OURS, *(f"$({name})" for name in names)):
        text = text.replace("\\u0024" + variable[1:], variable)
    return text


def substitute(text: str, values: Mapping[str, str], *, subject: str) -> str:
    """Return `text` with its variables replaced. Variables in values are not replaced.

    Args:
        values: by name, as `params.revision` or `context.pipelineRun.name`.

    Raises:
        UnwrappableError: a variable is unknown, or `$(` does not begin one. It would remain, the same in all runs.
    """

    def value_of(match: re.Match[str]) -> str:
        name = canonical(match[1])
        if name not in values:
            raise _left(match[0], subject, values)
        return values[name]

    if "$(" in _VARIABLE.sub("", text):
        raise _left("$(", subject, values)
    return _VARIABLE.sub(value_of, text)


def canonical(name: str) -> str:
    """Return a variable's name with dots: `params["x"]` is `params.x`."""
    return _SUBSCRIPT.sub(lambda match: f".{match[1] or match[2] or ''}", name.strip())


def mentioned(value: Any, prefix: str) -> list[str]:
    """Return the names that variables below `prefix` begin with, in order: `x` of `$(workspaces.x.path)`."""
    found: dict[str, None] = {}
    for text in strings(value):
        for match in _VARIABLE.finditer(text):
            if re.match(rf"{prefix}[.\[]", match[1].strip()):
                found[_first(match[1].strip()[len(prefix) :])] = None
    return [name for name in found if name]


def strings(value: Any) -> Iterator[str]:
    """Yield every string in a value, without keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def replace_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with `change` applied to every string in it, except keys."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: replace_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_strings(item, change) for item in value]
    return value


def _first(rest: str) -> str:
    subscript = _SUBSCRIPT.match(rest)
    if subscript:
        return subscript[1] or subscript[2] or ""
    return re.split(r"[.\[]", rest[1:], maxsplit=1)[0]


def _left(variable: str, subject: str, values: Mapping[str, str]) -> UnwrappableError:
    known = ", ".join(f"$({name})" for name in sorted(values)) or "none"
    return UnwrappableError(
        f"{variable} is not known here and would stay as it is, the same in every run",
        subject=subject,
        remedy=f"write it out, or use one of: {known}",
    )
