"""References to Tasks and Pipelines, and their encoding in the params of another resolver.

Each param of an inner reference becomes a param of its own, so that Tekton can replace variables in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.model.fields import Object, objects, text


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to a Task or Pipeline: a name in the namespace, or a resolver with params (name, value as JSON)."""

    name: str = ""
    resolver: str = ""
    params: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if not self.resolver:
            return self.name
        return f"{self.resolver}({', '.join(f'{name}={value}' for name, value in self.params)})"

    def to_object(self) -> dict[str, Any]:
        """Return it as a `taskRef` or `pipelineRef`."""
        if not self.resolver:
            return {"name": self.name}
        return {"resolver": self.resolver, "params": _listed(self.params)}

    def to_params(self, word: str) -> list[Object]:
        """Return the params `word`, or `word.resolver` and `word.params.<name>`."""
        if not self.resolver:
            return [{"name": word, "value": self.name}]
        inner = [{**param, "name": f"{word}.params.{param['name']}"} for param in _listed(self.params)]
        return [{"name": f"{word}.resolver", "value": self.resolver}, *inner]


def reference_of(value: Object, where: str) -> Reference:
    """Return the reference in a `taskRef` or `pipelineRef`.

    Raises:
        UnwrappableError: a field has another type than Tekton's.
    """
    params = [(text(param, "name", where), param.get("value")) for param in objects(value, "params", where)]
    return _reference(text(value, "name", where), text(value, "resolver", where), params)


def reference_in(params: Sequence[Object], word: str, where: str) -> Reference | None:
    """Return the reference that `to_params` encoded, None if there is none.

    Raises:
        UnwrappableError: its name or its resolver is no string.
    """
    values = {text(param, "name", where): param for param in params}
    if f"{word}.resolver" in values:
        prefix = f"{word}.params."
        inner = [
            (name.removeprefix(prefix), param.get("value")) for name, param in values.items() if name.startswith(prefix)
        ]
        return _reference("", text(values[f"{word}.resolver"], "value", where), inner)
    if word in values:
        return _reference(text(values[word], "value", where), "", [])
    return None


def _reference(name: str, resolver: str, params: Sequence[tuple[str, Any]]) -> Reference:
    if resolver:
        return Reference(resolver=resolver, params=tuple((key, json.dumps(value)) for key, value in params))
    return Reference(name)


def _listed(params: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"name": name, "value": json.loads(value)} for name, value in params]


def require_reference(reference: Reference | None, word: str, where: str) -> Reference:
    """Return a reference that is required.

    Raises:
        UnwrappableError: it is missing or empty.
    """
    if reference is None or not (reference.name or reference.resolver):
        raise UnwrappableError(f"the parameter {word} is missing", subject=where, remedy=f"name the object with {word}")
    return reference
