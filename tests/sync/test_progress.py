"""What is shown of an upload is what the workspace holds, however often the upload begins again."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

import agent.sync.upload.pack_layer
from agent.cli.terminal.progress import Lines
from agent.errors import MissingBlobError
from agent.sync.operation.options import PushOptions
from agent.sync.push_steps.push_directory import push
from tests.fakes.contents import noise, write
from tests.fakes.hurried import HurriedWorkspaces
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.proxy import Fault, FaultProxy, Seen

SIZE = 3 << 20


@pytest.mark.parametrize("faults", [0, 1, 3])
@pytest.mark.parametrize(
    "fault", [Fault(cut_request=1 << 20), Fault(429, {"Retry-After": "0"}), Fault(lose_answer=True)]
)
def test_an_upload_that_begins_again_is_counted_once(
    registry: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Fault,
    faults: int,
) -> None:
    monkeypatch.setattr(agent.sync.upload.pack_layer, "BUFFERED", 1 << 20)
    with FaultProxy(registry) as proxy:
        there = HurriedWorkspaces(place, f"{proxy.address}/progress/{uuid.uuid4().hex}:ws")
        write(there.at("a"), b"big", noise(SIZE))
        proxy.on("PATCH", "", fault, times=faults)
        shown = Lines()
        push(there.site("a")._replace(progress=shown), PushOptions(lane="a"))
        shown.close()
        assert proxy.count("PATCH") == 1 + faults
        there.close()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "upload" in line]
    assert line.startswith("agent: read and upload: 3.0 MiB")


def test_an_upload_in_pieces_is_counted_once(
    registry: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(agent.sync.upload.pack_layer, "BUFFERED", 1 << 20)

    def limit(seen: Seen) -> Fault | None:
        is_much = "Transfer-Encoding" in seen.headers or int(seen.headers.get("Content-Length") or 0) > 1 << 20
        return Fault(413) if is_much else None

    with FaultProxy(registry) as proxy:
        proxy.add_rule(limit)
        there = HurriedWorkspaces(place, f"{proxy.address}/progress/{uuid.uuid4().hex}:ws")
        write(there.at("a"), b"big", noise(SIZE))
        shown = Lines()
        push(there.site("a")._replace(progress=shown), PushOptions(lane="a"))
        shown.close()
        there.close()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "upload" in line]
    assert line.startswith("agent: read and upload: 3.0 MiB")


def test_a_layer_that_is_packed_anew_is_a_stage_of_its_own(
    memory: MemoryWorkspaces, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where the changes below it were pruned meanwhile."""
    write(memory.at("a"), b"one", b"1" * 1000)
    memory.push("a")
    write(memory.at("a"), b"two", b"2" * 1000)
    left = [5]

    def refuse(name: str, subject: str) -> None:
        if name == "put_manifest" and left[0] > 0:
            left[0] -= 1
            raise MissingBlobError("it is gone", subject=subject, remedy="push again")

    store = memory.store
    assert isinstance(store, MemoryStore)
    store.before = refuse
    shown = Lines()
    push(memory.site("a")._replace(progress=shown), PushOptions(lane="a"))
    shown.close()
    lines = [line.rpartition(",")[0] for line in capsys.readouterr().err.splitlines() if "upload" in line]
    assert lines == ["agent: read and upload: 1000 B"] * 2
