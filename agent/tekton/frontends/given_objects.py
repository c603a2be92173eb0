"""Finding the object of a reference among those that were given to `agent render`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from agent.errors import UnwrappableError
from agent.tekton.controlplane.launch_run import name_of
from agent.tekton.model.fields import Object
from agent.tekton.model.object_reference import Reference


def kind_and_name(value: Object) -> str:
    """Return what to call an object in an error: kind and name."""
    kind = str(value.get("kind"))
    return f"{kind} {name_of(value, kind) or '(to be named)'}"


def index_of_pipeline(documents: Sequence[Object], reference: Reference, where: str) -> int:
    """Return the index of the Pipeline that a reference names.

    Args:
        where: the run that refers to it, for the error.

    Raises:
        UnwrappableError: the Pipeline was not given, or the reference names none.
    """
    index = index_of(documents, "Pipeline", reference)
    if index is None:
        raise UnwrappableError(
            f"its Pipeline, {reference}, is not among the files" if str(reference) else "it names no Pipeline",
            subject=where,
            remedy="give the file that has it, too",
        )
    return index


def index_of(documents: Sequence[Object], kind: str, reference: Reference) -> int | None:
    """Return the index of the object that a reference names, None if it was not given.

    The object of a resolver's reference is found by the parameter `name`, or by the name of its file.
    """
    name = reference.name or _name_in_params(reference)
    for index, document in enumerate(documents):
        if name and document.get("kind") == kind and name_of(document, kind) == name:
            return index
    return None


def _name_in_params(reference: Reference) -> str:
    params = {name: json.loads(value) for name, value in reference.params}
    found = next((params[key] for key in ("name", "pathInRepo", "url") if isinstance(params.get(key), str)), "")
    return found.rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")
