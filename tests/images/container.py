"""Images built by buildah, and containers of them as a restricted pod has them, with no engine and no daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.interop.tools import Buildah

NEEDED = ("mmdebstrap", "unshare", "setpriv", "chroot")
USER = 12345
"""A user without a name, as OpenShift gives one to each namespace."""

_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
# The root is read-only; one volume is not, as an emptyDir.
_ENTER = """
set -eu
root=$1 volume=$2
shift 2
mount --bind "$root" "$root"
mount --bind "$volume" "$root/volume"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -o remount,bind,ro "$root"
exec env -i "$@"
"""
# chroot needs the three capabilities that stay in the bounding set: a change of the user takes them away, and nothing
# gets them back without new privileges.
_DROP = ("--no-new-privs", "--bounding-set=-all,+sys_chroot,+setgid,+setuid")


class Container:
    """A container of an image; `volume` is what it sees, and may change, as `/volume`."""

    def __init__(self, root: Path, config: Mapping[str, Any], volume: Path) -> None:
        self.root = root
        self.config = config
        self.volume = volume
        self.started: list[subprocess.Popen[str]] = []
        (root / "volume").mkdir(exist_ok=True)
        volume.mkdir(exist_ok=True)
        volume.chmod(0o777)

    def __call__(self, *words: str, exits: int = 0, env: Mapping[str, str] | None = None) -> Any:
        """Run the image's entry point with arguments; its exit code must be `exits`."""
        done = self.run(*self.config["Entrypoint"], *words, exits=exits, env=env)
        assert "Traceback" not in done.stderr
        return done

    def run(self, *words: str, exits: int = 0, env: Mapping[str, str] | None = None) -> Any:
        """Run a command in place of the entry point."""
        process = self.start(*words, env=env)
        out, err = process.communicate(timeout=120)
        assert process.returncode == exits, f"{words} exited {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def python(self, code: str, *, env: Mapping[str, str] | None = None) -> Any:
        """Run Python code and return what it printed, read as JSON."""
        return json.loads(self.run("/opt/agent/bin/python3", "-I", "-c", code, env=env).stdout)

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command; it is process 1 of its own namespace."""
        said = {**dict(line.split("=", 1) for line in self.config["Env"]), **(env or {})}
        # Both by their full names, since the container's PATH may lead nowhere.
        drop = (shutil.which("setpriv"), *_DROP, shutil.which("chroot"), f"--userspec={USER}:0", "--groups=", self.root)
        inside = [*(f"{name}={value}" for name, value in said.items()), *map(str, drop), *words]
        process = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", _ENTER, "sh", str(self.root), str(self.volume), *inside],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    @staticmethod
    def signal(process: subprocess.Popen[str], signum: signal.Signals) -> None:
        """Send a signal to process 1."""
        child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        os.kill(int(child), signum)

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()


class Images:
    """buildah with a storage of its own below `place`; images are called `localhost/NAME`."""

    def __init__(self, place: Path) -> None:
        for command in NEEDED:
            if shutil.which(command) is None:
                pytest.skip(f"{command} is not installed")
        self.place = place
        self.buildah = _working_buildah(place)
        self.buildah.seconds = 300

    def build(self, name: str, context: Path, *words: str) -> None:
        """Build a context's Containerfile, with what is here."""
        self.buildah.do(
            *("bud", "--signature-policy", self.buildah.policy, "--isolation", "chroot", "--pull-never"),
            *(*words, "--tag", f"localhost/{name}", context),
        )

    def add(self, name: str, archive: Path) -> None:
        """Make an image with one layer of a tar archive."""
        container = self.buildah.do("from", "scratch")
        self.buildah.do("add", "--quiet", container, archive, "/")
        self.buildah.commit(container, f"localhost/{name}")
        self.buildah.do("rm", container)

    def push(self, name: str, destination: str) -> None:
        """Push an image, with its layers compressed by gzip."""
        options = ["--quiet", "--tls-verify=false", "--signature-policy", self.buildah.policy]
        self.buildah.do("push", *options, f"localhost/{name}", destination)

    def config(self, name: str) -> dict[str, Any]:
        """Return the part of an image's config that says how to run it."""
        about = json.loads(self.buildah.do("inspect", "--type", "image", f"localhost/{name}"))
        config = about["OCIv1"]["config"]
        assert isinstance(config, dict)
        return config

    @contextmanager
    def container(self, name: str, volume: Path) -> Iterator[Container]:
        """Give a container."""
        made = self.buildah.do("from", "--pull-never", f"localhost/{name}")
        running = Container(Path(self.buildah.do("mount", made)), self.config(name), volume)
        try:
            yield running
        finally:
            running.close()
            self.buildah.do("rm", made)


def _working_buildah(place: Path) -> Buildah:
    for driver in ("overlay", "vfs"):
        try:
            return Buildah(place, driver)
        except pytest.skip.Exception as error:
            reason = error.msg
    pytest.skip(reason if os.geteuid() else f"a buildah that works here is not installed: {reason}")


def python_root(archive: Path) -> None:
    """Make a small Debian with Python, from where this machine has its packages, as a tar archive.

    Compiled modules are left out: so come the images that most will build from.
    """
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    codename = release.get("VERSION_CODENAME", "").strip('"')
    listed = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.sources"))]
    sources = [str(path) for path in listed if path.exists() and codename in path.read_text()]
    options = (
        "--quiet",
        "--variant=essential",
        "--include=python3,python3-venv,ca-certificates",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        '--customize-hook=find "$1/usr" -name __pycache__ -prune -exec rm -r {} +',
    )
    done = subprocess.run(
        ["mmdebstrap", *options, codename, str(archive), *sources],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def eventually(condition: Any) -> None:
    """Wait, at most 20 seconds, until something is true."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.05)
