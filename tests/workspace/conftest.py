"""What the tests of the directory share: an open root, what stands in one, and other users."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.core.model.entry import Kind, Node
from agent.workspace.filesystem.root import Root, open_root
from agent.workspace.scan.path_reader import examine, hash_content
from agent.workspace.scan.tree_walk import TreeWalk

STRANGER = 61234


def refuse_warning(path: bytes, why: str) -> None:
    raise AssertionError(f"{path!r}: {why}")


def tree_of(root: Root) -> dict[bytes, Node]:
    """Everything below a root, with hashes of contents."""
    tree = {}
    for found in TreeWalk(root, refuse_warning):
        node = examine(root, found)
        if node.kind is Kind.FILE:
            node = node._replace(sha256=hash_content(root, found))
        tree[found.path] = node
    return tree


@pytest.fixture
def root(tmp_path: Any) -> Iterator[Root]:
    with open_root(tmp_path / "root", create=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def read_tree() -> Callable[[Root], dict[bytes, Node]]:
    return tree_of


@pytest.fixture
def strangers_directory() -> Iterator[str]:
    """A directory that a user without any privilege owns."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    path = tempfile.mkdtemp(prefix="workspace-")
    os.chown(path, STRANGER, STRANGER)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def as_stranger() -> Callable[..., Any]:
    """Calls a function in a child process that runs as that user; returns or raises what it does."""

    def call(act: Callable[[], Any]) -> Any:
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads; this child only makes calls
            child = os.fork()
        if child == 0:
            os.close(read)
            try:
                os.setgroups([])
                os.setresgid(STRANGER, STRANGER, STRANGER)
                os.setresuid(STRANGER, STRANGER, STRANGER)
                outcome: tuple[str, Any] = "returned", act()
            except BaseException as error:
                facts = (getattr(error, "what", str(error)), getattr(error, "subject", ""))
                outcome = "raised", (type(error), facts)
            try:
                with os.fdopen(write, "wb") as pipe:
                    pickle.dump(outcome, pipe)
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        how, value = pickle.loads(data)
        if how == "returned":
            return value
        kind, (what, subject) = value
        try:
            raise kind(what, subject=subject, remedy="see the child")
        except TypeError:
            raise kind(what) from None

    return call
