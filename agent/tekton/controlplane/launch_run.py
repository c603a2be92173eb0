"""The PipelineRun of a CustomRun, or of a Run before Tekton 0.47, of the custom task `OCIPipeline`."""

from __future__ import annotations

from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.lookup.lookup_request import rewrite_run
from agent.tekton.model.fields import Object, mapping, objects, text
from agent.tekton.model.names import (
    CUSTOM_TASK,
    DOMAIN,
    LOOKUP_BUNDLE,
    PIPELINEREF,
    PIPELINESPEC,
    RESOLVER,
    WRAPPER,
    child_name,
)
from agent.tekton.model.object_reference import reference_of, require_reference
from agent.tekton.model.variables import RUN_NAME, RUN_NAMESPACE, RUN_UID, substitute
from agent.tekton.model.wrapping import NO_DEFAULTS, Defaults, run_of
from agent.tekton.requests.embedded import pack_pipeline
from agent.tekton.requests.request import OPTIONS
from agent.tekton.wrap.task import V1

DEFAULT_TIMEOUT = "1h0m0s"
_PREFIX = "ocipipeline."
_OPTIONS = tuple(option for option in OPTIONS if option != "workspaces")
"""All workspaces of the run with an emptyDir are wrapped, so that the option `workspaces` is not needed."""

_NOT_COPIED = ("tekton.dev/", "chains.tekton.dev/", "pipeline.tekton.dev/", "kopf.", f"{DOMAIN}/")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def is_oci_pipeline(run: Object) -> bool:
    """Return whether an object is a CustomRun or Run of the custom task `OCIPipeline`."""
    if run.get("kind") not in ("CustomRun", "Run"):
        return False
    spec = run.get("spec")
    parts = [spec.get(key) for key in ("customRef", "customSpec", "ref", "spec")] if isinstance(spec, dict) else []
    return any(isinstance(part, dict) and (part.get("apiVersion"), part.get("kind")) == CUSTOM_TASK for part in parts)


def pipeline_run_name(run: Object, attempt: int) -> str:
    """Return the name of the PipelineRun of an attempt, from 0; empty if Kubernetes generates the run's name."""
    name = text(mapping(run, "metadata", "CustomRun"), "name", "CustomRun")
    return child_name(name, f"-retry{attempt}") if attempt and name else name


def launch(
    run: Object, attempt: int = 0, owner: Object | None = None, defaults: Defaults = NO_DEFAULTS
) -> dict[str, Any]:
    """Return the PipelineRun (v1) of an attempt.

    All workspaces with an emptyDir are wrapped. A retry has a name of its own. If the target contains the run's name,
    the retry has a target of its own, too, and starts as the first attempt did.

    Args:
        owner: the PipelineRun that the run is a task of, for its pod template.
        defaults: the installation's defaults.

    Raises:
        UnwrappableError: the run has no Pipeline, or a parameter of ours is wrong.
    """
    meta = mapping(run, "metadata", "CustomRun")
    where = f"{run.get('kind')} {text(meta, 'name', 'CustomRun')}".strip()
    spec = mapping(run, "spec", where)
    params = objects(spec, "params", where)
    rest = [param for param in params if not text(param, "name", where).startswith(_PREFIX)]
    found: dict[str, Any] = {
        "pipelineRef": {"resolver": RESOLVER, "params": _resolver_params(run, defaults, where)},
        "params": rest,
        "workspaces": objects(spec, "workspaces", where),
        "taskRunTemplate": _task_run_template(run, owner, where),
        "timeouts": {"pipeline": text(spec, "timeout", where) or DEFAULT_TIMEOUT},
    }
    return rewrite_run(
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": _metadata(run, pipeline_run_name(run, attempt), where),
            "spec": {key: value for key, value in found.items() if value},
        }
    )


def _resolver_params(run: Object, defaults: Defaults, where: str) -> list[Object]:
    spec = mapping(run, "spec", where)
    wrapped = [
        text(item, "name", where) for item in objects(spec, "workspaces", where) if item.get("emptyDir") is not None
    ]
    options = _options(run, where)
    if wrapped and not (defaults.target or "target" in options):
        raise UnwrappableError(
            "it does not say where its workspaces are to be kept",
            subject=where,
            remedy="give ocipipeline.target, such as registry.example.com/ws-{{workspace}}:$(context.run.name)",
        )
    return [
        *_pipeline(spec, where),
        {"name": "workspaces", "value": ",".join(wrapped)},
        *({"name": name, "value": value} for name, value in options.items()),
        {"name": "wrapper", "value": WRAPPER},
    ]


def _pipeline(spec: Object, where: str) -> list[Object]:
    """Return the parameters for the run's Pipeline, which is written into the run or referred to."""
    holder = mapping(spec, "customSpec", where) or mapping(spec, "spec", where)
    if holder:
        embedded = mapping(holder, "spec", where)
        if not embedded:
            raise UnwrappableError("it holds no Pipeline", subject=f"{where}, customSpec", remedy="write one into spec")
        packed = pack_pipeline(embedded, V1, f"{where}, customSpec")
        return [{"name": PIPELINESPEC, "value": packed}]
    reference = mapping(spec, "customRef", where) or mapping(spec, "ref", where)
    return require_reference(reference_of(reference, where), "name", f"{where}, customRef").to_params(PIPELINEREF)


def _options(run: Object, where: str) -> dict[str, str]:
    params = objects(mapping(run, "spec", where), "params", where)
    values = {f"params.{param.get('name')}": param["value"] for param in params if isinstance(param.get("value"), str)}
    # Tekton and the resolver replace these variables by the name of the PipelineRun.
    values |= {f"context.{kind}.name": RUN_NAME for kind in ("run", "customRun", "pipelineRun")}
    values |= {"context.pipelineRun.namespace": RUN_NAMESPACE, "context.pipelineRun.uid": RUN_UID}
    found = {}
    for param in params:
        word = text(param, "name", where)
        if not word.startswith(_PREFIX):
            continue
        subject = f"{where}, parameter {word}"
        option = word.removeprefix(_PREFIX)
        if option not in _OPTIONS:
            known = ", ".join(_PREFIX + name for name in _OPTIONS)
            raise UnwrappableError("there is no such parameter", subject=subject, remedy=f"the parameters are {known}")
        found[option] = substitute(text(param, "value", subject), values, subject=subject)
    return found


def _task_run_template(run: Object, owner: Object | None, where: str) -> dict[str, Any]:
    spec = mapping(run, "spec", where)
    template: dict[str, Any] = {}
    if text(spec, "serviceAccountName", where):
        template["serviceAccountName"] = spec["serviceAccountName"]
    labels = mapping(mapping(run, "metadata", where), "labels", where)
    task = text(labels, "tekton.dev/pipelineTask", where)
    pod = mapping(spec, "podTemplate", where) or (run_of(owner).pod_template(task) if owner else {})
    return template | ({"podTemplate": pod} if pod else {})


def _metadata(run: Object, name: str, where: str) -> dict[str, Any]:
    meta = mapping(run, "metadata", where)
    labels = mapping(meta, "labels", where)
    ours = {"app.kubernetes.io/managed-by": "instep"}
    if name:
        ours["tekton.dev/customRun" if run.get("kind") == "CustomRun" else "tekton.dev/run"] = name_of(run, where)
    for key in ("pipelineRun", "pipelineTask"):
        if f"tekton.dev/{key}" in labels:
            ours[f"{DOMAIN}/{key}"] = labels[f"tekton.dev/{key}"]
    found: dict[str, Any] = {"name": name} if name else {"generateName": text(meta, "generateName", where)}
    if "namespace" in meta:
        found["namespace"] = meta["namespace"]
    found["labels"] = _passed_on(labels) | ours
    given = mapping(meta, "annotations", where)
    annotations = _passed_on(given) | {key: given[key] for key in (LOOKUP_BUNDLE,) if key in given}
    if annotations:
        found["annotations"] = annotations
    if meta.get("uid"):
        # The first reference: a PipelineRun above ours ignores children whose first owner is not itself.
        found["ownerReferences"] = [
            {
                "apiVersion": run.get("apiVersion"),
                "kind": run.get("kind"),
                "name": meta.get("name"),
                "uid": meta["uid"],
                "controller": True,
            }
        ]
    return found


def name_of(run: Object, where: str) -> str:
    """Return an object's name."""
    return text(mapping(run, "metadata", where), "name", where)


def _passed_on(values: Object) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not key.startswith(_NOT_COPIED) and key != _LAST_APPLIED}


def is_owned(pipeline_run: Object, run: Object) -> bool:
    """Return whether a PipelineRun is a child of this run, by its controller's uid."""
    uid = mapping(run, "metadata", "CustomRun").get("uid")
    return uid is not None and controller_of(pipeline_run).get("uid") == uid


def controller_of(value: Object) -> Object:
    """Return the owner reference of an object's controller, empty if it has none."""
    owners = objects(mapping(value, "metadata", "object"), "ownerReferences", "object")
    return next((owner for owner in owners if owner.get("controller")), {})


def condition_of(value: Object) -> Object:
    """Return the condition `Succeeded` of a run, empty if it has none."""
    conditions = objects(mapping(value, "status", "run"), "conditions", "run")
    return next((item for item in conditions if item.get("type") == "Succeeded"), {})
