"""The field `spec.lookup` in Tekton's CRDs: since 0.70 they drop fields that they do not know, so it has to be added.

Whoever installs Tekton again takes it out. Then the API server drops the field before any webhook sees it, and what a
run that relies on it names would be looked up in its namespace.
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
"""What it may be is checked by the webhook, which a schema could not do in words."""

_OPEN = "x-kubernetes-preserve-unknown-fields"


def field_patch(crd: Object) -> list[dict[str, Any]]:
    """Return the JSON patch (RFC 6902) that adds the field to every version that lacks it; empty if none does.

    Raises:
        UnwrappableError: it is no CRD.
    """
    found: list[dict[str, Any]] = []
    name = text(mapping(crd, "metadata", "CRD"), "name", "CRD")
    for index, version in enumerate(objects(mapping(crd, "spec", name), "versions", name)):
        path = f"/spec/versions/{index}/schema/openAPIV3Schema/properties/spec/properties/{FIELD}"
        if _lacks_field(version, name):
            found.append({"op": "add", "path": path, "value": SCHEMA})
    if not found:
        return []
    # What is at a place of the list is known of this version of the CRD only.
    seen = mapping(crd, "metadata", name).get("resourceVersion")
    return [{"op": "test", "path": "/metadata/resourceVersion", "value": seen}, *found]


def _lacks_field(version: Object, name: str) -> bool:
    schema = mapping(mapping(version, "schema", name), "openAPIV3Schema", name)
    spec = mapping(mapping(schema, "properties", name), "spec", name)
    properties = mapping(spec, "properties", name)
    return bool(properties) and not schema.get(_OPEN) and not spec.get(_OPEN) and FIELD not in properties
