"""A Pipeline whose tasks carry workspaces through images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.fields import Object, mapping, named, objects, text
from agent.tekton.graph import combinations, dependencies
from agent.tekton.inline import inline_task
from agent.tekton.lineage import Writer, everyone, nearest
from agent.tekton.names import task_run_names
from agent.tekton.plan import Mount, Plan, format_plan
from agent.tekton.reference import Reference, reference_in, reference_of
from agent.tekton.refuse import refuse_foreign, refuse_hermetic, refuse_odd_reference, refuse_windows
from agent.tekton.security import forbids_root
from agent.tekton.task import V1, bare, unwrap_task_spec, wrap_task_spec
from agent.tekton.variables import RUN_NAME, RUN_UID
from agent.tekton.workspaces import Use, targets, uses
from agent.tekton.wrapping import Run, Wrapping

RESOLVER = "wrap"
TASKREF = "taskref"
PLAN = "plan"
KIND = "kind"
_SKIPPING = ("when", "whenExpressions", "conditions")
_GROUPS = ("tasks", "finally")
Tasks = Mapping[Reference, Object]


def wrap_pipeline(pipeline: Object, wrapping: Wrapping, run: Run, tasks: Tasks | None = None) -> dict[str, Any]:
    """Return a Pipeline (v1 or v1beta1) for one run, and only that metadata which a resolver passes on.

    Wrapping what is wrapped already replaces the agent's steps.

    Args:
        tasks: Tasks that are known. The form `inline` needs all of `references_to_inline`; the form `references` needs
            none, but does not wait for the pushes of those that it can see to be read-only.

    Raises:
        UnwrappableError: it cannot be wrapped, or is no Pipeline.
    """
    meta = mapping(pipeline, "metadata", "Pipeline")
    where = f"Pipeline {text(meta, 'name', 'Pipeline')}"
    if pipeline.get("kind") != "Pipeline":
        raise UnwrappableError(f"its kind is {pipeline.get('kind')}", subject=where, remedy="refer to a Pipeline")
    spec = wrap_pipeline_spec(
        mapping(pipeline, "spec", where),
        wrapping,
        run,
        tasks,
        annotations=mapping(meta, "annotations", where),
        is_v1=pipeline.get("apiVersion") == V1,
        where=where,
    )
    return {**bare(pipeline), "spec": spec}


def wrap_pipeline_spec(
    spec: Object,
    wrapping: Wrapping,
    run: Run,
    tasks: Tasks | None = None,
    *,
    annotations: Object | None = None,
    is_v1: bool,
    where: str,
) -> Object:
    """Return the spec of a pipeline, as `wrap_pipeline` does; the same where no workspace is wrapped.

    Args:
        annotations: the Pipeline's.
        where: what to call it in an error.
    """
    scene = _scene(spec, wrapping, run, tasks or {}, is_v1=is_v1, where=where)
    if not scene.targets:
        return scene.spec
    for found in (run.annotations.get("", {}), annotations or {}):
        refuse_hermetic(found, where)
    if wrapping.form == "inline":
        scene = scene.inlined()
    mounts = _mounts(scene)
    groups = {
        group: [_wrapped(scene, task, mounts) for task in objects(scene.spec, group, where)]
        for group in _GROUPS
        if group in scene.spec
    }
    return {**scene.spec, **groups}


def references_to_inline(spec: Object, wrapping: Wrapping, run: Run, *, where: str) -> list[Reference]:
    """Return the Tasks that the form `inline` needs.

    Raises:
        UnwrappableError: the pipeline cannot be wrapped.
    """
    scene = _scene(spec, wrapping, run, {}, is_v1=True, where=where)
    return list(dict.fromkeys(scene.reference(task) for task in scene.tasks() if scene.refers(task)))


@dataclass(frozen=True, slots=True)
class _Scene:
    """A pipeline, looked at for one wrapping: its targets, and the uses of each task."""

    spec: Object
    wrapping: Wrapping
    run: Run
    known: Tasks
    is_v1: bool
    where: str
    targets: Mapping[str, str]
    uses: Mapping[str, Sequence[Use]]

    def tasks(self) -> list[Object]:
        return [task for group in _GROUPS for task in objects(self.spec, group, self.where)]

    def place(self, task: Object) -> str:
        return f"{self.where}, task {text(task, 'name', self.where)}"

    def refers(self, task: Object) -> bool:
        return bool(self.uses[text(task, "name", self.where)]) and task.get("taskSpec") is None

    def reference(self, task: Object) -> Reference:
        return reference_of(mapping(task, "taskRef", self.where), self.place(task))

    def declared(self, task: Object) -> list[Object] | None:
        """Return the workspaces that a task declares, None where it is not known."""
        if task.get("taskSpec") is not None:
            return objects(mapping(task, "taskSpec", self.where), "workspaces", self.place(task))
        found = self.known.get(self.reference(task))
        return None if found is None else objects(mapping(found, "spec", self.where), "workspaces", self.place(task))

    def writes(self, task: Object, use: Use) -> bool | None:
        """Say whether a task pushes a workspace, None where it is not known."""
        declared = self.declared(task)
        return None if declared is None else not (named(declared, use.name) or {}).get("readOnly")

    def params(self) -> dict[str, Any]:
        defaults = {
            text(param, "name", self.where): param.get("default") for param in objects(self.spec, "params", self.where)
        }
        return defaults | dict(self.run.params)

    def inlined(self) -> _Scene:
        groups = {
            group: [self._inlined(task) for task in objects(self.spec, group, self.where)]
            for group in _GROUPS
            if group in self.spec
        }
        spec = {**self.spec, **groups}
        return _scene(spec, self.wrapping, self.run, self.known, is_v1=self.is_v1, where=self.where)

    def _inlined(self, task: Object) -> Object:
        if not self.refers(task):
            return task
        reference = self.reference(task)
        if reference not in self.known:
            raise UnwrappableError(
                f"its Task, {reference}, is not at hand to be written into the pipeline",
                subject=f"{self.place(task)}, taskRef",
                remedy="give it, too, or leave its workspaces out",
            )
        return inline_task(
            task,
            self.known[reference],
            params=self.params().keys(),
            bound=self.run.bindings.keys(),
            is_v1=self.is_v1,
            where=self.place(task),
        )


def _scene(spec: Object, wrapping: Wrapping, run: Run, known: Tasks, *, is_v1: bool, where: str) -> _Scene:
    original = {
        **spec,
        **{
            group: [_unwrapped(task, where) for task in objects(spec, group, where)]
            for group in _GROUPS
            if group in spec
        },
    }
    wrapped = targets(original, wrapping, run, where)
    scene = _Scene(original, wrapping, run, known, is_v1, where, wrapped, {})
    found = {text(task, "name", where): uses(task, wrapped, original, run, scene.place(task)) for task in scene.tasks()}
    for task in scene.tasks():
        used = found[text(task, "name", where)]
        if used:
            _refuse_task(scene, task, used)
    return _Scene(original, wrapping, run, known, is_v1, where, wrapped, found)


def _refuse_task(scene: _Scene, task: Object, used: Sequence[Use]) -> None:
    name, where = text(task, "name", scene.where), scene.place(task)
    refuse_foreign(task, where, used[0].workspace)
    refuse_windows(scene.run.pod_template(name), where)
    refuse_hermetic(scene.run.annotations.get(name, {}), where)
    embedded = mapping(task, "taskSpec", where)
    refuse_hermetic(mapping(mapping(embedded, "metadata", where), "annotations", where), where)
    if task.get("taskSpec") is None:
        refuse_odd_reference(mapping(task, "taskRef", where), where)


def _unwrapped(task: Object, where: str) -> Object:
    """Return a task as it was before it was wrapped; the same where it was not."""
    embedded = mapping(task, "taskSpec", where)
    original = unwrap_task_spec(embedded, where)
    if original is not embedded:
        return {**task, "taskSpec": original}
    reference = mapping(task, "taskRef", where)
    if reference.get("resolver") != RESOLVER:
        return task
    inner = reference_in(objects(reference, "params", where), TASKREF, where)
    return {**task, "taskRef": inner.to_object()} if inner else task


def _mounts(scene: _Scene) -> dict[tuple[str, str], Mount]:
    """Return the mounts by task and the task's name of the workspace."""
    group, last = (objects(scene.spec, name, scene.where) for name in _GROUPS)
    waits = dependencies(group, scene.where)
    mounts: dict[tuple[str, str], Mount] = {}
    for workspace in scene.targets:
        writers = {text(task, "name", scene.where): _writer(scene, task, workspace) for task in group}
        writing = {name: writer for name, writer in writers.items() if writer is not None}
        before = nearest(waits, writing)
        for task in group + last:
            name = text(task, "name", scene.where)
            lanes = before[name] if name in before else everyone(writing)
            for use in scene.uses[name]:
                if use.workspace == workspace:
                    mounts[name, use.name] = _mount(scene, task, use, lanes)
    return mounts


def _mount(scene: _Scene, task: Object, use: Use, lanes: tuple[str, ...] | None) -> Mount:
    target = scene.targets[use.workspace]
    return Mount(
        name=use.name,
        target=target,
        lane=_lane(scene, task, use),
        after=lanes or (),
        sub_path=use.sub_path,
        is_read_only=scene.writes(task, use) is False,
        is_fresh=lanes == () and scene.wrapping.base is None and _is_of_this_run(target, scene.run),
    )


def _writer(scene: _Scene, task: Object, workspace: str) -> Writer | None:
    """Return a task of the graph as a writer of a workspace, None if it does not write it."""
    name = text(task, "name", scene.where)
    used = [use for use in scene.uses[name] if use.workspace == workspace and scene.writes(task, use) is not False]
    if not used:
        return None
    may_skip = any(task.get(key) for key in _SKIPPING) or task.get("onError") == "continue"
    is_sure = not may_skip and any(scene.writes(task, use) for use in used)
    members = _members(scene, task)
    if members is None:
        return Writer(None, is_sure)
    return Writer(tuple(_lane(scene, task, use) + member for use in used for member in members), is_sure)


def _lane(scene: _Scene, task: Object, use: Use) -> str:
    """Return the lane of a task: two workspaces of it that are parts of one have a lane each."""
    name = text(task, "name", scene.where)
    parts = [other for other in scene.uses[name] if other.workspace == use.workspace]
    return f"{scene.run.uid}/{name}" + (f":{use.name}" if len(parts) > 1 else "")


def _members(scene: _Scene, task: Object) -> list[str] | None:
    """Return what the lanes of a task's TaskRuns end in; None where that cannot be known."""
    if not task.get("matrix"):
        return [""]
    name, run = text(task, "name", scene.where), scene.run
    count = combinations(task, scene.params(), scene.place(task))
    if count is None:
        return None
    if run.name == RUN_NAME and run.name_length + len(f"-{name}-{count}") > 63:
        return None  # Tekton will hash a name that is not known yet
    return [f"/{member}" for member in task_run_names(run.name, name, count)]


def _is_of_this_run(target: str, run: Run) -> bool:
    """Say whether no other run has this target, so that nothing is there before this run's tasks push."""
    if run.name == RUN_NAME:
        return RUN_NAME in target or RUN_UID in target
    named_after = re.search(rf"(?<![a-z0-9]){re.escape(run.name)}(?![a-z0-9])", target)
    return named_after is not None or run.uid in target


def _wrapped(scene: _Scene, task: Object, mounts: Mapping[tuple[str, str], Mount]) -> Object:
    name = text(task, "name", scene.where)
    used = scene.uses[name]
    if not used:
        return task
    plan = Plan(
        task=name,
        settings=scene.wrapping.settings,
        mounts=tuple(mounts[name, use.name] for use in used),
        base=scene.wrapping.base,
        on_conflict=scene.wrapping.on_conflict,
        is_matrix=bool(task.get("matrix")),
        is_non_root=forbids_root(scene.run.pod_template(name), scene.place(task)),
    )
    if task.get("taskSpec") is not None:
        embedded = mapping(task, "taskSpec", scene.where)
        spec = wrap_task_spec(embedded, plan, is_v1=scene.is_v1, where=scene.place(task))
        return {**task, "taskSpec": spec}
    params = [
        {"name": KIND, "value": "task"},
        *scene.reference(task).to_params(TASKREF),
        {"name": PLAN, "value": format_plan(plan)},
    ]
    return {**task, "taskRef": {"resolver": RESOLVER, "params": params}}
