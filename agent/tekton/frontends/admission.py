"""The webhook's decision: AdmissionReview in, AdmissionReview out (admission.k8s.io/v1), without I/O.

A run cannot be changed once it is created. So an update is rewritten in the same way as the creation: if the same
manifest is applied again, the result equals the stored run. Tekton refuses every other change.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from agent.errors import AgentError, UsageError
from agent.remedy import Place
from agent.tekton.frontends.wrap_annotations import wrap_run, wrapping_asked
from agent.tekton.lookup.lookup import FIELD, Lookup, annotation_of, field_of, lookup_of, refuse_layouts
from agent.tekton.lookup.lookup_request import requests_in, rewrite_run
from agent.tekton.model.fields import Object, mapping, text, without
from agent.tekton.model.names import LOOKUP_BUNDLE, WRAP, WRAPPERS

API_VERSION = "admission.k8s.io/v1"
KINDS = ("PipelineRun", "TaskRun")
_INVALID = 422


def review(value: Object) -> dict[str, Any]:
    """Return the review with the answer to its request.

    Raises:
        UsageError: it is no review of `admission.k8s.io/v1`.
    """
    request = value.get("request")
    if (
        value.get("apiVersion") != API_VERSION
        or not isinstance(request, dict)
        or not isinstance(request.get("uid"), str)
    ):
        raise UsageError("it is no AdmissionReview", subject="request", remedy=f"send one of {API_VERSION}")
    return {
        "apiVersion": API_VERSION,
        "kind": "AdmissionReview",
        "response": {"uid": request["uid"], **_decide(request)},
    }


def _decide(request: Object) -> dict[str, Any]:
    try:
        run = mapping(request, "object", "request")
        if run.get("kind") not in KINDS:
            raise UsageError(f"it is a {run.get('kind')}", subject="request", remedy=f"send {' or '.join(KINDS)}")
        old = mapping(request, "oldObject", "request") if request.get("operation") == "UPDATE" else None
        patch = _patch(run, admit(run, old))
    except AgentError as error:
        return {
            "allowed": False,
            "status": {"code": _INVALID, "reason": "Invalid", "message": error.text(Place.CONTROLLER)},
        }
    if not patch:
        return {"allowed": True}
    return {"allowed": True, "patchType": "JSONPatch", "patch": b64encode(json.dumps(patch).encode()).decode()}


def admit(run: Object, old: Object | None) -> Object:
    """Return a PipelineRun or TaskRun with its references rewritten, to be stored.

    Args:
        old: the run that is stored now, None if it is created.

    Raises:
        UsageError: its lookup or its wrapping is malformed, or differs from the one that it was created with.
        UnwrappableError: an object that it names or holds cannot be looked up or wrapped.
    """
    where = f"{run.get('kind')} {text(mapping(run, 'metadata', 'run'), 'name', 'run')}".strip()
    lookup = lookup_of(run, where) if old is None else field_of(run, where)
    if lookup is not None:
        refuse_layouts(lookup, where)
    if old is None:
        return wrap_run(rewrite_run(run), where)
    if _requests(run) == _requests(old) and _references(run) == _references(old):
        return run  # a run that was stored without the webhook must remain possible to update and to delete
    return _admit_update(run, old, where)


def _admit_update(run: Object, old: Object, where: str) -> Object:
    """Return a changed run, rewritten as it was when it was created; raises as `admit`."""
    then = annotation_of(old, where)
    for now in (field_of(run, where), annotation_of(run, where)):
        if now is not None and now != then:
            raise _changed(now, then, where)
    wrapping = wrapping_asked(old, where)
    if wrapping is not None and wrapping_asked(run, where) != wrapping:
        raise UsageError(
            f"the annotations that begin with {WRAP} are not those that it was created with",
            subject=where,
            remedy="create another run",
        )
    # Tekton has set the service account since. The references keep the one that they were created with.
    lookups = requests_in(old, where)
    rewritten = rewrite_run(_as_sent(run, old, where), lookups[0].service_account if lookups else None)
    if then is not None and _lookup_annotation(rewritten) is None:
        raise _changed(None, then, where)
    return wrap_run(rewritten, where)


def _requests(run: Object) -> dict[str, Any]:
    """Return the annotations and the field by which a run asks for a lookup or a wrapping."""
    annotations = mapping(mapping(run, "metadata", "run"), "annotations", "run")
    asked = {key: value for key, value in annotations.items() if key == LOOKUP_BUNDLE or key.startswith(WRAP)}
    return asked | {FIELD: mapping(run, "spec", "run").get(FIELD)}


def _references(run: Object) -> list[Any]:
    """Return a run's references, and the specs that are written into it."""
    spec = mapping(run, "spec", "run")
    return [spec.get(field) for field in ("pipelineRef", "pipelineSpec", "taskRef", "taskSpec")]


def _as_sent(run: Object, old: Object, where: str) -> Object:
    """Return a run without the parts of our reference that `kubectl apply` left in it beside the manifest's fields."""
    spec, stored = mapping(run, "spec", where), mapping(mapping(old, "spec", where), "pipelineRef", where)
    reference = mapping(spec, "pipelineRef", where)
    if stored.get("resolver") not in WRAPPERS or wrapping_asked(run, where) is None:
        return run
    if "pipelineSpec" in spec and reference == stored:
        return {**run, "spec": without(spec, "pipelineRef")}
    if "name" in reference:
        rest = {key: value for key, value in reference.items() if stored.get(key) != value}
        return {**run, "spec": {**spec, "pipelineRef": rest}}
    return run


def _lookup_annotation(run: Object) -> Any:
    return mapping(mapping(run, "metadata", "run"), "annotations", "run").get(LOOKUP_BUNDLE)


def _changed(now: Lookup | None, then: Lookup | None, where: str) -> UsageError:
    return UsageError(
        f"it was created {f'with lookup {then}' if then else 'without a lookup'}, and that cannot become "
        f"{now if now else 'none'}",
        subject=where,
        remedy="create another run",
    )


def _patch(before: Object, after: Object) -> list[dict[str, Any]]:
    """Return the JSON patch (RFC 6902) from one to the other: the spec as a whole, and the annotation."""
    found: list[dict[str, Any]] = []
    current = mapping(mapping(before, "metadata", "run"), "annotations", "run")
    wanted = mapping(mapping(after, "metadata", "run"), "annotations", "run")
    if not current and wanted:
        found.append({"op": "add", "path": "/metadata/annotations", "value": dict(wanted)})
    elif current != wanted:
        key = LOOKUP_BUNDLE.replace("~", "~0").replace("/", "~1")
        found.append({"op": "add", "path": f"/metadata/annotations/{key}", "value": wanted[LOOKUP_BUNDLE]})
    if before.get("spec") != after.get("spec"):
        found.append({"op": "replace", "path": "/spec", "value": after["spec"]})
    return found
