"""The field `spec.lookup` in Tekton's CRDs. Since Tekton 0.70 they drop unknown fields, so the field must be added.

An upgrade of Tekton removes the field. Then the API server drops it before any webhook sees it, and the references of a
run with the field would be looked up in its namespace.
"""

from __future__ import annotations

from typing import Any

from agent.tekton.lookup.lookup import FIELD
from agent.tekton.model.fields import Object, mapping, objects, text

CRDS = ("pipelineruns.tekton.dev", "taskruns.tekton.dev")
SCHEMA = {
    "description": "Where bare names are looked up: {bundle: REFERENCE}, or a list of that and {cluster: true}.",
    "x-kubernetes-preserve-unknown-fields": True,
}
"""The webhook checks the value, because its messages are clearer than those of a schema."""

_OPEN = "x-kubernetes-preserve-unknown-fields"


def field_patch(crd: Object) -> list[dict[str, Any]]:
    """Return the JSON patch (RFC 6902) that adds the field to every version without it; empty if all have it.

    Raises:
        UnwrappableError: the object is not a CRD.
    """
    found: list[dict[str, Any]] = []
    name = text(mapping(crd, "metadata", "CRD"), "name", "CRD")
    for index, version in enumerate(objects(mapping(crd, "spec", name), "versions", name)):
        path = f"/spec/versions/{index}/schema/openAPIV3Schema/properties/spec/properties/{FIELD}"
        if _lacks_field(version, name):
            found.append({"op": "add", "path": path, "value": SCHEMA})
    if not found:
        return []
    # The indexes in the paths are valid for this version of the CRD only.
    resource_version = mapping(crd, "metadata", name).get("resourceVersion")
    return [{"op": "test", "path": "/metadata/resourceVersion", "value": resource_version}, *found]


def _lacks_field(version: Object, name: str) -> bool:
    schema = mapping(mapping(version, "schema", name), "openAPIV3Schema", name)
    spec = mapping(mapping(schema, "properties", name), "spec", name)
    properties = mapping(spec, "properties", name)
    return bool(properties) and not schema.get(_OPEN) and not spec.get(_OPEN) and FIELD not in properties
