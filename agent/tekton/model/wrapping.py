"""The input of a wrapping: settings of the installation, options of the user, facts of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from agent.tekton.model.fields import Object, mapping, named, objects, text
from agent.tekton.model.timeouts import DEFAULT as DEFAULT_TIMEOUT
from agent.tekton.model.variables import RUN_NAME, RUN_NAMESPACE, RUN_UID

ResultsFrom = Literal["termination-message", "sidecar-logs"]
OnConflict = Literal["last", "fail"]
Form = Literal["references", "inline"]
GENERATED = 5
"""Characters that Kubernetes appends to `generateName`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the installation.

    Attributes:
        image: the agent's image.
        resources: `computeResources` of the two steps.
        results_from: Tekton's feature flag of that name; termination messages have a limit, sidecar logs have none.
        plain_http: whether the registry is accessed by HTTP without TLS.
        ca_config_map: a ConfigMap in the run's namespace whose key `ca.crt` holds certificates to trust, too.
    """

    image: str
    resources: Object = field(default_factory=dict)
    results_from: ResultsFrom = "termination-message"
    plain_http: bool = False
    ca_config_map: str | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """The installation's defaults for options that the user leaves out. The fields are those of `Wrapping`."""

    target: str = ""
    base: str | None = None
    on_conflict: OnConflict = "last"
    form: Form = "references"
    step_timeout: str = DEFAULT_TIMEOUT
    patience: str | None = None
    step_result: bool = True


NO_DEFAULTS = Defaults()


@dataclass(frozen=True, slots=True)
class Wrapping:
    """The options of the user.

    Attributes:
        target: the image of each workspace, with `{{workspace}}` for its name.
        base: the image that workspaces start from, with a digest that was resolved once per run.
        workspaces: the pipeline's workspaces to wrap; None for every one that is bound to an emptyDir.
        form: how tasks that refer to a Task are wrapped: by a reference to the resolver, or with the Task written in.
        step_timeout: how long one of the steps may take, as Go writes durations; `0` for no limit.
        patience: how long the steps retry while nothing moves, such as 2m; None for their default.
        step_result: whether the push step hands over its result to Tekton, as a step result.
    """

    settings: Settings
    target: str
    base: str | None = None
    workspaces: tuple[str, ...] | None = None
    on_conflict: OnConflict = "last"
    form: Form = "references"
    step_timeout: str = DEFAULT_TIMEOUT
    patience: str | None = None
    step_result: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """The facts of a PipelineRun.

    Attributes:
        name, uid, namespace: the run's, or the variable that Tekton replaces by it.
        name_length: the length of the name, or the greatest length that it may get.
        bindings: its workspaces by name.
        params: its parameters by name: strings, lists, mappings.
        annotations: its annotations, by the pipeline's task that they are for; "" for all.
        pod_templates: its pod templates, by the pipeline's task that they are for; "" for all.
        timeouts: the timeouts of `pipeline`, `tasks` and `finally`.
        task_timeouts: the timeouts of single tasks, by the pipeline's task.
        target: the target in the reference to the resolver, with its variables.
    """

    name: str
    uid: str
    namespace: str
    name_length: int
    bindings: Mapping[str, Object] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, Object] = field(default_factory=dict)
    pod_templates: Mapping[str, Object] = field(default_factory=dict)
    timeouts: Mapping[str, str] = field(default_factory=dict)
    task_timeouts: Mapping[str, str] = field(default_factory=dict)
    target: str = ""

    def variables(self) -> dict[str, str]:
        """Return the variables that Tekton replaces in the params of a `pipelineRef`, with their values."""
        params = {f"params.{name}": value for name, value in self.params.items() if isinstance(value, str)}
        return {
            **params,
            "context.pipelineRun.name": self.name,
            "context.pipelineRun.namespace": self.namespace,
            "context.pipelineRun.uid": self.uid,
        }

    def pod_template(self, task: str) -> Object:
        """Return the pod template of a pipeline's task, merged from the run's and the task's."""
        general, own = self.pod_templates.get("", {}), self.pod_templates.get(task, {})
        where = f"podTemplate of task {task}"
        lists = {key: [*objects(general, key, where), *objects(own, key, where)] for key in ("volumes", "env")}
        return {**general, **own, **{key: value for key, value in lists.items() if value}}


def run_of(pipeline_run: Object) -> Run:
    """Return the facts of a PipelineRun (v1 or v1beta1) that the API server holds.

    Raises:
        UnwrappableError: the object is not a PipelineRun.
    """
    meta = mapping(pipeline_run, "metadata", "PipelineRun")
    name = text(meta, "name", "PipelineRun")
    where = f"PipelineRun {name}"
    uid, namespace = text(meta, "uid", where), text(meta, "namespace", where)
    found = _run(pipeline_run, where, name, uid, namespace, len(name))
    reference = mapping(mapping(pipeline_run, "spec", where), "pipelineRef", where)
    target = (named(objects(reference, "params", where), "target") or {}).get("value")
    return replace(found, target=target) if isinstance(target, str) else found


def planned_run_of(pipeline_run: Object) -> Run:
    """Return the facts of a PipelineRun that is not created yet. Tekton's variables take the place of its name.

    Raises:
        UnwrappableError: the object is not a PipelineRun.
    """
    meta = mapping(pipeline_run, "metadata", "PipelineRun")
    name = text(meta, "name", "PipelineRun")
    length = len(name) or len(text(meta, "generateName", "PipelineRun")) + GENERATED
    return _run(pipeline_run, f"PipelineRun {name}".strip(), RUN_NAME, RUN_UID, RUN_NAMESPACE, length)


def _run(pipeline_run: Object, where: str, name: str, uid: str, namespace: str, length: int) -> Run:
    spec = mapping(pipeline_run, "spec", where)
    general = {
        **mapping(spec, "podTemplate", where),
        **mapping(mapping(spec, "taskRunTemplate", where), "podTemplate", where),
    }
    templates = {"": general}
    annotations = {"": mapping(mapping(pipeline_run, "metadata", where), "annotations", where)}
    for task in objects(spec, "taskRunSpecs", where):
        label = text(task, "pipelineTaskName", where)
        templates[label] = {**mapping(task, "podTemplate", where), **mapping(task, "taskPodTemplate", where)}
        annotations[label] = mapping(mapping(task, "metadata", where), "annotations", where)
    timeouts = mapping(spec, "timeouts", where)
    of_old = {"pipeline": text(spec, "timeout", where)}
    return Run(
        name=name,
        uid=uid,
        namespace=namespace,
        name_length=length,
        bindings={text(binding, "name", where): binding for binding in objects(spec, "workspaces", where)},
        params={text(param, "name", where): param.get("value") for param in objects(spec, "params", where)},
        annotations=annotations,
        pod_templates=templates,
        timeouts=of_old | {name: text(timeouts, name, where) for name in timeouts},
        task_timeouts={
            text(task, "pipelineTaskName", where): text(task, "timeout", where)
            for task in objects(spec, "taskRunSpecs", where)
        },
    )
