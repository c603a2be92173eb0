import json

import pytest

from agent.core.image.conflict_record import NO_CONFLICTS, ROOM, format_conflicts, parse_conflicts, record_conflicts
from agent.core.merge.conflict import Conflict, ConflictKind

LANES = {"a": "one", "b": "two"}


def conflict(path: bytes, ids: tuple[str, ...] = ("a", "b"), won: str | None = "b") -> Conflict:
    return Conflict(path, ConflictKind.CONTENT, ids, tuple(LANES.get(id_) for id_ in ids), won)


def test_a_record_reads_back() -> None:
    said = record_conflicts([conflict(b"x/\xff"), conflict(b"y", ("a", "base"), None)])
    assert parse_conflicts(format_conflicts(said), LANES) == said
    assert parse_conflicts(format_conflicts(NO_CONFLICTS), LANES) == NO_CONFLICTS


def test_the_first_hundred_are_named_and_all_are_counted() -> None:
    every = [conflict(b"%03d" % number) for number in range(101)]
    said = record_conflicts(every)
    assert (said.count, said.first) == (101, tuple(every[:100]))


def test_long_names_are_left_out_before_a_manifest_grows_too_large() -> None:
    every = [conflict(b"d/" * 2000 + b"%03d" % number) for number in range(100)]
    said = record_conflicts(every)
    assert said.count == 100
    assert 50 < len(said.first) < 70
    assert len(format_conflicts(said)) < ROOM + 100


@pytest.mark.parametrize(
    "damage",
    [
        {"count": 0},
        {"count": "1"},
        {"first": [{"path": "x", "kind": "content"}]},
        {"first": [{"path": "x", "kind": "other", "ids": []}]},
        {"first": [{"path": "x", "kind": "content", "ids": [1]}]},
        {"first": [{"path": 7, "kind": "content", "ids": []}]},
        {"first": 7},
    ],
)
def test_what_no_agent_wrote_is_refused(damage: dict[str, object]) -> None:
    said = json.loads(format_conflicts(record_conflicts([conflict(b"x")]))) | damage
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_conflicts(json.dumps(said), LANES)
