"""The examples are valid for Tekton, before and after they are wrapped."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.tekton.frontends.render_objects import render
from agent.tekton.frontends.render_request import RenderOptions
from agent.tekton.model import documents
from tests.tekton.made import SETTINGS
from tests.tekton.schema import check

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid(path: Path) -> None:
    for found in documents.read(path.read_text(), path.name):
        check(found)


def test_the_examples_can_be_rendered_together() -> None:
    given = [found for path in EXAMPLES for found in documents.read(path.read_text(), path.name)]
    rendered = render(given, RenderOptions(SETTINGS))
    for found in rendered:
        check(found)
    assert [found["kind"] for found in rendered].count("PipelineRun") == 5
    assert '"fresh": true' in documents.write(rendered)


def test_the_schemas_know_no_other_fields() -> None:
    path = next(path for path in EXAMPLES if path.stem == "simple-pipeline")
    pipeline, run = documents.read(path.read_text(), path.name)
    for spoilt in (
        {**run, "spec": {**run["spec"], "lookup": {}}},
        {
            **pipeline,
            "spec": {
                **pipeline["spec"],
                "tasks": [{**pipeline["spec"]["tasks"][0], "taskSpec": {"steps": [{"workingdir": "/"}]}}],
            },
        },
        {**pipeline, "spec": {**pipeline["spec"], "params": [{"name": 3}]}},
    ):
        with pytest.raises(AssertionError):
            check(spoilt)
