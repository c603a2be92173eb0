"""What other tools do of comparable work, where they are installed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from bench.measure import Result, run, shell


class Tar:
    """GNU tar with zstd, to and from a file."""

    def __init__(self, place: Path, tree: Path) -> None:
        self._place = place
        self._tree = tree

    def find(self, _: int) -> Result:
        """Look at every name and its attributes."""
        return run(["find", str(self._tree), "-printf", "%p %s %T@ %C@ %m %U %G %i\n"])

    def pack(self, _: int) -> Result:
        """Pack the tree."""
        return shell(f"tar -C {self._tree} -cf - . | zstd -1 -T2 -q -f -o {self._place}/tree.tar.zst")

    def unpack(self, _: int) -> Result:
        """Unpack it into a new directory."""
        target = self._place / "untar"
        target.mkdir()
        result = shell(f"zstd -d -q -c {self._place}/tree.tar.zst | tar -C {target} -xf -")
        shutil.rmtree(target)
        return result

    def pack_some(self, paths: list[Path]) -> Result:
        """Pack some files as zstd does by itself; `sent` is the size of the archive."""
        listed, archive = self._place / "some", self._place / "some.tar.zst"
        listed.write_text("".join(f"{path.relative_to(self._tree)}\n" for path in paths))
        result = shell(f"tar -C {self._tree} -cf - -T {listed} | zstd -q -f -o {archive}")
        return replace(result, sent=archive.stat().st_size)


class Umoci:
    """umoci and skopeo: a layout on disk, copied to the registry."""

    def __init__(self, place: Path, tree: Path, registry: str) -> None:
        self._layout, self._bundle, self._out = place / "umoci", place / "bundle", place / "umoci-out"
        self._tree = tree
        self._registry = registry
        self._rootless = "" if os.geteuid() == 0 else "--rootless"

    def push(self, number: int) -> Result:
        """Make a layer of the tree, and copy it."""
        layout, bundle = self._layout, self._bundle
        self.forget()
        shell(
            f"umoci init --layout {layout}; umoci new --image {layout}:t; "
            f"umoci unpack {self._rootless} --image {layout}:t {bundle}; cp -a {self._tree}/. {bundle}/rootfs/"
        )
        target = f"docker://{self._registry}/umoci/{number}:t"
        return shell(
            f"umoci repack --image {layout}:t {bundle}; skopeo copy -q --dest-tls-verify=false oci:{layout}:t {target}"
        )

    def pull(self, number: int) -> Result:
        """Copy it back, and unpack it."""
        self.forget()
        return shell(
            f"skopeo copy -q --src-tls-verify=false docker://{self._registry}/umoci/{number}:t oci:{self._layout}:t; "
            f"umoci unpack {self._rootless} --image {self._layout}:t {self._out}"
        )

    def forget(self) -> None:
        """Free what it used."""
        for used in (self._layout, self._bundle, self._out):
            shutil.rmtree(used, ignore_errors=True)


class Restic:
    """restic, to a repository in a directory."""

    def __init__(self, place: Path, tree: Path) -> None:
        self._repository, self._cache, self._out = place / "restic", place / "restic-cache", place / "restic-out"
        self._tree = tree
        self._environ = {
            **os.environ,
            "RESTIC_REPOSITORY": str(self._repository),
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_CACHE_DIR": str(self._cache),
        }

    def first(self, _: int) -> Result:
        """Back up to a new repository."""
        self.forget()
        run(["restic", "init", "-q"], self._environ)
        return self.again(0)

    def again(self, _: int) -> Result:
        """Back up once more."""
        return run(["restic", "backup", "-q", str(self._tree)], self._environ)

    def restore(self, _: int) -> Result:
        """Restore the last one into a new directory."""
        result = run(["restic", "restore", "-q", "latest", "--target", str(self._out)], self._environ)
        shutil.rmtree(self._out)
        return result

    def forget(self) -> None:
        """Free what it used."""
        for used in (self._repository, self._cache):
            shutil.rmtree(used, ignore_errors=True)


def installed(*names: str) -> bool:
    """Return whether these commands are there."""
    return all(shutil.which(name) for name in names)
