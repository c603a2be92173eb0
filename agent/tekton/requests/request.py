"""Requests to the resolver `wrap`: for a Pipeline by users, for a Task by wrapped Pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from agent.core.spelling.duration import EXAMPLES, parse_duration
from agent.errors import UnwrappableError
from agent.tekton.model.documents import read
from agent.tekton.model.fields import Object, mapping, objects, text
from agent.tekton.model.names import KIND, PIPELINEREF, PIPELINESPEC, PLAN, RESOLVER, TASKREF, WRAPPER, WRAPPERS
from agent.tekton.model.object_reference import Reference, reference_in, reference_of, require_reference
from agent.tekton.model.timeouts import check_timeout
from agent.tekton.model.wrapping import NO_DEFAULTS, Defaults, Form, OnConflict, Settings, Wrapping
from agent.tekton.requests.embedded import unpack_pipeline
from agent.tekton.wrap.task_plan import TaskPlan, parse_plan

OPTIONS = ("target", "base", "workspaces", "on-conflict", "form", "step-timeout", "patience", "step-result")
"""The options of a wrapping, with the same names in parameters and in annotations."""

FLAGS = ("false", "true")
"""How a parameter, which is a string, spells False and True."""

WHERE = f"resolver {RESOLVER}"


@dataclass(frozen=True, slots=True)
class PipelineRequest:
    """A request for a wrapped Pipeline.

    Attributes:
        source: a reference to the Pipeline, or the Pipeline itself if it is written into the run.
    """

    source: Reference | Object
    wrapping: Wrapping


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A request for a Task with the agent's steps."""

    reference: Reference
    plan: TaskPlan


def parse_request(
    params: Sequence[Object], settings: Settings, defaults: Defaults = NO_DEFAULTS
) -> PipelineRequest | TaskRequest:
    """Return the request in the params of a ResolutionRequest, or of a `pipelineRef` with this resolver.

    Raises:
        UnwrappableError: a parameter is missing, unknown or of the wrong type.
        UsageError: `pipelineref` is not YAML, or PyYAML is not installed.
    """
    values = {text(param, "name", WHERE): param for param in params}
    if KIND in values or TASKREF in values or f"{TASKREF}.resolver" in values:
        if text(values.get(KIND, {}), "value", WHERE) != "task":
            raise _odd(KIND, "it is not task", "leave it out, and ask for a Pipeline with pipelineref")
        reference = require_reference(reference_in(params, TASKREF, WHERE), TASKREF, WHERE)
        return TaskRequest(reference, parse_plan(text(values.get(PLAN, {}), "value", WHERE)))
    _refuse_unknown(values)
    if _word(values, "wrapper", WRAPPER) != WRAPPER:
        raise _odd("wrapper", "it is not oci", "write oci, or leave it out")
    return PipelineRequest(_source(params, values), _wrapping(values, settings, defaults))


def _source(params: Sequence[Object], values: dict[str, Object]) -> Reference | Object:
    reference = asked_pipeline(params)
    if PIPELINESPEC not in values:
        return require_reference(reference, PIPELINEREF, WHERE)
    if reference is not None:
        raise _odd(PIPELINESPEC, f"there is {PIPELINEREF}, too", "leave one of them out")
    return unpack_pipeline(text(values[PIPELINESPEC], "value", WHERE), f"{WHERE}, parameter {PIPELINESPEC}")


def asked_pipeline(params: Sequence[Object]) -> Reference | None:
    """Return the reference to a Pipeline in params: a name, YAML, or another resolver; None if there is none.

    Raises:
        UnwrappableError: a param has a wrong type.
        UsageError: `pipelineref` is not YAML, or PyYAML is not installed.
    """
    reference = reference_in(params, PIPELINEREF, WHERE)
    if reference is None or ":" not in reference.name:
        return reference
    documents = read(reference.name, f"{WHERE}, {PIPELINEREF}")
    return reference_of(documents[0], f"{WHERE}, {PIPELINEREF}") if len(documents) == 1 else None


def _wrapping(values: dict[str, Object], settings: Settings, defaults: Defaults) -> Wrapping:
    return Wrapping(
        settings=settings,
        target=_word(values, "target", defaults.target),
        base=_word(values, "base", defaults.base or "") or None,
        workspaces=_workspaces(values),
        on_conflict=_choice(values, "on-conflict", get_args(OnConflict), defaults.on_conflict),
        form=_choice(values, "form", get_args(Form), defaults.form),
        step_timeout=check_timeout(
            _word(values, "step-timeout", defaults.step_timeout), f"{WHERE}, parameter step-timeout"
        ),
        patience=_duration(values, "patience", defaults.patience),
        step_result=_choice(values, "step-result", FLAGS, FLAGS[defaults.step_result]) == FLAGS[True],
    )


def _workspaces(values: dict[str, Object]) -> tuple[str, ...] | None:
    if "workspaces" not in values:
        return None
    value = values["workspaces"].get("value")
    listed = value if isinstance(value, list) else str(value or "").split(",")
    return tuple(name.strip() for name in map(str, listed) if name.strip())


def _word(values: dict[str, Object], name: str, default: str) -> str:
    return text(values.get(name, {}), "value", f"{WHERE}, {name}") or default


def _choice(values: dict[str, Object], name: str, choices: tuple[Any, ...], default: str) -> Any:
    found = _word(values, name, default)
    if found not in choices:
        raise _odd(name, f"it is {found}", f"write {' or '.join(choices)}")
    return found


def _duration(values: dict[str, Object], name: str, default: str | None) -> str | None:
    found = _word(values, name, default or "")
    if found and not parse_duration(found):
        raise _odd(name, f"it is {found}", f"write a duration from 1s on, such as {EXAMPLES}")
    return found or None


def _refuse_unknown(values: dict[str, Object]) -> None:
    known = {PIPELINEREF, PIPELINESPEC, "wrapper", *OPTIONS}
    for name in values:
        if name not in known and not name.startswith(f"{PIPELINEREF}."):
            raise _odd(name, "there is no such parameter", f"the parameters are {', '.join(sorted(known))}")


def _odd(name: str, what: str, remedy: str) -> UnwrappableError:
    return UnwrappableError(what, subject=f"{WHERE}, parameter {name}", remedy=remedy)


def request_of(pipeline_run: Object, settings: Settings) -> PipelineRequest | None:
    """Return the request in a PipelineRun's reference to this resolver, None for another reference.

    Raises:
        UnwrappableError: as `parse_request`.
    """
    reference = mapping(mapping(pipeline_run, "spec", "PipelineRun"), "pipelineRef", "PipelineRun")
    if reference.get("resolver") not in WRAPPERS:
        return None
    request = parse_request(objects(reference, "params", WHERE), settings)
    if isinstance(request, TaskRequest):
        raise _odd(KIND, "a PipelineRun needs a Pipeline", "ask for one with pipelineref")
    return request
