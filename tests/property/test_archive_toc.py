"""Laws of the table of contents' lines."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from agent.archive.toc.toc_line import format_entry, format_whiteout, parse_line
from agent.core.model.entry import TocEntry
from agent.core.spelling.canonical import canonical
from agent.errors import IntegrityError
from tests.property.archive_values import entries, paths


@given(entries)
def test_line_reads_back_and_is_canonical(entry: TocEntry) -> None:
    line = format_entry(entry)
    assert line.count(b"\n") == 1
    assert parse_line(line[:-1]) == entry
    assert canonical(json.loads(line)) + b"\n" == line


@given(paths)
def test_whiteout_reads_back(path: bytes) -> None:
    assert parse_line(format_whiteout(path)[:-1]) == path


@given(entries, st.integers(0, 10**6), st.binary(max_size=3), st.integers(0, 3))
def test_changed_line_is_refused_or_the_canonical_one_of_something_else(
    entry: TocEntry, at: int, junk: bytes, cut: int
) -> None:
    line = format_entry(entry)[:-1]
    at %= len(line)
    changed = line[:at] + junk + line[at + cut :]
    try:
        found = parse_line(changed)
    except IntegrityError:
        return
    again = format_whiteout(found) if isinstance(found, bytes) else format_entry(found)
    assert again == changed + b"\n"


values = st.recursive(
    st.none() | st.integers() | st.sampled_from(["write", "delete", "file", "a"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["op", "path", "kind", "seen", "version"]), inner),
)


@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_any_line_raises_integrity_errors_only(line: bytes) -> None:
    with contextlib.suppress(IntegrityError):
        parse_line(line)
