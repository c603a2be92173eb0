"""How much of the termination message a task's results need."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from agent.errors import UsageError, WorkspaceError
from agent.sync.task.argument import Results
from agent.sync.task.results import check_results, message_size

START = {"key": "StartedAt", "value": "2026-11-21T05:06:07.123+02:00", "type": 3}


def as_go_writes(results: list[tuple[str, str]]) -> int:
    entries = [*({"key": key, "value": value, "type": 1} for key, value in results), START]
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":"))
    return len(re.sub("[<>&\u2028\u2029]", "......", text).encode())


@pytest.mark.parametrize("value", ["", "plain", 'a "quoted"\\\n\r\t', "<a>&", "\u2028é€😀", "\0\x1f", "x" * 4000])
def test_the_size_is_that_of_what_go_writes(value: str) -> None:
    assert message_size([("key", value.encode()), ("b", b"")]) == as_go_writes([("key", value), ("b", "")])


def test_every_byte_that_is_no_utf8_is_escaped() -> None:
    assert message_size([("a", b"\xe2\x82x\xff")]) == message_size([("a", b"x")]) + 3 * 6


def results(place: Path, limit: int, **files: str) -> Results:
    for name, text in files.items():
        (place / name).write_text(text)
    return Results(str(place), ("a", "b", "none"), limit)


def test_results_that_fit_exactly_pass_and_one_byte_more_does_not(tmp_path: Path) -> None:
    limit = message_size([("a", b"x" * 2000), ("b", b"y")])
    check_results(results(tmp_path, limit, a="x" * 2000, b="y"))
    with pytest.raises(UsageError) as caught:
        check_results(results(tmp_path, limit, a="x" * 2000, b="yy"))
    said = str(caught.value)
    assert "sidecar-logs" in said and str(limit) in said and str(limit + 1) in said and "a 2000, b 2" in said


def test_a_task_without_results_has_none_at_risk(tmp_path: Path) -> None:
    check_results(results(tmp_path, 1))
    check_results(Results(str(tmp_path / "missing"), ("a",), 1))


def test_a_result_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "a")
    with pytest.raises(WorkspaceError, match="result a"):
        check_results(results(tmp_path, 100))


def test_an_endless_result_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/dev/zero")
    with pytest.raises(UsageError):
        check_results(results(tmp_path, 4096))


def a_step(place: Path, name: str, ended: int, **files: str) -> None:
    own = place / "steps" / name / "results"
    own.mkdir(parents=True)
    for result, text in files.items():
        (own / result).write_text(text)
    (place / "steps" / name / "exitCode").write_text("0")
    os.utime(place / "steps" / name / "exitCode", (ended, ended))


def test_results_of_a_step_count_with_what_the_task_had_written_by_its_end(tmp_path: Path) -> None:
    early, late = tmp_path / "a", tmp_path / "b"
    limit = message_size([("a", b"x" * 500), ("out", b"y" * 900)])
    found = results(tmp_path, limit, a="x" * 500, b="z" * 500)._replace(steps=str(tmp_path / "steps"))
    check_results(found)  # there is no step with results
    os.utime(early, (100, 100))
    os.utime(late, (300, 300))
    a_step(tmp_path, "step-one", 200, out="y" * 900)
    a_step(tmp_path, "step-two", 400)
    (tmp_path / "steps" / "step-push" / "results").mkdir(parents=True)  # it has not ended
    check_results(found)
    (tmp_path / "steps" / "step-one" / "results" / "out").write_text("y" * 901)
    with pytest.raises(UsageError, match="step-one's results need") as caught:
        check_results(found)
    assert "out 901, a 500" in str(caught.value)
    check_results(found._replace(steps=None))
