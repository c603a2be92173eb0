"""The command line as a user id without a name, a home or any privilege: what many clusters run containers as."""

from __future__ import annotations

import ctypes
import importlib
import os
import pickle
import pkgutil
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import agent

# The agent is imported before the privilege goes, because the checkout may lie where others cannot read. A process
# that changed its user may not look into /proc/self until it says so, other than one that was started by that user.
_RUN = """
import ctypes, os, sys
from tests.fakes.stranger import import_agent
import_agent()
import watchdog.observers.inotify_c, oras.provider
uid = int(sys.argv.pop(1))
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
from agent.__main__ import main
main()
"""


class Stranger:
    """A user id that nobody has, the `number`th of this process. `place` is a directory of its own; its home is not."""

    def __init__(self, number: int = 0) -> None:
        self.uid = 500_000 + os.getpid() + number * 5_000_000
        self.place = Path(tempfile.mkdtemp(prefix="stranger-"))
        self.state = Path(f"/tmp/instep-{self.uid}")
        self.own(self.place)

    def own(self, path: Path) -> None:
        """Give a directory and all below it to the stranger."""
        for _, directories, files, fd in os.fwalk(path):
            for name in [".", *directories, *files]:
                about = os.stat(name, dir_fd=fd, follow_symlinks=False)
                os.chown(name, self.uid, self.uid, dir_fd=fd, follow_symlinks=False)
                if not stat.S_ISLNK(about.st_mode):
                    os.chmod(name, about.st_mode & 0o7777, dir_fd=fd)  # giving it away cleared setuid and setgid
                os.utime(name, ns=(about.st_atime_ns, about.st_mtime_ns), dir_fd=fd, follow_symlinks=False)

    def agent(
        self, *words: str | Path, exits: int = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(self.uid), *map(str, words)],
            cwd="/",
            env={
                "PATH": os.environ["PATH"],
                "HOME": "/nowhere",
                "LANG": "C.UTF-8",
                "PYTHONPATH": _checkout(),
                **(env or {}),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == exits, f"{words} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def call(self, act: Callable[[], Any]) -> Any:
        """Return what `act` returns in a child process that is the stranger; what it raises ends the test."""
        import_agent()
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads; the child makes its own
            child = os.fork()
        if child == 0:
            os.close(read)
            try:
                os.setgroups([])
                os.setresgid(self.uid, self.uid, self.uid)
                os.setresuid(self.uid, self.uid, self.uid)
                ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as in _RUN
                with os.fdopen(write, "wb") as pipe:
                    pickle.dump(act(), pipe)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        assert data, "the stranger failed"
        return pickle.loads(data)

    def close(self) -> None:
        shutil.rmtree(self.place)
        shutil.rmtree(self.state, ignore_errors=True)


def import_agent() -> None:
    """Import all of the agent, what its commands import late included."""
    for module in pkgutil.walk_packages(agent.__path__, "agent."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _checkout() -> str:
    return str(Path(__file__).parent.parent.parent)
