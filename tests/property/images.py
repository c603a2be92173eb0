"""Records and images, as hypothesis strategies."""

from hypothesis import strategies as st

from agent.core.image.conflict_record import NO_CONFLICTS
from agent.core.image.image import Encoding, Image, Layer
from agent.core.image.manifest import PREFIX
from agent.core.model.pod import Pod
from agent.core.model.record import FORMAT, Record
from agent.core.spelling.digest import Digest

ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
hexes = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
digests = hexes.map(lambda digits: Digest("sha256:" + digits))
ids = st.one_of(hexes, digests)
pairs = st.dictionaries(text, text, max_size=3).map(lambda chosen: tuple(sorted(chosen.items())))

tries = st.one_of(
    st.fixed_dictionaries({"attempt": st.none(), "stamp": st.integers(1, 2**63 - 1)}),
    st.integers(2, 2**63 - 1).flatmap(
        lambda stamp: st.fixed_dictionaries(
            {
                "attempt": st.integers(0, 9),
                "stamp": st.just(stamp),
                "pod": st.none() | st.builds(Pod, st.integers(1, stamp - 1), text.filter(bool)),
            }
        )
    ),
)
records = st.builds(
    lambda tried, **rest: Record(**tried, **rest),
    tries,
    target=text,
    parents=st.lists(ids, max_size=3, unique=True).map(lambda parents: tuple(sorted(parents))),
    lane=text,
    number=st.none() | st.integers(0, 9),
    unpulled=st.booleans(),
    base=st.none() | ids,
    diff_id=digests,
    toc=hexes,
    message=text,
    annotations=pairs,
)


@st.composite
def layers(draw):
    kind = draw(st.sampled_from(("change", "change", "fixup", "base")))
    record = draw(records) if kind == "change" else None
    digest = draw(digests)
    diff_id = record.diff_id if record else draw(digests)
    encoding = toc = None
    if draw(st.booleans()):
        encoding = Encoding(digest, diff_id, draw(st.integers(0, 2**40)), draw(st.integers(0, 2**30)), draw(hexes))
        toc = draw(st.none() | st.binary(max_size=40))
    base = draw(digests) if kind == "base" else None
    return Layer(ZSTD, digest, draw(st.integers(0, 2**40)), diff_id, kind, record, base, encoding, toc)


images = st.builds(
    Image,
    layers=st.lists(layers(), max_size=4).map(tuple),
    target=text,
    lane=text,
    attempt=st.none() | st.integers(0, 9),
    change=st.none() | hexes,
    dropped=st.lists(records, max_size=2).map(tuple),
    platform=st.sampled_from((("linux", "amd64", ""), ("linux", "arm64", "v8"), ("linux", "riscv64", ""))),
    annotations=pairs.filter(lambda chosen: not any(key.startswith(PREFIX) for key, _ in chosen)),
    format=st.just(FORMAT),
    conflicts=st.just(NO_CONFLICTS),
    made=st.none() | st.integers(0, 2**63),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def deep(depth=100_000):
    """Bytes that no recursive reader gets through."""
    return b"[" * depth + b"]" * depth


@st.composite
def damaged(draw, value):
    """A JSON value with one of its parts replaced or left out."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        changed = dict(value)
        changed.pop(key)
        return changed | draw(st.just({}) | damaged(value[key]).map(lambda part: {key: part}))
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(damaged(value[at])), *value[at + 1 :]]
    if isinstance(value, str) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return value[:at] + draw(st.text(max_size=2)) + value[at + 1 :]
    return draw(json_values)
