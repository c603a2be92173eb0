"""A pipeline, looked at for one wrapping: which workspaces are wrapped, and what its tasks have to do with them."""

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
    """A pipeline as it was before it was wrapped, if it was.

    Attributes:
        known: Tasks by what refers to them, as far as they are known.
        targets: the wrapped workspaces, each with the image that it is kept at.
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
        """Return what to call a task in an error."""
        return f"{self.where}, task {text(task, 'name', self.where)}"

    def refers(self, task: Object) -> bool:
        """Say whether a task uses a wrapped workspace and refers to a Task."""
        return bool(self.uses[text(task, "name", self.where)]) and task.get("taskSpec") is None

    def reference(self, task: Object) -> Reference:
        """Return what a task refers to."""
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
        """Return the parameters of pipeline and run with their values, None where they are not known."""
        defaults = {
            text(param, "name", self.where): param.get("default") for param in objects(self.spec, "params", self.where)
        }
        return defaults | dict(self.run.params)

    def inlined(self) -> WrapContext:
        """Return the pipeline with the Tasks written in that use wrapped workspaces.

        Raises:
            UnwrappableError: one is not known, or would mean something else there.
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
    """Return a pipeline as a wrapping sees it.

    Args:
        spec: the pipeline's; what wrapping it earlier has put into it is taken out.

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
