"""Images that the tools of others made from our head and put back at the target (design, "Foreign heads")."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.model.record import FOREIGN_LANE
from agent.core.spelling.reference import parse_reference
from agent.sync.commands.read_target import log, ls
from tests.fakes.contents import noise, write
from tests.fakes.plain import applied, on_disk
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces
from tests.interop.tools import Buildah, Skopeo, Umoci


@pytest.fixture
def shared(registry: str, tmp_path: Path) -> Iterator[Workspaces]:
    made = Workspaces(tmp_path, f"{registry}/foreign/{uuid.uuid4().hex}:ws")
    yield made
    made.close()


def fill(workspaces: Workspaces, **options: str) -> None:
    """Two changes: the second deletes, so that the tools meet whiteouts of ours."""
    top = workspaces.at("a")
    write(top, b"d/kept", b"kept")
    write(top, b"d/gone", b"gone")
    write(top, b"d/soon", b"soon")
    write(top, b"e/one", b"1")
    write(top, b"script", noise(3000), mode=0o755)
    workspaces.push("a", **options)
    os.unlink(top + b"/d/gone")
    write(top, b"later", b"later")
    workspaces.push("a", **options)


def change(top: str) -> None:
    """What someone else does to our tree."""
    os.unlink(f"{top}/d/soon")
    os.unlink(f"{top}/e/one")
    os.rmdir(f"{top}/e")
    os.chmod(f"{top}/script", 0o700)
    os.makedirs(f"{top}/theirs/deep")
    for name, content in (("theirs/deep/file", "theirs"), ("later", "changed")):
        with open(f"{top}/{name}", "w") as file:
            file.write(content)


def check(workspaces: Workspaces) -> None:
    """Absorbed by a pull without a write; published, with the own change, by the next push."""
    workspaces.pull("b")
    tree = on_disk(workspaces.at("b"))
    assert tree["later"][2] == b"changed"
    assert tree["theirs/deep/file"][2] == b"theirs"
    assert tree["script"] == ("file", 0o700, noise(3000))
    assert "e" not in tree and "d/soon" not in tree and tree["d/kept"][2] == b"kept"
    assert workspaces.push("b").id is None
    write(workspaces.at("b"), b"own", b"own")
    report = workspaces.push("b")
    assert report.head_moved
    target = parse_reference(workspaces.target)
    store = workspaces.open_store(target)
    entries = log(store, target).changes
    assert [entry.lane for entry in entries] == ["b", FOREIGN_LANE, "a", "a"]
    assert applied(store, "ws") == on_disk(workspaces.at("b"))
    workspaces.pull("a")
    workspaces.pull("c")
    for name in "ac":
        assert unlike(snapshot(workspaces.at("b")), snapshot(workspaces.at(name))) == {}
    assert workspaces.push("c").id is None


def test_what_buildah_commits_on_our_head_is_absorbed(shared: Workspaces, buildah: Buildah) -> None:
    fill(shared)
    with buildah.container(f"docker://{shared.target}") as (name, top):
        change(str(top))
        buildah.do("umount", name)
        buildah.commit(name, f"docker://{shared.target}")
        buildah.do("mount", name)
    check(shared)


def test_what_buildah_commits_in_dockers_format_is_absorbed(shared: Workspaces, buildah: Buildah) -> None:
    fill(shared)
    with buildah.container(f"docker://{shared.target}") as (name, top):
        change(str(top))
        buildah.commit(name, f"docker://{shared.target}", "--format", "docker")
    check(shared)


def test_what_umoci_repacks_is_absorbed(workspaces: Workspaces, umoci: Umoci) -> None:
    fill(workspaces, compression="gzip")
    layout = workspaces.place / "layout"
    bundle = umoci.unpack(layout, "ws")
    change(str(bundle / "rootfs"))
    umoci.repack(layout, "ws", bundle)
    check(workspaces)


def test_what_umoci_repacks_and_skopeo_copies_back_is_absorbed(
    shared: Workspaces, umoci: Umoci, skopeo: Skopeo, tmp_path: Path
) -> None:
    fill(shared, compression="gzip")
    layout = tmp_path / "theirs"
    skopeo.copy(f"docker://{shared.target}", f"oci:{layout}:ws")
    bundle = umoci.unpack(layout, "ws")
    change(str(bundle / "rootfs"))
    umoci.repack(layout, "ws", bundle)
    skopeo.copy(f"oci:{layout}:ws", f"docker://{shared.target}")
    check(shared)


def copy_elsewhere(workspaces: Workspaces, skopeo: Skopeo, *words: str, twice: bool = False) -> str:
    """Copy head to another repository, and return where it is. `twice`: schema 2 knows no zstd."""
    copy = workspaces.target.replace("/foreign/", "/copies/")
    source = f"docker://{workspaces.target}"
    if twice:
        skopeo.copy(source, f"oci:{workspaces.place}/between:ws", "--dest-compress-format", "gzip")
        skopeo.copy(f"oci:{workspaces.place}/between:ws", f"docker://{copy}", *words)
    else:
        skopeo.copy(source, f"docker://{copy}", *words)
    return copy


@pytest.mark.sweep(2)
@pytest.mark.parametrize("words", [("--format", "v2s2"), ("--dest-compress-format", "gzip")], ids=" ".join)
@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_a_copy_in_another_repository_is_a_workspace(
    shared: Workspaces, skopeo: Skopeo, words: tuple[str, ...], compression: str
) -> None:
    fill(shared, compression=compression)
    copy = copy_elsewhere(shared, skopeo, *words, twice=compression == "zstd")
    shared.pull("b", target=copy)
    assert unlike(snapshot(shared.at("a")), snapshot(shared.at("b"))) == {}
    reference = parse_reference(copy)
    store = shared.open_store(reference)
    said = [(entry.lane, entry.written, entry.deleted) for entry in log(store, reference).changes]
    assert said == [("a", 1, 1), ("a", 7, 0)]
    assert {path.path.decode() for path in ls(store, reference, ())} == on_disk(shared.at("a")).keys()
    write(shared.at("b"), b"own", b"own")
    assert shared.push("b", to=copy).head_moved
    shared.pull("c", target=copy)
    assert unlike(snapshot(shared.at("b")), snapshot(shared.at("c"))) == {}
    assert applied(shared.open_store(reference), "ws") == on_disk(shared.at("b"))


def test_a_copy_put_back_at_the_target_changes_nothing(shared: Workspaces, skopeo: Skopeo) -> None:
    fill(shared)
    copy = copy_elsewhere(shared, skopeo, "--format", "v2s2", twice=True)
    skopeo.copy(f"docker://{copy}", f"docker://{shared.target}")
    shared.pull("b")
    assert unlike(snapshot(shared.at("a")), snapshot(shared.at("b"))) == {}
    write(shared.at("b"), b"own", b"own")
    assert shared.push("b").head_moved
    shared.pull("a")
    assert unlike(snapshot(shared.at("b")), snapshot(shared.at("a"))) == {}
