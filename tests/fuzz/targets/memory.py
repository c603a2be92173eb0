"""What the agent keeps beside a directory: the state, the intent of a push, the marker of a pull."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from random import Random

import zstandard

from agent.errors import DivergedError
from agent.sync.local.open_directory import open_directory
from agent.workspace.state.state_file import StateDamagedError, read_state
from tests.fakes.contents import write
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fuzz.mutate import bytewise, jsonwise
from tests.fuzz.search import Target, own_place

_plain = bytewise(b"instep state 1\n", b"instep state 2\n", b"\x28\xb5\x2f\xfd")
_json = jsonwise(
    *(b"target", b"root", b"manifest", b"version", b"rows", b"rare", b"record", b"n", b"absent", b"device"),
    *(b"mark", b"sparse", b"goal"),
)


class Site:
    """A directory that was pushed once, and a push of it that was killed."""

    def __init__(self) -> None:
        self.memory = MemoryWorkspaces(own_place())
        self.state = self.memory.place / ".state-a"
        top = self.memory.at("a")
        write(top, b"d/one", b"one")
        os.link(top + b"/d/one", top + b"/linked")
        os.symlink(b"\xff", top + b"/link")
        self.memory.push("a")
        write(top, b"d/two", b"two")
        self.memory.store.before = self._strike
        with suppress(_KilledError):
            self.memory.push("a")
        self.memory.store.before = None
        self.files = self.memory.state_of("a")
        with open_directory(self.memory.site("a")) as directory:
            directory.begin_pull(self.memory.target, {"x"}, (), starts=False)
        self.files["pulling"] = (self.state / "pulling").read_bytes()

    def _strike(self, name: str, subject: str) -> None:
        if "._p" in subject:
            raise _KilledError

    def put(self, **files: bytes) -> None:
        """Make the state what it was, but for `files`."""
        shutil.rmtree(self.state)
        self.state.mkdir(mode=0o700)
        for name, data in {**{key: self.files[key] for key in ("state", "intent")}, **files}.items():
            (self.state / name).write_bytes(data)


class _KilledError(Exception):
    pass


site = cache(Site)


def run_state(data: bytes) -> None:
    """A state that is whole can be read and written again; one that is not is known for it."""
    here = site()
    here.put(state=data)
    found = read_state(str(here.state / "state"))
    assert found is not None
    with found:
        rows = list(found)
    with open_directory(here.memory.site("a")) as directory:
        if directory.damage is not None:
            raise directory.damage
        if directory.state is None:
            assert directory.other  # it is whole, and about another directory
            return
        assert list(directory.state.rows) == rows
        directory.save(directory.state)
        assert list(directory.state.rows) == rows


def state_seeds() -> list[bytes]:
    """Return a state."""
    return [site().files["state"]]


def mutate_state(data: bytes, chance: Random) -> bytes:
    """Change a state's header or a block, and put lengths and checksum right; sometimes its bytes."""
    if not chance.randrange(4):
        return _plain(data, chance)
    magic = data.find(b"\n") + 1
    length = int.from_bytes(data[magic : magic + 4], "little")
    header, at, blocks = data[magic + 4 : magic + 4 + length], magic + 4 + length, []
    while size := int.from_bytes(data[at : at + 4], "little"):
        blocks.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    tail = data[at:-32]
    if chance.randrange(2) or not blocks:
        header = _json(header, chance)
    else:
        which = chance.randrange(len(blocks))
        blocks[which] = _mutate_block(blocks[which], chance)
    parts = [data[:magic], len(header).to_bytes(4, "little"), header]
    for block in blocks:
        parts += [len(block).to_bytes(4, "little"), block]
    body = b"".join([*parts, tail if chance.randrange(8) else _plain(tail, chance)])
    return body + hashlib.sha256(body).digest()


def _mutate_block(block: bytes, chance: Random) -> bytes:
    try:
        data = zstandard.ZstdDecompressor().decompress(block, max_output_size=1 << 20)
    except zstandard.ZstdError:
        return _plain(block, chance)
    at = 4 + int.from_bytes(data[:4], "little")
    head, rest = data[4:at], data[at:]
    if chance.randrange(2):
        head = _json(head, chance)
    else:
        rest = _plain(rest, chance)
    return zstandard.ZstdCompressor(level=1).compress(len(head).to_bytes(4, "little") + head + rest)


def _beside(name: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        """Whatever stands in a small file, a push or a status ends as it should."""
        here = site()
        here.put(**{name: data})
        for act in (lambda: here.memory.status("a"), lambda: here.memory.push("a", dry_run=True)):
            with suppress(DivergedError):
                act()

    return run


TARGETS = (
    Target("state", run_state, state_seeds, mutate_state, (StateDamagedError,), tries=300),
    Target("intent", _beside("intent"), lambda: [site().files["intent"]], _json, tries=300),
    Target("pulling", _beside("pulling"), lambda: [site().files["pulling"]], _json, tries=300),
)
