import random
from collections import Counter

import pytest

from agent.core.merge.merge import merge
from tests.core.vector_cases import load, sets, shown

CASES = load()


def _expected(case):
    tree = {}
    for path, row in case["expected"]["tree"].items():
        tree[path] = {**row, "attrs": {"xattrs": {}, **row["attrs"]}}
    return tree


def _conflicts(merged):
    return [{"path": c.path.decode(), "kind": str(c.kind), "ids": list(c.ids)} for c in merged.conflicts]


def test_there_are_240_cases_of_19_rules():
    assert len(CASES) == 240
    assert len(Counter(case["rule"] for case in CASES)) == 19


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_merge_gives_the_expected_tree_conflicts_and_superseded_in_any_order(case):
    changes, squashes = sets(case)
    shuffle = random.Random(case["name"])
    for copies in (1, 1, 2, 3):
        many, packed = changes * copies, squashes * copies
        shuffle.shuffle(many)
        shuffle.shuffle(packed)
        merged = merge(many, packed)
        rows = list(merged.tree())
        assert shown(rows) == _expected(case)
        assert [row.path for row in rows] == sorted(row.path for row in rows)
        assert _conflicts(merged) == case["expected"]["conflicts"]
        assert sorted(merged.superseded) == case["expected"]["superseded"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_every_row_names_the_layer_of_the_version_that_stands(case):
    changes, squashes = sets(case)
    layers = {change.id: change.layer for change in changes}
    covered = {id_ for squash in squashes for id_ in squash.covers}
    held = {squash.layer for squash in squashes}
    for row in merge(changes, squashes).tree():
        if row.version is not None and row.version.id not in covered:
            assert row.layer == layers[row.version.id]
        elif row.version is not None:
            assert row.layer in held
