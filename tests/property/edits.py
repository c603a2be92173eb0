"""Random edits of a disk, as hypothesis strategies."""

from hypothesis import settings
from hypothesis import strategies as st

from tests.fakes.soaking import some
from tests.property.disk import Disk

laws = settings(deadline=None, max_examples=some(120))

_NAMES = (b"a", b"a-b", b"b", b"c")
PATHS = (
    *_NAMES,
    *(above + b"/" + name for above in (b"a", b"b") for name in _NAMES[:3]),
    *(b"a/b/" + name for name in _NAMES[:2]),
)

_path = st.sampled_from(PATHS)
_data = st.sampled_from((b"", b"one", b"two", b"three"))
_small = st.integers(0, 2)

edit = st.one_of(
    st.tuples(st.just("write"), _path, _data),
    st.tuples(st.just("save"), _path, _data),
    st.tuples(st.just("copy_over"), _path),
    st.tuples(st.just("mkdir"), _path),
    st.tuples(st.just("symlink"), _path, st.sampled_from((b"a", b"/nowhere"))),
    st.tuples(st.just("fifo"), _path),
    st.tuples(st.just("hard_link"), _path, _path),
    st.tuples(st.just("hard_link"), _path, _path),
    st.tuples(st.just("move"), _path, _path),
    st.tuples(st.just("remove"), _path),
    st.tuples(st.just("mode"), _path, st.sampled_from((0o600, 0o755, 0o4755))),
    st.tuples(st.just("uid"), _path, _small),
    st.tuples(st.just("mtime"), _path, _small),
    st.tuples(st.just("xattrs"), _path, st.sampled_from(((), ((b"user.x", b"1"),), ((b"user.x", b"2"),)))),
)
edits = st.lists(st.tuples(st.booleans(), edit), max_size=8)
"""Each with whether the clock ticks before it."""

many_edits = st.lists(st.tuples(st.booleans(), edit), min_size=4, max_size=16)


def apply_edits(disk, steps):
    for ticks, (what, path, *args) in steps:
        if ticks:
            disk.tick()
        if what in ("mode", "uid", "mtime", "xattrs"):
            disk.change(path, **{what: args[0]})
        else:
            getattr(disk, what)(path, *args)
    return disk


def edited(steps):
    return apply_edits(Disk(), steps)


def contents_of(disk, into):
    """Keep every content that a disk has, by digest, as layers would."""
    for path in disk.paths():
        node = disk.node(path)
        into[node.sha256] = disk.at(path).data
    return into
