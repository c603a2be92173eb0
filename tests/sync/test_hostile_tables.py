"""Layers of ours whose tables of contents lie: what a pull does with them (design, "Trust").

That the reader of a layer notices each lie is in tests/archive; here the image around it is right in every other way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from agent.archive.tar.tar_header import END
from agent.archive.toc.trailer import wrap
from agent.core.image.image import Image, Layer
from agent.core.image.manifest import MANIFEST
from agent.core.image.manifest_writer import format_image
from agent.core.model.entry import Context, Kind, Node, Write
from agent.core.model.record import Record
from agent.core.spelling.digest import Digest
from agent.errors import AgentError, IntegrityError
from agent.store.port import Stored
from agent.sync.contents import layer_contents as reading
from agent.sync.upload.uploaded_layer import uploaded_layer
from tests.archive.forging import DATA, HONEST, LIES, NODE, forge, honest, lying, member, table
from tests.archive.packing import Packed, directory, file, link, pack
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.plain import Plain, on_disk
from tests.fakes.sentinel import Sentinel

STRIPPED = [False, True]
"""Whether the manifest says where the table of contents lies; a tool may drop that, and then it is looked for."""


@pytest.fixture(params=["as it comes", "by ranges", "verified whole"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ways to read; a layer as small as these is read by ranges only if small ones are not taken whole."""
    if request.param == "by ranges":
        monkeypatch.setattr(reading, "WHOLE_BELOW", 0)
        monkeypatch.setattr(reading, "WHOLE_SHARE", 2)
    return str(request.param)


def stored(
    memory: MemoryWorkspaces, packed: Packed, stamp: int = 5, *, stripped: bool = False, **said: object
) -> Layer:
    """Store a layer and return it as the change of a lane of its own; `said` replaces what its record says."""
    record = Record("main", (), f"lane-{stamp}", None, stamp, None, packed.layer.diff_id, packed.layer.toc.sha256)
    layer = uploaded_layer(
        replace(record, **said),  # type: ignore[arg-type]
        packed.layer,
        Stored(Digest(memory.store.put_blob(packed.blob)), len(packed.blob)),
    )
    return layer._replace(encoding=None, toc=None) if stripped else layer


def put(memory: MemoryWorkspaces, *layers: Layer) -> None:
    """Put an image at the target's tag."""
    config, manifest = format_image(Image(layers, "main"))
    memory.store.put_blob(config)
    memory.store.put_manifest("main", manifest, MANIFEST)


def attempt(memory: MemoryWorkspaces, how: str) -> AgentError | None:
    """Pull, and check that whoever is refused remembers what was before, and finds it with --verify-whole."""
    before, disk = memory.state_of("b").get("state"), on_disk(memory.at("b"))
    try:
        memory.pull("b", verify_whole=how == "verified whole")
    except AgentError as error:
        assert error.exit_code in {30, 31}
        assert memory.state_of("b").get("state") == before
        if how == "verified whole":
            assert on_disk(memory.at("b")) == disk
            assert "pulling" not in memory.state_of("b")
        return error
    assert memory.changed("b") == []
    return None


def told(what: str) -> Plain:
    """Return what the table of a lie says that there is."""
    rows: Plain = {}
    for entry in LIES[what][1]:
        assert isinstance(entry, Write)
        content = {Kind.FILE: DATA, Kind.LINK: entry.node.target.decode(), Kind.DIR: None}[entry.node.kind]
        rows[entry.path.decode()] = (str(entry.node.kind), entry.node.mode, content)
    return rows


@pytest.mark.parametrize("stripped", STRIPPED)
@pytest.mark.parametrize("what", LIES)
def test_a_lie_is_refused_or_never_reaches_the_disk(
    memory: MemoryWorkspaces, how: str, what: str, stripped: bool
) -> None:
    before = stored(memory, pack([file(b"a"), file(b"b"), file(b"z")], dict.fromkeys((b"a", b"b", b"z"), b"old")), 4)
    put(memory, before)
    memory.pull("b")
    old, new = on_disk(memory.at("b")), told(what)
    put(memory, before, stored(memory, lying(what), stripped=stripped))
    error = attempt(memory, how)
    # By ranges only what is needed of the tar is seen; what is written is what the table says, or nothing.
    assert error is not None or how == "by ranges"
    assert all(row in (old.get(path), new.get(path)) for path, row in on_disk(memory.at("b")).items())


@pytest.mark.parametrize("stripped", STRIPPED)
def test_a_layer_that_does_not_lie_is_pulled(memory: MemoryWorkspaces, how: str, stripped: bool) -> None:
    put(memory, stored(memory, honest(), stripped=stripped))
    assert attempt(memory, how) is None
    assert on_disk(memory.at("b")) == told("other content")


def renamed(packed: Packed, **facts: object) -> Packed:
    """Return a layer about which something else is said."""
    return packed._replace(layer=packed.layer._replace(**facts))  # type: ignore[arg-type]


def behind(extra: Callable[[bytes], bytes]) -> Packed:
    """Return an honest layer with something behind it, or between its frames and its table."""
    packed = honest()
    return packed._replace(blob=extra(packed.blob))


def between(blob: bytes) -> bytes:
    toc = honest().layer
    return blob[: toc.toc_offset] + b"".join(wrap("zstd", b"not a table")) + blob[toc.toc_offset :]


(FRAME,) = honest().layer.toc.frames
BROKEN: dict[str, Callable[[], Packed]] = {
    "another diff_id": lambda: renamed(honest(), diff_id=Digest("sha256:" + "1" * 64)),
    "a frame of another digest": lambda: honest(frames=[FRAME._replace(sha256=bytes(32))]),
    "a frame that is shorter": lambda: honest(frames=[FRAME._replace(length=FRAME.length - 1)]),
    "a frame that is larger": lambda: honest(frames=[FRAME._replace(size=FRAME.size + 512)]),
    "a frame twice": lambda: honest(frames=[FRAME, FRAME]),
    "two tables": lambda: behind(lambda blob: blob + blob[honest().layer.toc_offset :]),
    "a table that is not the last": lambda: behind(lambda blob: blob + b"".join(wrap("zstd", b"more"))),
    "bytes behind the table": lambda: behind(lambda blob: blob + b"more"),
    "something before the table": lambda: behind(between),
    "a table at another place": lambda: renamed(honest(), toc_offset=honest().layer.toc_offset - 1),
    "a table of another length": lambda: renamed(honest(), toc_length=honest().layer.toc_length - 1),
}
MISPLACED = ("a table at another place", "a table of another length")


@pytest.mark.parametrize("stripped", STRIPPED)
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("what", BROKEN)
def test_a_layer_that_is_put_together_wrongly(
    memory: MemoryWorkspaces, how: str, what: str, inline: bool, stripped: bool
) -> None:
    layer = stored(memory, BROKEN[what](), stripped=stripped)
    put(memory, layer if inline else layer._replace(toc=None))
    error = attempt(memory, how)
    # What the manifest says of the place is not needed where the table is in it, or is looked for.
    misplaced = what in MISPLACED and (stripped or inline or how == "verified whole")
    encoded_anew = stripped and what == "a table that is not the last"
    assert error is not None or how == "by ranges" or misplaced or encoded_anew
    assert on_disk(memory.at("b")).items() <= told("other content").items()


@pytest.mark.parametrize("stripped", STRIPPED)
def test_a_table_that_is_not_the_one_of_the_record(memory: MemoryWorkspaces, how: str, stripped: bool) -> None:
    layer = stored(memory, honest(), stripped=stripped, toc=sha256(b"another").hexdigest())
    put(memory, layer)
    error = attempt(memory, how)
    assert isinstance(error, IntegrityError)
    assert "table of contents" in error.what
    assert on_disk(memory.at("b")) == {}


def test_a_table_in_the_manifest_that_is_not_the_one_of_the_layer(memory: MemoryWorkspaces, how: str) -> None:
    """The frames it names are no part of the change's id, so that its digest is compared as well."""
    layer = stored(memory, honest())
    other = honest(frames=[FRAME._replace(sha256=bytes(32))]).layer.toc
    assert layer.toc is not None and layer.toc != other.payload
    put(memory, layer._replace(toc=other.payload))
    assert attempt(memory, how) is None
    assert on_disk(memory.at("b")) == told("other content")


def test_two_changes_that_claim_one_tar_and_say_different_things_of_it(memory: MemoryWorkspaces, how: str) -> None:
    other = [Write(b"0", NODE._replace(sha256=sha256(b"x").digest()), None, 0), HONEST[1]]
    lie = forge(member(b"a") + member(b"b") + END, table(other))
    assert lie.layer.diff_id == honest().layer.diff_id
    put(memory, stored(memory, honest(), 4), stored(memory, lie, 5))
    assert attempt(memory, how) is not None
    assert on_disk(memory.at("b")).items() <= told("other content").items()


def test_a_place_that_another_layer_does_not_have(memory: MemoryWorkspaces, how: str) -> None:
    """The layer that is taken for the lying one is read, and holds nothing at that place."""
    tar = member(b"a") + member(b"b") + END
    frames = [FRAME._replace(size=2 * FRAME.size)]
    lie = forge(tar, table([*HONEST, Write(b"c", NODE, None, FRAME.size)]), frames=frames)
    put(memory, stored(memory, honest(), 4), stored(memory, lie, 5))
    assert attempt(memory, how) is not None
    assert on_disk(memory.at("b")).items() <= told("other content").items()


def below_a_link() -> dict[str, list[Packed]]:
    """Changes that on their own are right, and of which one goes through what another made."""
    out = link(b"d", b"../outside")
    into = [Context(b"d", Node(Kind.DIR, 0o777, mtime=1)), file(b"d/victim", mode=0o4777)]
    contents = {b"d/victim": b"evil", b"d": b""}
    return {
        "a link": [pack([out], {})],
        "a file below": [pack(into, contents)],
        "a directory": [pack([directory(b"d", mode=0o777), file(b"d/victim")], contents)],
        "a link below": [pack([directory(b"d"), link(b"d/victim", b"../../outside/victim")], {})],
        "a file of that name": [pack([file(b"d", mode=0o4777)], contents)],
    }


@pytest.mark.parametrize("first", below_a_link())
@pytest.mark.parametrize("second", below_a_link())
def test_changes_that_go_through_one_another_stay_inside(
    memory: MemoryWorkspaces, tmp_path: Path, first: str, second: str
) -> None:
    sentinel = Sentinel(tmp_path)
    changes = [*below_a_link()[first], *below_a_link()[second]]
    layers: list[Layer] = []
    for stamp, packed in enumerate(changes, 4):
        layers.append(stored(memory, packed, stamp))
        put(memory, *layers)
        memory.pull("ws")
        assert sentinel.changes() == {}
    memory.pull("ws-fresh")
    assert sentinel.changes() == {}
    assert on_disk(memory.at("ws")) == on_disk(memory.at("ws-fresh"))
    assert os.listdir(memory.at("ws")) == [b"d"]
