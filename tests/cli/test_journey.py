"""A workspace's day, with the real command on a real store."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Agent


def test_what_is_pushed_is_pulled_elsewhere(agent: Agent, target: str, work: Path) -> None:
    assert "pushed" in agent("push", target, work).stderr
    other = work.with_name("other")
    assert "4 paths" in agent("pull", target, other).stderr
    assert (other / "src" / "main.c").read_text() == "int main;\n"
    assert os.readlink(other / "link") == "README"
    assert (other / "README").stat().st_mtime_ns == (work / "README").stat().st_mtime_ns


def test_changes_go_there_and_back(agent: Agent, target: str, work: Path) -> None:
    other = work.with_name("other")
    agent("push", target, work)
    agent("pull", target, other)
    (other / "src" / "main.c").unlink()
    (other / "src" / "new.c").write_text("new\n")
    agent("push", target, other, "-m", "replace main")
    agent("pull", target, work)
    assert sorted(os.listdir(work / "src")) == ["new.c"]


def test_a_push_of_nothing_publishes_nothing(agent: Agent, target: str, work: Path) -> None:
    agent("push", target, work)
    again = agent.json("push", target, work)
    assert again["id"] is None
    assert again["traffic"]["sent"] == 0
    assert "nothing to push" in agent("push", target, work).stderr
    assert len(agent.json("log", target)["changes"]) == 1


def test_a_dry_run_publishes_nothing(agent: Agent, target: str, work: Path) -> None:
    said = agent.json("push", target, work, "--dry-run")
    assert (said["dry_run"], said["id"], said["written"]) == (True, None, 4)
    agent("log", target, exits=12)


def test_status_tells_as_git_would(agent: Agent, layout: str, work: Path) -> None:
    agent("push", layout, work)
    assert agent("status", work).stdout.endswith("nothing changed\n")
    (work / "README").write_text("read me again\n")
    (work / "src" / "main.c").unlink()
    (work / "new").mkdir()
    (work / "new" / "odd\nname").touch()
    os.utime(work / "link", ns=(5, 5), follow_symlinks=False)
    lines = agent("status", work).stdout.splitlines()
    assert lines[0].startswith(f"{layout} at ")
    assert lines[1:] == [
        "M  README  (content, mtime)",
        "T  link  (mtime)",
        "A  new/",
        "A  new/odd\\nname",
        "D  src/main.c",
    ]


def test_status_works_without_the_registry(agent: Agent, layout: str, work: Path, tmp_path: Path) -> None:
    agent("push", layout, work)
    shutil.rmtree(tmp_path / "layout")
    assert agent.json("status", work)["differences"] == []


def test_status_of_a_directory_that_was_never_pulled_is_diverged(agent: Agent, work: Path) -> None:
    done = agent("status", work, exits=11)
    assert "nothing was pulled" in done.stderr
    assert not (agent.place / "state").exists()


def test_log_tells_who_when_and_what(agent: Agent, target: str, work: Path) -> None:
    agent("push", target, work, "-m", "first\nand more", "--lane", "run/one", "--attempt", "0")
    (work / "README").unlink()
    agent("push", target, work, "-m", "second", "--lane", "run/two", "--annotation", "ticket=42")
    lines = agent("log", target).stdout.splitlines()
    assert len(lines) == 2
    assert "run/two" in lines[0]
    assert "+0 -1" in lines[0]
    assert lines[0].endswith("second")
    assert "run/one #0" in lines[1]
    assert lines[1].endswith("first")
    newest, oldest = agent.json("log", target)["changes"]
    assert newest["parents"] == [oldest["id"]]
    assert newest["annotations"] == {"ticket": "42"}
    assert lines[0].startswith(newest["id"][:12] + "  ")


def test_diff_shows_the_newest_change_and_any_two(agent: Agent, target: str, work: Path) -> None:
    agent("push", target, work)
    (work / "README").chmod(0o600)
    agent("push", target, work)
    shutil.rmtree(work / "src")
    agent("push", target, work)
    assert agent("diff", target).stdout.splitlines() == ["D  src/", "D  src/main.c"]
    ids = [change["id"] for change in agent.json("log", target)["changes"]]
    assert agent("diff", target, ids[2], ids[1][:8]).stdout == "M  README  (mode)\n"
    assert len(agent.json("diff", target, ids[2])["differences"]) == 3
    assert len(agent.json("diff", target, ids[0], ids[2])["differences"]) == 3


def test_ls_lists_all_or_what_is_named(agent: Agent, target: str, work: Path) -> None:
    agent("push", target, work)
    assert agent("ls", target).stdout.splitlines() == ["README", "link", "src/", "src/main.c"]
    assert agent("ls", target, "src/").stdout.splitlines() == ["src/", "src/main.c"]
    long = agent("ls", "-l", target, "link").stdout
    assert long.startswith("lrwxrwxrwx")
    assert long.endswith(" link -> README\n")


def test_ls_and_cat_show_an_older_change(agent: Agent, target: str, work: Path) -> None:
    first = agent.json("push", target, work)["id"]
    (work / "README").write_text("other\n")
    agent("push", target, work)
    assert agent("cat", target, "README").stdout == "other\n"
    assert agent("cat", target, "README", "--at", first[:10]).stdout == "read me\n"
    agent("cat", target, "README", "--at", "f00", exits=2)


def test_cat_of_what_is_no_file_is_a_usage_error(agent: Agent, layout: str, work: Path) -> None:
    agent("push", layout, work)
    for path in ("src", "link", "nothing", "../README", ""):
        agent("cat", layout, path, exits=2)


def test_names_that_are_not_utf8_are_shown_and_kept(agent: Agent, layout: str, work: Path) -> None:
    odd = os.path.join(os.fsencode(work), b"a\xffb")
    Path(os.fsdecode(odd)).write_bytes(b"\xfe")
    agent("push", layout, work)
    assert "a\\xffb" in agent("ls", layout).stdout
    assert {"b64": "Yf9i"} in [row["path"] for row in agent.json("ls", layout)["paths"]]
    assert agent.json("cat", layout, os.fsdecode(b"a\xffb"))["content"] == {"b64": "/g=="}


def test_a_sparse_pull_takes_what_matches(agent: Agent, target: str, work: Path) -> None:
    agent("push", target, work)
    other = work.with_name("other")
    said = agent.json("pull", target, other, "--path", "src")
    assert (said["paths"], said["unselected"]) == (2, 2)
    assert sorted(os.listdir(other)) == ["src"]


def test_a_pull_at_an_older_change_brings_it_back(agent: Agent, target: str, work: Path) -> None:
    first = agent.json("push", target, work)["id"]
    (work / "README").unlink()
    agent("push", target, work)
    other = work.with_name("other")
    agent("pull", target, other, "--at", first[:12])
    assert (other / "README").exists()


def test_a_workspace_starts_from_a_base(agent: Agent, tmp_path: Path, work: Path) -> None:
    agent("push", f"oci:{tmp_path}/bases:tools", work)
    target, other = f"oci:{tmp_path}/layout:ws", tmp_path / "other"
    agent("pull", target, other, "--base", f"oci:{tmp_path}/bases:tools")
    (other / "more").write_text("more\n")
    agent("push", target, other)
    third = tmp_path / "third"
    agent("pull", target, third)
    assert sorted(os.listdir(third)) == ["README", "link", "more", "src"]


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_every_compression_comes_back(agent: Agent, layout: str, work: Path, compression: str) -> None:
    agent("push", layout, work, "--compression", compression)
    agent("pull", layout, work.with_name("other"))
    assert (work.with_name("other") / "README").read_text() == "read me\n"


def test_the_directory_defaults_to_here(agent: Agent, layout: str, work: Path) -> None:
    agent.place = work
    agent("push", layout)
    assert agent("status").stdout.endswith("nothing changed\n")


def test_the_state_can_be_kept_elsewhere(agent: Agent, layout: str, work: Path, tmp_path: Path) -> None:
    agent("push", layout, work, "--state", tmp_path / "mine")
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o700
    agent("status", work, "--state", tmp_path / "mine")
    agent("status", work, exits=11)


def test_a_relative_layout_is_the_same_from_everywhere(agent: Agent, work: Path) -> None:
    agent("push", "oci:layout:ws", "work")
    agent.place = work
    assert agent.json("push", "oci:../layout:ws", ".")["id"] is None


def test_quiet_says_nothing_and_plain_lines_end_with_a_summary(agent: Agent, layout: str, work: Path) -> None:
    assert agent("push", layout, work, "--quiet").stderr == ""
    said = agent("pull", layout, work.with_name("other"))
    assert said.stdout == ""
    assert all(line.startswith("agent: ") for line in said.stderr.splitlines())
    assert said.stderr.splitlines()[-1].startswith("agent: pulled 4 paths (")


def test_warnings_reach_machines_in_the_object(agent: Agent, layout: str, tmp_path: Path) -> None:
    said = agent.json("pull", "--create", layout, tmp_path / "empty")
    assert any("starts empty" in notice for notice in said["notices"])
    json.dumps(said)
