"""The file that the controller is configured by."""

from __future__ import annotations

from typing import Any

import pytest

from agent.errors import UsageError
from agent.tekton.model.documents import read
from agent.tekton.model.wrapping import Defaults, Settings
from agent.tekton.pipeline.installation import DEADLINE, Installation, parse_installation

ALL = """
image: reg.io/agent@sha256:00
resources: {requests: {memory: 64Mi}}
results-from: sidecar-logs
plain-http: true
ca-config-map: ca
target: reg.io/{{workspace}}:$(context.pipelineRun.name)
base: reg.io/base:1
on-conflict: fail
form: inline
resolution-timeout: 300
"""


def test_every_key_has_its_place() -> None:
    found = parse_installation(read(ALL, "f")[0], "f")
    settings = Settings("reg.io/agent@sha256:00", {"requests": {"memory": "64Mi"}}, "sidecar-logs", True, "ca")
    defaults = Defaults("reg.io/{{workspace}}:$(context.pipelineRun.name)", "reg.io/base:1", "fail", "inline")
    assert found == Installation(settings, defaults, 300)


@pytest.mark.parametrize("words", [{}, {"base": None, "target": None}])
def test_what_is_left_out_is_the_default(words: dict[str, Any]) -> None:
    assert parse_installation({"image": "i", **words}, "f") == Installation(Settings("i"), Defaults(), DEADLINE)


def test_the_image_cannot_be_left_out() -> None:
    with pytest.raises(UsageError, match="f, image: it is missing"):
        parse_installation({"target": "t"}, "f")


@pytest.mark.parametrize(
    "words",
    [
        {"Image": "x"},
        {"image": ""},
        {"image": 3},
        {"plain-http": "yes"},
        {"resources": "64Mi"},
        {"form": "reference"},
        {"results-from": []},
        {"resolution-timeout": True},
        {"resolution-timeout": 9},
        {"resolution-timeout": "60"},
    ],
)
def test_a_wrong_value_is_named(words: dict[str, Any]) -> None:
    [key] = words
    with pytest.raises(UsageError, match="f, ") as caught:
        parse_installation({"image": "i", **words}, "f")
    assert caught.value.subject == f"f, {key}"
