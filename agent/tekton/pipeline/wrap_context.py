"""The context of a wrapping: a pipeline, its wrapped workspaces, and the use of them in its tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.model.fields import Object, mapping, named, objects, text
from agent.tekton.model.names import RESOLVER, TASKREF
from agent.tekton.model.object_reference import Reference, reference_in, reference_of
from agent.tekton.model.pipeline_tasks import change_tasks, tasks_of
from agent.tekton.model.wrapping import Run, Wrapping
from agent.tekton.wrap.inline import inline_task
from agent.tekton.wrap.refuse import refuse_foreign, refuse_hermetic, refuse_odd_reference, refuse_windows
from agent.tekton.wrap.task import unwrap_task_spec
from agent.tekton.wrap.workspaces import Use, base_of, targets, uses

Tasks = Mapping[Reference, Object]


@dataclass(frozen=True, slots=True)
class WrapContext:
    """The input of a wrapping, and the facts that follow from it.

    Attributes:
        spec: the pipeline's spec without earlier wrapping.
        known: the known Tasks, by the reference to them.
        is_v1: whether the pipeline is of `tekton.dev/v1`.
        where: the pipeline's name, for errors.
        targets: the wrapped workspaces, each with its target.
        uses: the wrapped workspaces of each task.
    """

    spec: Object
    wrapping: Wrapping
    run: Run
    known: Tasks
    is_v1: bool
    where: str
    targets: Mapping[str, str]
    uses: Mapping[str, Sequence[Use]]

    def tasks(self) -> list[Object]:
        """Return all tasks, those of `finally` last."""
        return tasks_of(self.spec, self.where)

    def place(self, task: Object) -> str:
        """Return the name of a task, for errors."""
        return f"{self.where}, task {text(task, 'name', self.where)}"

    def refers(self, task: Object) -> bool:
        """Return whether a task uses a wrapped workspace and refers to a Task."""
        return bool(self.uses[text(task, "name", self.where)]) and task.get("taskSpec") is None

    def reference(self, task: Object) -> Reference:
        """Return the reference of a task to a Task."""
        return reference_of(mapping(task, "taskRef", self.where), self.place(task))

    def declared(self, task: Object) -> list[Object] | None:
        """Return the workspaces that a task declares, None if its Task is unknown."""
        if task.get("taskSpec") is not None:
            return objects(mapping(task, "taskSpec", self.where), "workspaces", self.place(task))
        found = self.known.get(self.reference(task))
        return None if found is None else objects(mapping(found, "spec", self.where), "workspaces", self.place(task))

    def writes(self, task: Object, use: Use) -> bool | None:
        """Return whether a task pushes a workspace, None if its Task is unknown."""
        declared = self.declared(task)
        return None if declared is None else not (named(declared, use.name) or {}).get("readOnly")

    def params(self) -> dict[str, Any]:
        """Return the parameters of pipeline and run with their values; None for an unknown value."""
        defaults = {
            text(param, "name", self.where): param.get("default") for param in objects(self.spec, "params", self.where)
        }
        return defaults | dict(self.run.params)

    def inlined(self) -> WrapContext:
        """Return the context with the Tasks that use wrapped workspaces written into the pipeline.

        Raises:
            UnwrappableError: a Task is unknown, or would have another meaning there.
        """
        spec = change_tasks(self.spec, self._inlined, self.where)
        return context_of(spec, self.wrapping, self.run, self.known, is_v1=self.is_v1, where=self.where)

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


def context_of(spec: Object, wrapping: Wrapping, run: Run, known: Tasks, *, is_v1: bool, where: str) -> WrapContext:
    """Return the context of wrapping a pipeline.

    Args:
        spec: the pipeline's spec. Earlier wrapping is removed from it.
        known: the known Tasks, by the reference to them.

    Raises:
        UnwrappableError: it cannot be wrapped.
    """
    original = change_tasks(spec, lambda task: _unwrapped(task, where), where)
    wrapping = replace(wrapping, base=base_of(wrapping.base, run.variables(), where))
    context = WrapContext(original, wrapping, run, known, is_v1, where, targets(original, wrapping, run, where), {})
    found: dict[str, list[Use]] = {}
    for task in context.tasks():
        name = text(task, "name", where)
        if not name or name in found:
            raise UnwrappableError(
                f"two of its tasks are called {name}" if name else "one of its tasks has no name",
                subject=where,
                remedy="give each a name of its own",
            )
        found[name] = uses(task, context.targets, original, run, context.place(task))
        if found[name]:
            _refuse_task(context, task, found[name])
    return replace(context, uses=found)


def _refuse_task(context: WrapContext, task: Object, used: Sequence[Use]) -> None:
    name, where = text(task, "name", context.where), context.place(task)
    refuse_foreign(task, where, used[0].workspace)
    refuse_windows(context.run.pod_template(name), where)
    refuse_hermetic(context.run.annotations.get(name, {}), where)
    embedded = mapping(task, "taskSpec", where)
    refuse_hermetic(mapping(mapping(embedded, "metadata", where), "annotations", where), where)
    if task.get("taskSpec") is None:
        refuse_odd_reference(mapping(task, "taskRef", where), where)


def _unwrapped(task: Object, where: str) -> Object:
    """Return a task without earlier wrapping."""
    embedded = mapping(task, "taskSpec", where)
    original = unwrap_task_spec(embedded, where)
    if original is not embedded:
        return {**task, "taskSpec": original}
    reference = mapping(task, "taskRef", where)
    if reference.get("resolver") != RESOLVER:
        return task
    inner = reference_in(objects(reference, "params", where), TASKREF, where)
    return {**task, "taskRef": inner.to_object()} if inner else task
