"""How the benchmarks judge."""

from __future__ import annotations

from bench.measure import Result, best
from bench.results import Results
from bench.table import targets_table
from bench.targets import TARGETS, Target

FOUND = {"agent a": Result(3.0), "agent b": Result(2.0), "peer": Result(1.0), "start": Result(0.5)}


def test_a_ratio_is_reached_up_to_its_limit() -> None:
    reached = Target("", "", "agent a", "peer", 3.0).judge(FOUND)
    missed = Target("", "", "agent a", "peer", 2.9).judge(FOUND)
    assert reached and reached.good and reached.reached == "3.00"
    assert missed and not missed.good


def test_the_start_of_python_is_taken_from_the_agent_alone() -> None:
    beside_a_peer = Target("", "", "agent a", "peer", 9, start="start").judge(FOUND)
    beside_itself = Target("", "", "agent a", "agent b", 9, start="start").judge(FOUND)
    assert beside_a_peer and beside_a_peer.reached == "2.50"
    assert beside_itself and beside_itself.reached == "1.67"


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    table = targets_table([Target("w", "b", "agent a", "absent", 1)], Results(dict(FOUND)))
    assert table.startswith("1 not measured.")


def test_the_fastest_run_counts_with_the_most_memory_and_requests() -> None:
    runs = [Result(2.0, cpu=1.0, rss=5, requests=4), Result(1.0, cpu=1.5, rss=3, requests=3)]
    assert best(runs) == Result(1.0, cpu=1.0, rss=5, requests=4)


def test_each_target_has_a_row_of_its_own() -> None:
    rows = {(target.work, target.beside) for target in TARGETS}
    assert len(rows) == len(TARGETS)
