"""Our layers read by tools that no one here wrote."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from agent.archive.stream.compression import COMPRESSIONS, Compression
from agent.archive.toc.trailer import FOOTER_SIZE
from agent.core.model.entry import Context, Delete, TocEntry, Touch, Write
from tests.archive.packing import BASE, Packed, directory, file, link, pack, sample


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(*command: str | Path, data: bytes | None = None) -> bytes:
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


CONTENTS = {b"d/file": b"text\n" * 1000, b"d/large": bytes(range(256)) * 40_000, b"twice": b"linked"}


def layer(compression: Compression) -> Packed:
    entries: list[TocEntry] = [
        directory(b"d"),
        file(b"d/file"),
        file(b"d/large"),
        link(b"symbolic", b"d/file"),
        file(b"twice", group=1),
        file(b"twice-more", group=1),
        file("ünicode".encode()),
    ]
    return pack(entries, {**CONTENTS, "ünicode".encode(): b""}, (), compression)


@needs("zstd", "tar")
def test_zstd_and_tar_read_our_zstd_layers() -> None:
    packed = layer("zstd")
    tar = run("zstd", "-d", "-c", data=packed.blob)
    assert "sha256:" + hashlib.sha256(tar).hexdigest() == packed.layer.diff_id
    assert run("zstd", "-t", "-q", data=packed.blob) == b""
    assert len(run("tar", "-tf", "-", data=tar).splitlines()) == 7


@needs("gzip", "tar")
def test_gzip_and_tar_read_our_gzip_layers() -> None:
    packed = layer("gzip")
    tar = run("gzip", "-d", "-c", data=packed.blob)
    assert "sha256:" + hashlib.sha256(tar).hexdigest() == packed.layer.diff_id
    assert gzip.decompress(packed.blob) == tar
    assert len(run("tar", "-tzf", "-", data=packed.blob).splitlines()) == 7


def test_gzip_reads_a_table_of_contents_of_many_members() -> None:
    """More than one extra field can hold: names that do not compress."""
    entries = [file(hashlib.sha256(b"%d" % number).hexdigest().encode()) for number in range(4000)]
    packed = pack(entries, {entry.path: b"" for entry in entries}, (), "gzip")
    assert len(packed.layer.toc.payload) > 2 * 65531 + FOOTER_SIZE
    assert "sha256:" + hashlib.sha256(gzip.decompress(packed.blob)).hexdigest() == packed.layer.diff_id
    if shutil.which("gzip"):
        assert run("gzip", "-d", "-c", data=packed.blob) == gzip.decompress(packed.blob)


@needs("tar")
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_tar_extracts_our_layers_of_every_encoding(compression: Compression, tmp_path: Path) -> None:
    packed = layer(compression)
    blob, root = tmp_path / "blob", tmp_path / "root"
    blob.write_bytes(packed.blob)
    root.mkdir()
    option = {"zstd": ["--zstd"], "gzip": ["-z"], "none": []}[compression]
    if compression == "zstd" and shutil.which("zstd") is None:
        pytest.skip("not installed: zstd")
    run("tar", "-C", root, "--no-same-owner", *option, "-xpf", blob)
    assert {path: (root / os.fsdecode(path)).read_bytes() for path in CONTENTS} == CONTENTS
    assert (root / "twice").stat().st_ino == (root / "twice-more").stat().st_ino
    for entry in packed.written:
        assert isinstance(entry, Write)
        about = os.lstat(os.path.join(os.fsencode(root), entry.path))
        assert (about.st_mtime_ns, about.st_mode & 0o7777) == (entry.node.mtime, entry.node.mode)


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_tarfile_reads_our_layers(compression: Compression) -> None:
    packed = sample(compression)
    with tarfile.open(fileobj=io.BytesIO(packed.blob), errors="surrogateescape") as tar:
        names = [os.fsencode(member.name) for member in tar.getmembers()]
    placed = [entry.path for entry in packed.written if isinstance(entry, Write | Context)]
    assert names == [b"d/.wh.dead", b".wh.z", *placed]


def layout(root: Path, layers: list[Packed]) -> None:
    """Write an OCI image layout with one image, tagged `test`."""

    def blob(data: bytes, media_type: str) -> dict[str, object]:
        name = hashlib.sha256(data).hexdigest()
        (root / "blobs" / "sha256" / name).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}

    (root / "blobs" / "sha256").mkdir(parents=True)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [packed.layer.diff_id for packed in layers]},
        "history": [{"created_by": "test"} for _ in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(packed.blob, packed.layer.media_type) for packed in layers],
    }
    descriptor = blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": "test"}
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))


def change(compression: Compression) -> Packed:
    entries: list[TocEntry] = [
        Context(b"d", directory(b"d").node),
        Delete(b"d/large", file(b"").node.kind, BASE, True),
        file(b"d/new"),
        Touch(b"symbolic", BASE, 1),
    ]
    return pack(entries, {b"d/new": b"new"}, (b"d/large", b"twice"), compression)


@needs("umoci")
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_umoci_unpacks_our_layers(compression: Compression, tmp_path: Path) -> None:
    layout(tmp_path / "image", [layer(compression), change(compression)])
    run("umoci", "unpack", "--rootless", "--image", f"{tmp_path}/image:test", tmp_path / "bundle")
    root = tmp_path / "bundle" / "rootfs"
    found = {str(path.relative_to(root)) for path in root.rglob("*")}
    assert found == {"d", "d/file", "d/new", "symbolic", "twice-more", "ünicode"}
    assert (root / "d" / "new").read_bytes() == b"new"
    assert (root / "twice-more").read_bytes() == b"linked"


@needs("skopeo")
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_skopeo_recompresses_our_layers_to_the_same_diff_id(compression: Compression, tmp_path: Path) -> None:
    layers = [layer(compression), change(compression)]
    layout(tmp_path / "image", layers)
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    run(
        "skopeo", "--policy", policy, "copy", "--dest-compress-format", "gzip", "--dest-compress",
        f"oci:{tmp_path}/image:test", f"dir:{tmp_path}/copy",
    )  # fmt: skip
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_bytes())
    for described, packed in zip(manifest["layers"], layers, strict=True):
        data = (tmp_path / "copy" / described["digest"].partition(":")[2]).read_bytes()
        if described["mediaType"].endswith("gzip"):
            data = gzip.decompress(data)
            assert "sha256:" + hashlib.sha256(data).hexdigest() == packed.layer.diff_id
        else:
            assert data == packed.blob
