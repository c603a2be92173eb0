"""What people see: units, lines, bars on a terminal, and who they are."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.cli.terminal import report_format
from agent.cli.terminal.progress import Bars, Lines, Silent
from agent.sync.commands.directory_status import Difference
from agent.sync.commands.read_target import ListedPath
from agent.sync.operation.report import ConflictReport, PullReport, PushReport
from tests.cli.conftest import Agent

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 << 10, "1.5 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_are_readable(count: int, text: str) -> None:
    assert report_format.size(count) == text


def test_counts_have_plurals() -> None:
    assert [report_format.counted(count, "path") for count in (0, 1, 1234)] == ["0 paths", "1 path", "1,234 paths"]


def test_ids_and_base_digests_are_cut_alike() -> None:
    assert report_format.short(ID) == report_format.short(f"sha256:{ID}") == "0123456789ab"


def test_summaries_tell_what_moved() -> None:
    pulled = PullReport("t", None, [], paths=3, written=2, removed=1, layers_fetched=1, layers_skipped=4)
    pulled.traffic.requests, pulled.traffic.received = 7, 2048
    assert report_format.pull_summary(pulled, 1.234) == (
        "agent: pulled 3 paths (2 written, 1 removed), 1 layer fetched, 4 skipped, "
        "2.0 KiB received in 7 requests, 1.23 s"
    )
    pushed = PushReport("t", ID, "sha256:0", paths=3, written=1, layer_size=100)
    assert report_format.push_summary(pushed, 12.5) == (
        "agent: pushed 0123456789ab: 1 written, 0 deleted, 0 touched of 3 paths; "
        "a layer of 100 B, 0 B sent in all, 12 s"
    )


def test_a_conflict_names_both_sides_and_who_won() -> None:
    conflict = ConflictReport("a/b", "content", [ID, "f" * 64], ["one", "two"], "f" * 64)
    assert report_format.conflict_line(conflict) == (
        "content conflict at a/b between 0123456789ab (one) and ffffffffffff (two); ffffffffffff wins"
    )


def test_long_listing_looks_like_ls() -> None:
    listed = ListedPath(b"bin/x\x1b", "file", 0o4755, 0, 7, 10, 0, b"", ID, None)
    line = report_format.listed_line(listed, long=True)
    assert line.startswith("-rwsr-xr-x ")
    assert line.endswith(" 0123456789ab bin/x\\x1b")


def test_names_are_values_for_machines() -> None:
    assert report_format.to_json(Difference("added", b"\xff", "file"))["path"] == {"b64": "/w=="}


def test_lines_are_one_for_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.stage("scan")
    lines.advance(2)
    lines.stage("upload", 10, "bytes")
    lines.advance(2048)
    lines.notice("careful\n")
    lines.close()
    lines.close()
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("agent: scan: 2 paths, ")
    assert said[1] == "agent: warning: careful\\n"
    assert said[2].startswith("agent: upload: 2.0 KiB, ")
    assert len(said) == 3


def test_silence_still_warns_and_machines_collect(capsys: pytest.CaptureFixture[str]) -> None:
    collected: list[str] = []
    for display in (Silent(), Silent(collected)):
        display.stage("scan")
        display.advance(1)
        display.notice("careful")
        display.close()
    assert capsys.readouterr().err == "agent: warning: careful\n"
    assert collected == ["careful"]


def test_bars_may_be_closed_before_and_between_stages() -> None:
    bars = Bars()
    bars.close()
    bars.advance(1)
    bars.stage("scan")
    bars.close()
    bars.stage("fetch", 10, "bytes")
    bars.advance(10)
    bars.close()


def test_a_terminal_gets_bars_and_is_left_as_it_was(agent: Agent, layout: str, work: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "agent", "push", layout, str(work)]
    process = subprocess.Popen(command, env={**agent.environ, "TERM": "xterm"}, stderr=theirs)
    os.close(theirs)
    said = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(ours, 1 << 16):
                said.extend(chunk)
        except OSError:
            pass  # the last writer is gone

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(30) == 0
    reader.join(10)
    os.close(ours)
    assert b"scan" in said
    assert said.count(b"\x1b[?25l") == said.count(b"\x1b[?25h")  # the cursor is back
    assert said.split(b"\x1b")[-1].count(b"agent: pushed") == 1


def test_the_default_lane_works_for_a_user_without_a_name() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    script = "from agent.cli.invocation.session import default_lane; print(default_lane())"
    command = ["setpriv", "--reuid=1000700000", "--regid=0", "--clear-groups", sys.executable, "-c", script]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"uid-1000700000@{os.uname().nodename}\n"
