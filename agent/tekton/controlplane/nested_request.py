"""Fetching a Pipeline or Task: from the namespace, or by a request to another resolver."""

from __future__ import annotations

import binascii
import hashlib
import json
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.controlplane.launch_run import condition_of
from agent.tekton.model.documents import read
from agent.tekton.model.fields import Object, mapping, objects, text
from agent.tekton.model.names import child_name
from agent.tekton.model.object_reference import Reference

API_VERSION = "resolution.tekton.dev/v1beta1"
TYPE = "resolution.tekton.dev/type"
"""The label with the resolver of a request."""

MANAGED = {"app.kubernetes.io/managed-by": "instep"}
_NAME_DIGITS = 10


@dataclass(frozen=True, slots=True)
class FetchedObject:
    """A Pipeline or Task, and its origin: a `refSource` that is passed on unchanged."""

    value: Object
    origin: Object


def nested_request(request: Object, reference: Reference) -> dict[str, Any]:
    """Return the request to another resolver. It is deleted together with `request`, its owner.

    Its name is computed from both, so that a second reconcile finds it.
    """
    meta = mapping(request, "metadata", "ResolutionRequest")
    name, uid = text(meta, "name", "ResolutionRequest"), text(meta, "uid", "ResolutionRequest")
    wanted = json.dumps([uid, reference.resolver, reference.params])
    suffix = hashlib.sha256(wanted.encode()).hexdigest()[:_NAME_DIGITS]
    owner = {
        "apiVersion": request.get("apiVersion", API_VERSION),
        "kind": "ResolutionRequest",
        "name": name,
        "uid": uid,
        "controller": True,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "ResolutionRequest",
        "metadata": {
            "name": child_name(name, f"-{suffix}"),
            "namespace": text(meta, "namespace", "ResolutionRequest"),
            "labels": {**MANAGED, TYPE: reference.resolver},
            "ownerReferences": [owner],
        },
        "spec": {"params": reference.to_object()["params"]},
    }


def nested_source(nested: Object, where: str) -> FetchedObject:
    """Return the object in another resolver's answer.

    Raises:
        UnwrappableError: the resolver failed, or the answer is not one object.
        UsageError: the answer is not YAML.
    """
    status = mapping(nested, "status", where)
    data = text(status, "data", where)
    if not data:
        message = condition_of(nested).get("message") or "it says no more"
        raise UnwrappableError(
            f"its resolver failed: {message}", subject=where, remedy="mend the reference, or what it leads to"
        )
    try:
        decoded = b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise UnwrappableError(
            "its resolver answered with something else than text", subject=where, remedy="mend the reference"
        ) from error
    documents = read(decoded, where)
    if len(documents) != 1:
        raise UnwrappableError(
            f"its resolver answered with {len(documents)} objects", subject=where, remedy="refer to one object"
        )
    return FetchedObject(documents[0], mapping(status, "refSource", where) or mapping(status, "source", where))


def local_source(value: Object | None, where: str) -> FetchedObject:
    """Return an object of the namespace, with an origin like that of Tekton's cluster resolver.

    Raises:
        UnwrappableError: the object does not exist.
    """
    if value is None:
        raise UnwrappableError("there is none in the namespace", subject=where, remedy="create it, or mend the name")
    return FetchedObject(value, _origin(value, value.get("spec")))


def written_source(value: Object, run: Object) -> FetchedObject:
    """Return an object that is written into a run, with an origin that names the run."""
    return FetchedObject(value, _origin(run, value.get("spec")))


def is_nested(request: Object) -> bool:
    """Return whether a ResolutionRequest was created by this controller."""
    labels = mapping(mapping(request, "metadata", "ResolutionRequest"), "labels", "ResolutionRequest")
    owners = objects(mapping(request, "metadata", "ResolutionRequest"), "ownerReferences", "ResolutionRequest")
    return MANAGED.items() <= labels.items() and any(owner.get("kind") == "ResolutionRequest" for owner in owners)


def _origin(value: Object, spec: Any) -> dict[str, Any]:
    """Return the origin of an object of the namespace."""
    meta, kind = mapping(value, "metadata", "object"), text(value, "kind", "object").lower()
    path = f"/apis/{value.get('apiVersion')}/namespaces/{meta.get('namespace')}/{kind}/{meta.get('name')}"
    copied = {key: meta[key] for key in ("name", "namespace", "labels", "annotations") if key in meta}
    content = json.dumps({"metadata": copied, "spec": spec}, sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {"uri": f"{path}@{meta.get('uid')}", "digest": {"sha256": digest}, "entryPoint": ""}
