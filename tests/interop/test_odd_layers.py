"""Layers that are written oddly and that the common tools read all the same: names, labels, members, frames."""

from __future__ import annotations

import gzip
import io
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from agent.core.spelling.reference import parse_reference
from agent.errors import UnsupportedError
from tests.fakes.plain import put_image
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces
from tests.interop.tools import Buildah

TAR = "application/vnd.oci.image.layer.v1.tar"
FLAGS = {"/": tarfile.DIRTYPE, "=": tarfile.LNKTYPE, "@": tarfile.SYMTYPE}


def tar_of(*members: str, form: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar of `NAME/` (a directory), `NAME` (a file), `NAME=TARGET` (a hard link), `NAME@TARGET` (symbolic)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for text in members:
            found = next((mark for mark in "=@" if mark in text), "/" if text.endswith("/") else "")
            name, _, to = text.partition(found) if found in ("=", "@") else (text, "", "")
            member = tarfile.TarInfo(name)
            member.type = FLAGS.get(found, tarfile.REGTYPE)
            member.linkname, member.mtime = to, 1_600_000_000
            member.mode = 0o755 if member.isdir() else 0o644
            data = name.encode() if member.isreg() else b""
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


NAMES = {
    "absolute": (["/usr/", "/usr/x", "/usr/y=/usr/x"],),
    "absolute and relative": (["/", "bin/", "bin/a", "bin/b=/bin/a", "/bin/c=bin/a"],),
    "slashes": (["//d//", ".//d///x", "d//y=.//d/x", "./d/./z"],),
    "symbolic links stay as they are": (["/lib/", "/lib/x", "/l@/lib/x"],),
    "whiteouts": (["d/", "d/x", "d/y", "e/", "e/x"], ["/d/", "/d/.wh.x", "//.wh.e"]),
    "opaque": (["d/", "d/x"], ["/d/", "/d/.wh..wh..opq", "/d/new"]),
    "link over layers": (["/d/", "/d/x"], ["/d/", "/d/y=/d/x"]),
    "nothing": ([],),
    "only the root": (["/"], ["./"]),
}


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Buildah:
    return Buildah(tmp_path_factory.mktemp("buildah"), "vfs")


def check_alike(place: Path, buildah: Buildah, image: str) -> None:
    """Check that an image is pulled, and started from, as buildah has it."""
    with buildah.container(image) as (_, mounted):
        tree = snapshot(mounted)
    there = Workspaces(place, image)
    there.pull("a")
    assert unlike(tree, snapshot(there.at("a"))) == {}
    there.pull("b", base=parse_reference(image), target=f"oci:{place}/new:ws")
    assert unlike(tree, snapshot(there.at("b"))) == {}
    there.close()


@pytest.mark.sweep(2)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
@pytest.mark.parametrize("case", NAMES)
def test_names_mean_what_they_mean_to_others(tmp_path: Path, buildah: Buildah, case: str, form: int) -> None:
    there = Workspaces(tmp_path, f"oci:{tmp_path}/layout:image")
    layers = [tar_of(*members, form=form) for members in NAMES[case]]
    put_image(there.open_store(parse_reference(there.target)), "image", layers)
    there.close()
    check_alike(tmp_path, buildah, there.target)


def zstd(tar: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(tar)


PACKED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "gzip named plain": (gzip.compress, TAR),
    "gzip named zstd": (gzip.compress, TAR + "+zstd"),
    "zstd named gzip": (zstd, TAR + "+gzip"),
    "zstd named plain": (zstd, TAR),
    "plain named gzip": (bytes, TAR + "+gzip"),
    "plain named zstd": (bytes, TAR + "+zstd"),
    "several gzip members": (
        lambda tar: b"".join(gzip.compress(tar[at : at + 700]) for at in range(0, len(tar), 700)),
        TAR + "+gzip",
    ),
    "an empty gzip member first": (lambda tar: gzip.compress(b"") + gzip.compress(tar), TAR + "+gzip"),
    "several zstd frames": (lambda tar: zstd(tar[:700]) + zstd(tar[700:]), TAR + "+zstd"),
}


@pytest.mark.sweep(2)
@pytest.mark.parametrize("case", PACKED)
def test_layers_are_told_by_their_bytes(tmp_path: Path, buildah: Buildah, registry: str, case: str) -> None:
    pack, kind = PACKED[case]
    there = Workspaces(tmp_path, f"{registry}/odd/{uuid.uuid4().hex}:image")
    layers = [tar_of("d/", "d/x", "d/y=d/x"), tar_of("d/", "d/.wh.y", "e/", "e/z")]
    put_image(there.open_store(parse_reference(there.target)), "image", layers, pack=pack, kind=kind)
    there.close()
    check_alike(tmp_path, buildah, there.target)


def test_what_no_reader_of_ours_knows_is_named(tmp_path: Path) -> None:
    import bz2
    import lzma

    there = Workspaces(tmp_path, f"oci:{tmp_path}/layout:image")
    store = there.open_store(parse_reference(there.target))
    for name, pack in (("xz", lzma.compress), ("bzip2", bz2.compress)):
        put_image(store, name, [tar_of("x")], pack=pack)
        with pytest.raises(UnsupportedError, match=f"by {name}.*skopeo") as caught:
            there.pull("a", base=parse_reference(f"oci:{tmp_path}/layout:{name}"), target=f"oci:{tmp_path}/new:ws")
        assert caught.value.exit_code == 2
    there.close()
