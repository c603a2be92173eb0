"""The step result is there unless somebody leaves it out: the run, the installation, or `agent render`."""

from __future__ import annotations

from typing import Any

import pytest

from agent.errors import AgentError
from agent.tekton.controlplane.launch_run import launch
from agent.tekton.frontends.render_objects import render
from agent.tekton.frontends.render_request import RenderOptions
from agent.tekton.frontends.wrap_annotations import wrap_run
from agent.tekton.model import documents
from agent.tekton.model.wrapping import NO_DEFAULTS, Defaults
from agent.tekton.pipeline.installation import parse_installation
from agent.tekton.requests.request import PipelineRequest, parse_request
from tests.tekton.made import SETTINGS, TARGET, pipeline, pipeline_run, steps_of, task, wrap
from tests.tekton.test_launch import custom_run

WAYS = ("parameter", "annotation", "custom task")


def asked(way: str, word: str | None, defaults: Defaults = NO_DEFAULTS) -> bool:
    """Return what the resolver understands of a run that says a word about step results, or none."""
    given = [] if word is None else [("step-result", word)]
    if way == "annotation":
        value = pipeline_run(pipelineRef={"name": "p"})
        annotations = {f"instep.dev/wrap.{name}": text for name, text in [("target", TARGET), *given]}
        value["metadata"]["annotations"] = annotations
        params = wrap_run(value, "run")["spec"]["pipelineRef"]["params"]
    elif way == "custom task":
        value = custom_run()
        value["spec"]["params"] = [
            *value["spec"]["params"],
            *({"name": f"ocipipeline.{name}", "value": text} for name, text in given),
        ]
        params = launch(value)["spec"]["pipelineRef"]["params"]
    else:
        params = [{"name": name, "value": text} for name, text in [("pipelineref", "p"), ("target", TARGET), *given]]
    found = parse_request(params, SETTINGS, defaults)
    assert isinstance(found, PipelineRequest)
    return found.wrapping.step_result


@pytest.mark.parametrize("way", WAYS)
def test_a_run_leaves_it_out_and_has_the_last_word(way: str) -> None:
    off = parse_installation({"image": "a", "step-result": False}, "x").defaults
    assert [asked(way, word) for word in (None, "true", "false")] == [True, True, False]
    assert [asked(way, word, off) for word in (None, "true", "false")] == [False, True, False]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("word", ["no", "False", "0"])
def test_another_word_is_refused(way: str, word: str) -> None:
    with pytest.raises(AgentError, match=r"step-result: it is .*; write false or true"):
        asked(way, word)


def test_the_installation_says_true_or_false() -> None:
    assert parse_installation({"image": "a"}, "x").defaults.step_result is True
    with pytest.raises(AgentError, match="x, step-result: it is neither true nor false"):
        parse_installation({"image": "a", "step-result": "false"}, "x")


def declared(found: dict[str, Any]) -> list[Any]:
    return [step.get("results") for step in steps_of(found, "a") if step["name"].startswith("instep-")]


def test_the_steps_follow() -> None:
    published = [{"name": "published", "type": "string"}]
    assert declared(wrap(pipeline(task("a")))) == [None, published]
    assert declared(wrap(pipeline(task("a")), step_result=False)) == [None, None]


@pytest.mark.parametrize("says", [None, "true", "false"])
@pytest.mark.parametrize("wish", [None, False])
def test_render_follows_the_run_unless_it_is_told_to_leave_it_out(says: str | None, wish: bool | None) -> None:
    params = [{"name": "pipelineref", "value": "p"}, {"name": "target", "value": TARGET}]
    params += [{"name": "step-result", "value": says}] if says else []
    run = pipeline_run(pipelineRef={"resolver": "wrap", "params": params})
    holder = {"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "spec": pipeline(task("a"))}
    made = render([holder, run], RenderOptions(SETTINGS, step_result=wish))
    has_result = says != "false" and wish is None
    assert ("step.results.published.path" in documents.write(made)) is has_result
