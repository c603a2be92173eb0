"""Random generations of a workspace, from one directory to others: whatever a task does, all see the same."""

from __future__ import annotations

import os
import random
import shutil

import pytest

from tests.fakes.contents import write
from tests.fakes.edits import Editor
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces


@pytest.mark.sweep(2)
@pytest.mark.parametrize("number", range(8))
def test_every_generation_arrives_on_top_and_anew(workspaces: Workspaces, number: int) -> None:
    # The first half is the same in every run, the others look for what nobody thought of.
    seed = number if number < 4 else int.from_bytes(os.urandom(4), "little")
    play(workspaces, seed)


def play(workspaces: Workspaces, seed: int) -> None:
    chance = random.Random(seed)
    shots = []
    write(workspaces.at("a"), b"first", b"first")
    workspaces.push("a")
    workspaces.pull("b")
    for generation in range(chance.randint(4, 6)):
        writer, reader = ("a", "b") if chance.random() < 0.6 else ("b", "a")
        editor = Editor(workspaces.at(writer), chance)
        editor.edit(chance.choice([1, 3, 10, 25]))
        said = f"seed {seed}, generation {generation}, {writer} did {editor.log}"
        compression = chance.choice(["zstd", "gzip", "none"])
        differs = bool(workspaces.changed(writer))
        report = workspaces.push(writer, compression=compression, allow_empty=True)
        assert (report.id is not None) == differs, said
        written = snapshot(workspaces.at(writer), directory_mtimes=False)
        if report.id is not None:
            shots.append((report.id, written))
        shutil.rmtree(workspaces.at("c"))
        shutil.rmtree(workspaces.place / ".state-c", ignore_errors=True)
        for there in (reader, "c"):
            workspaces.pull(there)
            there_now = snapshot(workspaces.at(there), directory_mtimes=False)
            assert unlike(written, there_now) == {}, f"{said}, {there} differs"
        for name in ("a", "b", "c"):
            assert workspaces.changed(name) == [], said
            assert workspaces.push(name).id is None, said
    for id_, then in chance.sample(shots, min(2, len(shots))):
        workspaces.pull("a", at=id_)
        assert unlike(then, snapshot(workspaces.at("a"), directory_mtimes=False)) == {}, f"seed {seed}, back at {id_}"
