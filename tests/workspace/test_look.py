"""A look that one process tells another is the same look."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.directory.scan_join import ScanJoin
from agent.core.directory.state_row import ScannedPath, StateRow
from agent.workspace.scan.scan_result import ScanResult, dump, load
from tests.fakes.soaking import some
from tests.workspace.any_rows import KNOWN, NAMES, NUMBERS, SEEN

FOUND = st.builds(
    ScannedPath, NAMES, SEEN, st.integers(1, 9), st.just((0, 0)) | st.tuples(st.integers(0), st.integers(0))
)
PAIRS = st.lists(st.tuples(KNOWN, FOUND), max_size=4)
NUMBERED = st.dictionaries(NUMBERS, st.lists(NAMES, min_size=1, max_size=3), max_size=3)
SETS = st.sets(NAMES, max_size=3)


def by_path(pairs: list[tuple[StateRow, ScannedPath]]) -> dict[bytes, tuple[StateRow, ScannedPath]]:
    return {old.path: (old, new) for old, new in pairs}


SIFTED = st.builds(
    ScanJoin,
    gone=st.lists(KNOWN, max_size=4),
    suspects=PAIRS,
    replaced=PAIRS.map(by_path),
    context=PAIRS.map(by_path),
    entered=SETS,
    names=NUMBERED,
    group_paths=NUMBERED,
    unpulled=st.sets(NUMBERS, max_size=3),
    total=NUMBERS,
    present=NUMBERS,
    context_above=SETS,
    open_directories=PAIRS.map(by_path),
)
LOOKS = st.builds(
    ScanResult,
    scan_join=SIFTED,
    fresh=st.lists(KNOWN, max_size=9),
    size=NUMBERS,
    leftovers=st.lists(NAMES, max_size=2),
    warnings=st.lists(st.tuples(NAMES, st.text(max_size=5)), max_size=2),
)


@settings(deadline=None, max_examples=some(150))
@given(LOOKS, st.sampled_from([1, 2, 4096]))
def test_what_is_loaded_is_what_was_dumped(
    tmp_path_factory: pytest.TempPathFactory, look: ScanResult, block: int
) -> None:
    directory: Path = tmp_path_factory.mktemp("look")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.workspace.scan.scan_result.ROWS", block)
        found = load(dump(look), str(directory))
    assert found.scan_join == look.scan_join
    assert list(found.fresh) == look.fresh
    assert (found.size, found.leftovers, found.warnings) == (look.size, look.leftovers, look.warnings)
