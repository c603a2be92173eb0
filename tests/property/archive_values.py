"""Strategies for what an archive holds."""

from __future__ import annotations

from hypothesis import strategies as st

from agent.core.model.entry import UNPULLED, Context, Delete, Kind, Node, Touch, Version, Write
from agent.core.spelling.path import WHITEOUT

EDGES = [0, 1, 999_999_999, 10**9, 8**11 * 10**9 - 1, 8**11 * 10**9, -1, -(10**9), -1_500_000_000]
times = st.one_of(st.integers(0, 2**34 * 10**9), st.sampled_from(EDGES), st.integers(-(2**70), 2**70))
owners = st.one_of(st.integers(0, 3), st.sampled_from([8**7 - 1, 8**7, 2**31, 2**32 - 2]))
sizes = st.one_of(st.integers(0, 2000), st.sampled_from([8**11 - 1, 8**11, 2**39 + 1]))
modes = st.integers(0, 0o7777)
_bytes = st.one_of(
    st.binary(min_size=1, max_size=9),
    st.text('abäö€😀\n"\\ \x7f=%', min_size=1, max_size=9).map(str.encode),
    st.sampled_from([b"n" * 100, b"n" * 101, b"n" * 255, b"-x", b"a", b"a.wh.b"]),
)
names = _bytes.map(lambda name: name.replace(b"/", b"+").replace(b"\0", b"0")).filter(
    lambda name: name not in (b".", b"..") and not name.startswith(WHITEOUT)
)
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)
targets = st.one_of(_bytes, st.binary(min_size=1, max_size=300)).map(lambda target: target.replace(b"\0", b"0"))
xattrs = st.dictionaries(
    st.one_of(names.map(lambda name: b"user." + name[:100]), st.just(b"security.capability")),
    st.binary(max_size=40),
    max_size=3,
).map(lambda found: tuple(sorted(found.items())))
devices = st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1))


@st.composite
def nodes(draw: st.DrawFn, kinds: tuple[Kind, ...] = tuple(Kind)) -> Node:
    kind = draw(st.sampled_from(kinds))
    node = Node(kind, draw(modes), draw(owners), draw(owners), draw(times), xattrs=draw(xattrs))
    if kind is Kind.LINK:
        return node._replace(mode=0o777, target=draw(targets))
    if kind in (Kind.CHAR, Kind.BLOCK):
        return node._replace(device=draw(devices))
    return node


files = nodes((Kind.FILE,))
ids = st.one_of(
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}"),
)
versions = st.builds(Version, st.integers(0, 2**63 - 1), ids)


@st.composite
def described(draw: st.DrawFn) -> Node:
    """A node as a table of contents has it."""
    node = draw(nodes())
    if node.kind is Kind.FILE:
        return node._replace(size=draw(sizes), sha256=draw(st.binary(min_size=32, max_size=32)))
    return node


offsets = st.integers(0, 2**40).map(lambda number: number * 512)
groups = st.integers(0, 3)
entries = st.one_of(
    st.builds(Write, paths, described(), st.one_of(st.none(), st.just(UNPULLED), versions), offsets, groups),
    st.builds(Context, paths, described(), st.one_of(st.none(), versions), offsets, groups),
    # `whiteout` is told by the list of whiteouts, not by the deletion's line.
    st.builds(Delete, paths, st.sampled_from(Kind), versions, st.just(False)),
    st.builds(Touch, paths, versions, times),
)


@st.composite
def layers(draw: st.DrawFn) -> tuple[list[Write | Context | Delete | Touch], dict[bytes, bytes], list[bytes]]:
    """Entries in their order, contents by path, and whiteouts of a layer that may be written."""
    contents: dict[bytes, bytes] = {}
    placed: dict[bytes, Write | Context] = {}
    firsts: dict[int, Node] = {}
    for path in sorted(draw(st.sets(paths, max_size=12))):
        parts = path.split(b"/")
        above = [b"/".join(parts[:count]) for count in range(1, len(parts))]
        if path in placed or any(at in placed and placed[at].node.kind is not Kind.DIR for at in above):
            continue
        for at in above:
            placed.setdefault(at, Context(at, draw(nodes((Kind.DIR,)))))
        node = draw(nodes())
        group = draw(groups) if node.kind is not Kind.DIR else 0
        if group:
            node = firsts.setdefault(group, node)
        if node.kind is Kind.FILE:
            contents[path] = draw(st.one_of(st.binary(max_size=30), st.integers(0, 3000).map(bytes)))
        kind = draw(st.sampled_from([Write, Context]))
        placed[path] = kind(path, node, None, 0, group)
    rest = sorted(draw(st.sets(paths, max_size=4)) - placed.keys())
    gone = [Delete(path, Kind.FILE, draw(versions), True) for path in rest[::2]]
    touched = [Touch(path, draw(versions), draw(times)) for path in rest[1::2]]
    return [*placed.values(), *gone, *touched], contents, [entry.path for entry in gone]
