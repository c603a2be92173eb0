"""Laws of a squash's lines and layers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from agent.archive.layer.checks import Expected
from agent.archive.layer.ranged import read_entries, read_toc
from agent.archive.layer.whole import read_whole
from agent.archive.layer.writer import SquashWriter
from agent.archive.toc.squash_line import format_squashed, parse_squashed
from agent.archive.toc.toc_line import format_whiteout
from agent.archive.toc.toc_rules import InTar
from agent.core.model.change import (
    Claim,
    Grouped,
    Kept,
    Listed,
    SquashEntry,
    Tombstone,
    Touched,
    claim_value,
    squash_order,
)
from agent.core.model.entry import UNPULLED, Kind, Node, Touch, Version, Write
from agent.core.spelling.canonical import canonical
from agent.errors import IntegrityError
from tests.property.archive_values import described, ids, layers, nodes, offsets, paths, times, versions

listed = st.builds(Listed, paths, nodes((Kind.DIR,)), versions, st.just(0), st.just(False))
placed_listed = st.builds(Listed, paths, nodes((Kind.DIR,)), versions, offsets, st.just(True))
claims = st.builds(
    Claim,
    paths,
    ids,
    st.one_of(st.none(), described().map(claim_value)),
    st.one_of(st.none(), st.just(UNPULLED), versions),
)
squashed = st.one_of(
    st.builds(Kept, paths, described(), versions, offsets, st.integers(0, 3)),
    st.builds(Grouped, paths, versions, ids, st.integers(1, 9)),
    # `whiteout` is told by the list of whiteouts.
    st.builds(Tombstone, paths, st.sampled_from(Kind), versions, st.just(False)),
    st.builds(Touched, paths, versions, times, versions),
    listed,
    placed_listed,
    claims,
)


@given(squashed)
def test_line_reads_back_and_is_canonical(entry: SquashEntry) -> None:
    line = format_squashed(entry)
    assert line.count(b"\n") == 1
    assert parse_squashed(line[:-1]) == entry
    assert canonical(json.loads(line)) + b"\n" == line


@given(squashed, st.integers(0, 10**6), st.binary(max_size=3), st.integers(0, 3))
def test_changed_line_is_refused_or_the_canonical_one_of_something_else(
    entry: SquashEntry, at: int, junk: bytes, cut: int
) -> None:
    line = format_squashed(entry)[:-1]
    at %= len(line)
    changed = line[:at] + junk + line[at + cut :]
    try:
        found = parse_squashed(changed)
    except IntegrityError:
        return
    again = format_whiteout(found) if isinstance(found, bytes) else format_squashed(found)
    assert again == changed + b"\n"


OPS = ["tombstone", "listed", "kept", "grouped", "touched", "claim", "file", "dir", "a", "0" * 64]
KEYS = ["op", "path", "kind", "seen", "version", "of", "by", "value", "group", "placed", "mode"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(OPS),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_any_line_raises_integrity_errors_only(line: bytes) -> None:
    with contextlib.suppress(IntegrityError):
        parse_squashed(line)


def as_squash(entries: list[InTar | Touch]) -> list[SquashEntry]:
    """Turn the entries of a change into those of a squash."""
    found: list[SquashEntry] = []
    for entry in entries:
        version = Version(7, "ab" * 32)
        if isinstance(entry, Touch):
            found.append(Touched(entry.path, entry.version, entry.mtime, entry.version))
        elif entry.node.kind is Kind.DIR and not isinstance(entry, Write):
            found.append(Listed(entry.path, entry.node, version, 0, True))
        else:
            found.append(Kept(entry.path, entry.node, version, 0, entry.group))
    return sorted(found, key=squash_order)


@given(layers(), st.sampled_from(["zstd", "gzip", "none"]))
def test_what_a_squash_writes_it_reads_whole_and_by_ranges(layer, compression) -> None:  # type: ignore[no-untyped-def]
    entries, contents, gone = layer
    kept = as_squash([entry for entry in entries if not hasattr(entry, "whiteout")])
    tombs = [Tombstone(entry.path, entry.kind, entry.seen, True) for entry in entries if hasattr(entry, "whiteout")]
    every = sorted([*kept, *tombs], key=squash_order)

    def content(entry: InTar) -> tuple[Node, Iterator[bytes]]:
        data = contents[entry.path]
        return entry.node._replace(size=len(data)), iter([data] if data else [])

    writer = SquashWriter(every, gone, content, compression, threads=1)
    blob = b"".join(writer)
    packed = writer.result
    toc = read_toc(lambda start, length: blob[start : start + length], len(blob), compression, sha256=packed.toc.sha256)
    every_place = [e.offset for e, to in toc.placed() if to is None]
    whole = {
        e.path: b"".join(data)
        for e, data in read_whole(toc, [blob], Expected(size=len(blob), diff_id=packed.diff_id), every_place)
    }
    assert list(whole) == [e.path for e, to in toc.placed() if to is None]
    assert list(toc.whiteouts()) == gone
    assert toc.is_squash
    read = list(toc.squashed())
    assert [type(entry) for entry in read] == [type(entry) for entry in every]
    assert [e.path for e in read if isinstance(e, Tombstone) and e.whiteout] == gone
    wanted = [e.offset for e in read if isinstance(e, Kept)]
    found = {e.path: b"".join(data) for e, data in read_entries(toc, lambda s, n: iter([blob[s : s + n]]), wanted)}
    for path, data in found.items():
        if path in contents and not any(e.path == path and getattr(e, "group", 0) for e in every):
            assert data == contents[path]
