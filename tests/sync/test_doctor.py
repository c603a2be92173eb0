"""What the doctor finds, on stores that are sound and on stores that are not."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agent.core.spelling.digest import Digest
from agent.errors import AgentError, AuthError, RefusedError, TagRefusedError, UnavailableError
from agent.store.port import Ability, ProbeResult
from agent.sync.commands.doctor_report import DoctorReport
from agent.sync.commands.probe_store import doctor
from tests.fakes.contents import write
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.small_registry import Deletes, SmallRegistry
from tests.fakes.workspaces import Workspaces


def verdicts(report: DoctorReport) -> dict[str, str]:
    return {check.name: check.verdict for check in report.checks}


def found(report: DoctorReport, name: str) -> str:
    return next(f"{check.found}; {check.means}" for check in report.checks if check.name == name)


def examine(memory: MemoryWorkspaces, store: MemoryStore | None = None, patience: float = 3.0) -> DoctorReport:
    site = memory.site("a")
    return doctor(site._replace(open_store=lambda _: store or memory.store), patience)


def test_a_sound_store_is_left_as_it_was(memory: MemoryWorkspaces) -> None:
    write(memory.at("a"), b"f", b"f")
    memory.push("a")
    pointers, manifests = dict(memory.store.pointers), dict(memory.store.manifests)
    report = examine(memory)
    assert set(verdicts(report).values()) == {"ok"}
    assert report.exit_code == 0
    assert (memory.store.pointers, memory.store.manifests) == (pointers, manifests)
    assert report.left == ["3 blobs of less than 1 KiB, until garbage is collected"]


def test_a_real_registry_is_sound_and_left_without_a_tag(registry: str, tmp_path: Path) -> None:
    there = Workspaces(tmp_path, f"{registry}/doctor/{uuid.uuid4().hex}:ws")
    report = doctor(there.site("a"), 3.0)
    said = verdicts(report)
    assert report.exit_code == 0
    # This registry cuts a tag's file before it writes it.
    assert said.pop("a tag while it moves") in ("ok", "weak")
    assert set(said.values()) == {"ok"}
    assert "fetch what they need" in found(report, "parts of a blob")
    assert there.site("a").store.tags() == []
    assert report.traffic.requests > 60
    there.close()


def test_a_layout_is_sound_and_one_that_is_not_there_is_not_made(workspaces: Workspaces) -> None:
    report = doctor(workspaces.site("a"), 3.0)
    assert verdicts(report) == {"read": "ok", "write": "unknown"}
    assert not (workspaces.place / "layout").exists()
    write(workspaces.at("a"), b"f", b"f")
    workspaces.push("a")
    tags = workspaces.site("a").store.tags()
    report = doctor(workspaces.site("a"), 3.0)
    assert (set(verdicts(report).values()), report.exit_code) == ({"ok"}, 0)
    assert workspaces.site("a").store.tags() == tags


def refusing(error: Exception, name: str, *, again: bool = False) -> Callable[[str, str], None]:
    """Return a hook that refuses a call, with `again` only the second for one subject."""
    seen: set[str] = set()

    def before(called: str, subject: str) -> None:
        if called == name and (not again or subject in seen):
            raise error
        if called == name:
            seen.add(subject)

    return before


def test_tags_that_never_move_are_a_weakness(memory: MemoryWorkspaces) -> None:
    error = TagRefusedError("the registry does not let this tag move", subject="x", remedy="y")
    report = examine(memory, MemoryStore(refusing(error, "put_manifest", again=True)))
    assert verdicts(report)["moving a tag"] == "weak"
    assert "pulls merge all the same" in found(report, "moving a tag")
    assert report.exit_code == 0


def test_credentials_that_cannot_push_are_said_so(memory: MemoryWorkspaces) -> None:
    store = MemoryStore(refusing(AuthError("no right to push", subject="x", remedy="log in"), "upload"))
    report = examine(memory, store)
    assert verdicts(report) == {"read": "ok", "push": "missing"}
    assert report.exit_code == 20
    assert report.left == []


def test_what_cannot_be_read_is_an_error(memory: MemoryWorkspaces) -> None:
    error = UnavailableError("it is away", subject="x", remedy="try again")
    with pytest.raises(UnavailableError):
        examine(memory, MemoryStore(refusing(error, "get_manifest")))


class LateList(MemoryStore):
    """Its list shows a tag only when it was asked often enough."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def tags(self, prefix: str = "") -> list[str]:
        self.times -= 1
        return [] if self.times >= 0 else super().tags(prefix)


def test_a_list_that_lags_is_measured(memory: MemoryWorkspaces) -> None:
    report = examine(memory, LateList(2))
    assert verdicts(report)["list of tags"] == "weak"
    assert "after about 0.3 s" in found(report, "list of tags")
    assert memory.slept == [0.1, 0.2]


def test_a_list_that_never_shows_a_tag_fails(memory: MemoryWorkspaces) -> None:
    report = examine(memory, LateList(1000), patience=1.0)
    assert verdicts(report)["list of tags"] == "missing"
    assert "--after" in found(report, "list of tags")
    assert report.exit_code == 21


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RefusedError("the registry does not delete images, 405", subject="x", remedy="allow it"), "21: allow it"),
        (AuthError("these credentials may not delete", subject="x", remedy="log in"), "20: log in"),
    ],
)
def test_what_cannot_be_deleted_is_named_and_foreseen(memory: MemoryWorkspaces, error: AgentError, said: str) -> None:
    store = MemoryStore(refusing(error, "delete_manifest"))
    report = examine(memory, store)
    assert verdicts(report)["deleting"] == "weak"
    assert found(report, "deleting") == f"{error.what}; agent prune deletes nothing and ends with exit code {said}"
    (tag,) = store.pointers
    assert report.left[0] == f"the tag {tag}"
    assert report.exit_code == 0


@pytest.mark.parametrize(
    ("deletes", "verdict", "said"),
    [
        ("whole", "ok", "are gone; agent prune works"),
        ("by tag", "ok", "are gone, tag by tag; agent prune works"),
        ("never", "weak", "exit code 21: allow deletion in the registry"),
        ("in name only", "weak", "says that it deleted the image, and it is still there"),
    ],
)
def test_how_a_registry_deletes_is_told(tmp_path: Path, deletes: Deletes, verdict: str, said: str) -> None:
    with closing(SmallRegistry(deletes)) as registry:
        there = Workspaces(tmp_path, f"{registry.address}/doctor:ws")
        report = doctor(there.site("a"), 3.0)
        there.close()
        assert verdicts(report)["deleting"] == verdict
        assert said in found(report, "deleting")
        assert bool(registry.tags("doctor")) is (verdict == "weak")


class Old(MemoryStore):
    """Knows no layers of zstd."""

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> Digest:
        if b"+zstd" in data:
            raise RefusedError("the registry does not take this image, 400", subject="x", remedy="use gzip")
        return super().put_manifest(reference, data, media_type)


def test_a_registry_that_knows_no_zstd_is_told_of_before_the_first_push(memory: MemoryWorkspaces) -> None:
    report = examine(memory, Old())
    assert verdicts(report)["layers of zstd"] == "weak"
    assert "--compression gzip" in found(report, "layers of zstd")
    assert report.exit_code == 0
    assert {said for name, said in verdicts(report).items() if name != "layers of zstd"} == {"ok"}


class Poor(MemoryStore):
    """Offers nothing that can be done without, and answers with gaps."""

    def probe(self, ability: Ability, reference: str) -> ProbeResult:
        if ability == "clock":
            return ProbeResult(True, -90_000)
        return ProbeResult(False, 404)


def test_what_can_be_done_without_is_a_weakness_and_no_failure(memory: MemoryWorkspaces) -> None:
    report = examine(memory, Poor())
    said = verdicts(report)
    assert said["parts of a blob"] == said["mounted blob"] == said["a tag while it moves"] == said["clock"] == "weak"
    assert "90 s behind" in found(report, "clock")
    assert "404" in found(report, "a tag while it moves")
    assert said["referrers"] == said["resumed upload"] == "ok"
    assert report.exit_code == 0
