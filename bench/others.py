"""What other tools do of comparable work, where they are installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Result, best, run, shell
from bench.table import Row
from bench.tree import change_some


class Others:
    """Measures them on the same tree, each before the agent changes it."""

    def __init__(self, place: Path, registry: str, tree: Path, repeat: int) -> None:
        self._place = place
        self._registry = registry
        self._tree = tree
        self._repeat = repeat
        self._archive = place / "tree.tar.zst"

    def rows(self) -> Iterator[Row]:
        """Measure everything that can be measured here."""
        if _installed("find"):
            yield Row("push of nothing", "find -printf", best(self._repeat, self._find))
        if _installed("tar", "zstd"):
            yield Row("full push", "tar, zstd -1 -T2, to a file", best(self._repeat, self._pack))
            yield Row("full pull", "zstd -d, tar -x", best(self._repeat, self._unpack))
        if _installed("umoci", "skopeo"):
            yield from self._umoci()
        if _installed("restic"):
            yield from self._restic()

    def _find(self, _: int) -> Result:
        return run(["find", str(self._tree), "-printf", "%p %s %T@ %C@ %m %U %G %i\n"])

    def _pack(self, _: int) -> Result:
        return shell(f"tar -C {self._tree} -cf - . | zstd -1 -T2 -q -f -o {self._archive}")

    def _unpack(self, number: int) -> Result:
        target = self._place / f"untar-{number}"
        target.mkdir()
        result = shell(f"zstd -d -q -c {self._archive} | tar -C {target} -xf -")
        shutil.rmtree(target)
        return result

    def _umoci(self) -> Iterator[Row]:
        layout, bundle = self._place / "umoci", self._place / "bundle"
        shell(f"umoci init --layout {layout}; umoci new --image {layout}:t; umoci unpack --image {layout}:t {bundle}")
        shell(f"cp -a {self._tree}/. {bundle}/rootfs/")
        target = f"docker://{self._registry}/bench/umoci:t"
        script = (
            f"umoci repack --image {layout}:t {bundle}; skopeo copy -q --dest-tls-verify=false oci:{layout}:t {target}"
        )
        yield Row("full push", "umoci repack, skopeo copy", shell(script))
        shutil.rmtree(bundle)
        back, out = self._place / "umoci-back", self._place / "umoci-out"
        script = f"skopeo copy -q --src-tls-verify=false {target} oci:{back}:t; umoci unpack --image {back}:t {out}"
        yield Row("full pull", "skopeo copy, umoci unpack", shell(script))
        for used in (layout, back, out):
            shutil.rmtree(used)

    def _restic(self) -> Iterator[Row]:
        environ = {
            **os.environ,
            "RESTIC_REPOSITORY": str(self._place / "restic"),
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_CACHE_DIR": str(self._place / "restic-cache"),
        }
        backup = ["restic", "backup", "-q", str(self._tree)]
        run(["restic", "init", "-q"], environ)
        yield Row("full push", "restic backup, to a directory", run(backup, environ))
        yield Row("push of nothing", "restic backup", best(self._repeat, lambda _: run(backup, environ)))
        out = self._place / "restic-out"
        yield Row(
            "full pull", "restic restore", run(["restic", "restore", "-q", "latest", "--target", str(out)], environ)
        )
        shutil.rmtree(out)
        change_some(self._tree, 100, 50)
        yield Row("push of 1 %", "restic backup", run(backup, environ))
        shutil.rmtree(self._place / "restic")


def _installed(*names: str) -> bool:
    return all(shutil.which(name) for name in names)
