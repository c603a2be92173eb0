"""The image that a workspace starts from when it starts empty."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.contents import write
from tests.images.container import Container, Images
from tests.interop.tools import Skopeo

pytestmark = pytest.mark.timeout(600)
STATE = ("--state", "/volume/state")


@pytest.fixture
def pushed(images: Images, registry: str) -> str:
    reference = f"{registry}/images/base:1"
    images.push("base", f"docker://{reference}")
    return reference


def test_a_workspace_starts_from_it_empty(container: Container, registry: str, pushed: str) -> None:
    target = f"{registry}/images/from-base:ws"
    container("pull", *STATE, "--base", pushed, target, "/volume/a")
    assert list((container.volume / "a").iterdir()) == []
    write(bytes(container.volume / "a"), b"first", b"1")
    container("push", *STATE, target, "/volume/a")
    assert container("ls", target).stdout == "first\n"
    [change, base] = json.loads(container("log", "--json", target).stdout)["changes"]
    assert (change["written"], base["written"]) == (1, 0)


def test_others_copy_it_to_a_mirror_and_its_digest_stays(
    skopeo: Skopeo, registry: str, pushed: str, tmp_path: Path
) -> None:
    mirror = f"{registry}/mirror/base:1"
    skopeo.copy(f"docker://{pushed}", f"docker://{mirror}", "--preserve-digests")
    assert skopeo.inspect(f"docker://{mirror}")["Digest"] == skopeo.inspect(f"docker://{pushed}")["Digest"]
    skopeo.copy(f"docker://{mirror}", f"oci:{tmp_path}/layout:base")
