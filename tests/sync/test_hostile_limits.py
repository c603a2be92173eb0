"""What an image may ask for is limited; crossing a limit names it, changes nothing, and says how to allow more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.archive.stream.limits import DEFAULT_LIMITS, OPTIONS, ArchiveLimits, limits_of
from agent.errors import UnsafeArchiveError
from agent.sync.commands.read_target import ls
from agent.sync.operation.options import PullOptions
from agent.sync.pull_steps.pull_directory import pull
from agent.sync.push_steps.push_directory import PushOptions, push
from tests.fakes.contents import noise, write
from tests.fakes.hostile_images import END, file, pax
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.plain import on_disk, put_image

LARGE = pax((b"SCHILY.xattr.user.a", b"x" * 3000))
OTHERS: dict[str, tuple[bytes, ArchiveLimits]] = {
    "bytes": (file(b"a", bytes(9000)), limits_of({"bytes": 8192})),
    "bytes, in holes": (
        pax((b"GNU.sparse.size", b"1000000"), (b"GNU.sparse.map", b"0,4")) + file(b"a"),
        limits_of({"bytes": 999_999}),
    ),
    "entries": (file(b"a") + file(b"b") + file(b"c"), limits_of({"entries": 2})),
    "depth": (file(b"a/b/c"), limits_of({"depth": 2})),
    "toc": (LARGE + file(b"a"), limits_of({"toc": 2000})),
    "toc, of headers that nothing follows": (pax((b"k", b"v"), flag=b"g") * 5 + file(b"a"), limits_of({"toc": 2000})),
    "ratio": (file(b"a", bytes(1 << 20)), limits_of({"ratio": 50})._replace(free=1000)),
}


def refused(memory: MemoryWorkspaces, limits: ArchiveLimits, name: str, **options: bool) -> None:
    """Check that a pull ends at the limit, and goes through without it."""
    site = memory.site("b")._replace(limits=limits)
    with pytest.raises(UnsafeArchiveError) as caught:
        pull(site, PullOptions(**options))
    assert f"allow more with --limit {name.partition(',')[0]}=N" in str(caught.value)
    assert on_disk(memory.at("b")) == {}
    assert memory.state_of("b") == {}
    memory.pull("b", **options)
    assert on_disk(memory.at("b")) != {}


@pytest.mark.parametrize("name", OTHERS)
def test_a_layer_of_others_is_refused_beyond_a_limit(memory: MemoryWorkspaces, name: str) -> None:
    tar, limits = OTHERS[name]
    put_image(memory.store, "main", [tar + END])
    refused(memory, limits, name)


OURS: dict[str, dict[str, int]] = {
    "bytes": {"bytes": 300_000},
    "entries": {"entries": 60},
    "depth": {"depth": 3},
    "toc": {"toc": 1000},
}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", OURS)
def test_a_layer_of_ours_is_refused_beyond_a_limit(memory: MemoryWorkspaces, name: str, whole: bool) -> None:
    for number in range(60):
        write(memory.at("a"), b"d/%02d" % number, noise(6000, number))
    write(memory.at("a"), b"d/e/f/g", b"deep")
    memory.push("a")
    refused(memory, limits_of(OURS[name]), name, verify_whole=whole)


@pytest.mark.parametrize(("name", "number"), [("entries", 5), ("bytes", 20_000)])
def test_the_whole_may_not_be_more_than_a_layer(memory: MemoryWorkspaces, name: str, number: int) -> None:
    for change in (b"1", b"2"):
        for file_name in (b"a", b"b", b"c", b"d"):
            write(memory.at("a"), file_name + change, noise(3000, int(change)))
        memory.push("a")
    refused(memory, limits_of({name: number}), name)


def test_what_a_pull_may_read_a_push_and_a_look_may_too(memory: MemoryWorkspaces) -> None:
    for name in ("a", "b"):
        memory.pull(name, create=True)
        for number in range(9):
            write(memory.at(name), b"%s-%d" % (name.encode(), number), b"x")
    limits = limits_of({"entries": 5})
    memory.push("a")
    with pytest.raises(UnsafeArchiveError, match="--limit entries=N"):
        push(memory.site("b")._replace(limits=limits), PushOptions(lane="b"))
    with pytest.raises(UnsafeArchiveError, match="--limit entries=N"):
        list(ls(memory.store, memory.site("a").target, (), limits=limits))
    assert memory.push("b").id
    assert len(list(ls(memory.store, memory.site("a").target, ()))) == 18


def test_defaults_are_limits() -> None:
    look: Callable[[str], int] = DEFAULT_LIMITS.__getattribute__
    assert {name: look(field) for name, field in OPTIONS.items()} == {
        "bytes": 1 << 40,
        "entries": 10_000_000,
        "depth": 4096,
        "toc": 1 << 30,
        "ratio": 1000,
    }
