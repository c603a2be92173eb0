"""Rows with any value that fits their types, in a column or not."""

from hypothesis import strategies as st

from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.model.entry import Kind, Node, Version

NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-(1 << 200), 1 << 200) | st.integers(0, 5)
NAMES = st.lists(st.integers(1, 255), min_size=1, max_size=12).map(bytes)
NODES = st.builds(
    Node,
    kind=st.sampled_from(Kind),
    mode=NUMBERS,
    uid=NUMBERS,
    gid=NUMBERS,
    mtime=NUMBERS,
    size=NUMBERS,
    sha256=st.sampled_from([b"", bytes(32), b"\xff" * 32, b"short"]),
    target=st.binary(max_size=8),
    device=st.just((0, 0)) | st.tuples(NUMBERS, NUMBERS),
    xattrs=st.just(()) | st.lists(st.tuples(NAMES, st.binary(max_size=8)), max_size=2).map(tuple),
)
VERSIONS = st.none() | st.builds(Version, NUMBERS, st.sampled_from(["a" * 64, "sha256:" + "b" * 64]))
# No lstat says all zeros: a st_mode is never 0.
SEEN = st.builds(Fingerprint, *[NUMBERS] * 7).filter(any)
PRINTS = st.none() | SEEN
KNOWN = st.builds(StateRow, NAMES, NODES, VERSIONS, PRINTS, NUMBERS)
