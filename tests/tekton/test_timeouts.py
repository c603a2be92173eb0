"""The timeout of the agent's steps: what is asked for, and always less than the task has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UsageError
from agent.tekton.model.timeouts import format_duration, group_timeout, parse_duration, step_timeout
from agent.tekton.pipeline.installation import parse_installation
from agent.tekton.requests.request import PipelineRequest, parse_request
from tests.property.edits import laws
from tests.tekton.made import SETTINGS, a_run, pipeline, steps_of, task, wrap
from tests.tekton.test_references import asked, params

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h", HOUR),
        ("1h0m0s", HOUR),
        ("90m", 1.5 * HOUR),
        ("1.5h", 1.5 * HOUR),
        ("1h30m", 1.5 * HOUR),
        ("20s", 20_000),
        ("1ms500us", 1.5),
        ("0", 0),
        ("0s", 0),
        ("", None),
        ("1", None),
        ("1d", None),
        ("-1h", None),
        ("1h 30m", None),
        ("h", None),
        ("$(params.t)", None),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, expected: float | None) -> None:
    assert parse_duration(text) == expected


@laws
@given(st.integers(1, 10**9))
def test_what_is_written_is_read(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds


durations = st.sampled_from(["", "0", "0s", "10s", "5m0s", "54m", "1h0m0s", "8h"])


@laws
@given(durations, durations, st.lists(durations, max_size=2))
def test_it_is_less_than_what_the_task_has_and_no_more_than_what_is_asked_for(
    wanted: str, own: str, around: list[str]
) -> None:
    found = step_timeout(wanted, own, around)
    if not parse_duration(wanted):
        assert found == ""
        return
    length = parse_duration(found)
    assert length is not None
    assert 0 < length <= (parse_duration(wanted) or 0)
    for limit in (own or "1h", *around):
        assert not parse_duration(limit) or length < (parse_duration(limit) or 0)


@pytest.mark.parametrize(
    ("timeouts", "tasks", "last"),
    [
        ({}, "", ""),
        ({"pipeline": "1h"}, "", ""),
        ({"pipeline": "1h", "finally": "10m"}, "50m", "10m"),
        ({"pipeline": "1h", "tasks": "40m"}, "40m", "20m"),
        ({"pipeline": "0", "tasks": "40m"}, "40m", ""),
        ({"pipeline": "1h", "tasks": "0"}, "0", ""),
    ],
)
def test_the_time_of_a_group(timeouts: dict[str, str], tasks: str, last: str) -> None:
    assert (group_timeout(timeouts, "tasks"), group_timeout(timeouts, "finally")) == (tasks, last)


@pytest.mark.parametrize(
    ("run", "fields", "expected"),
    [
        ({}, {}, "54m"),
        ({}, {"timeout": "5m0s"}, "270s"),
        ({}, {"timeout": "3h"}, "1h"),
        ({}, {"timeout": "0"}, "1h"),
        ({"timeouts": {"pipeline": "20m"}}, {"timeout": "3h"}, "18m"),
        ({"timeouts": {"pipeline": "0"}}, {"timeout": "0"}, "1h"),
        ({"timeouts": {"pipeline": "8h"}}, {}, "54m"),
        ({"timeouts": {"pipeline": "8h", "tasks": "6h"}}, {}, "1h"),
        ({"timeouts": {"pipeline": "1h", "finally": "50m"}}, {}, "9m"),
        ({"timeout": "10m"}, {}, "9m"),
        ({"taskRunSpecs": [{"pipelineTaskName": "a", "timeout": "10m"}]}, {"timeout": "5m"}, "9m"),
        ({"taskRunSpecs": [{"pipelineTaskName": "b", "timeout": "10m"}]}, {}, "54m"),
    ],
)
def test_both_steps_have_it(run: dict[str, Any], fields: dict[str, Any], expected: str) -> None:
    wrapped = wrap(pipeline(task("a", **fields), task("b", "a", **fields)), a_run(**run))
    assert steps_of(wrapped, "a")[-1]["timeout"] == expected
    others = [step for step in steps_of(wrapped, "b") if step["name"] == "work"]
    assert "timeout" not in others[0]
    refers = {"name": "a", "taskRef": {"name": "t"}, "workspaces": [{"name": "ws"}], **fields}
    assert asked(wrap(pipeline(refers), a_run(**run))).plan.timeout == expected


def test_finally_has_its_own() -> None:
    run = a_run(timeouts={"pipeline": "1h", "tasks": "40m"})
    wrapped = wrap(pipeline(task("a"), last=(task("f"),)), run)
    assert [steps_of(wrapped, name)[-1]["timeout"] for name in ("a", "f")] == ["36m", "18m"]


def test_it_is_asked_for_by_the_run_or_the_installation() -> None:
    found = parse_request(params(pipelineref="p", step_timeout="10m"), SETTINGS)
    assert isinstance(found, PipelineRequest)
    assert found.wrapping.step_timeout == "10m"
    defaults = parse_installation({"image": "a", "step-timeout": "20m"}, "x").defaults
    found = parse_request(params(pipelineref="p"), SETTINGS, defaults)
    assert isinstance(found, PipelineRequest)
    assert found.wrapping.step_timeout == "20m"
    assert steps_of(wrap(pipeline(task("a")), step_timeout="10m"), "a")[-1]["timeout"] == "10m"
    assert "timeout" not in steps_of(wrap(pipeline(task("a")), step_timeout="0"), "a")[-1]


@pytest.mark.parametrize("text", ["soon", "-5m", "10", ""])
def test_what_is_no_duration_is_refused(text: str) -> None:
    if text:
        with pytest.raises(UsageError, match=r"parameter step-timeout: it is .*; write a duration"):
            parse_request(params(pipelineref="p", step_timeout=text), SETTINGS)
    with pytest.raises(UsageError, match=r"x, step-timeout: it is .*; write a duration"):
        parse_installation({"image": "a", "step-timeout": text}, "x")
