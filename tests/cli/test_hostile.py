"""Hostile images on the command line: an exit code, one line, and nothing left behind."""

from __future__ import annotations

from contextlib import closing

import pytest

from agent.core.spelling.reference import parse_reference
from agent.store import StoreOptions, open_store
from tests.cli.conftest import Agent
from tests.fakes.hostile_images import images
from tests.fakes.plain import put_image
from tests.fakes.sentinel import Sentinel

ENDS = {
    "dots": 31,
    "the root as a link": 31,
    "an absolute whiteout": 0,
    "an absolute name": 0,
    "a hard link to elsewhere": 31,
    "a hard link to an absolute name": 30,
    "a negative size": 30,
    "links that circle, in one layer": 31,
    "a file through a link, in one layer": 0,
    "names that a terminal would obey": 0,
}


@pytest.mark.sweep(2)
@pytest.mark.parametrize("name", ENDS)
def test_a_hostile_image_ends_in_its_code(agent: Agent, registry: str, name: str) -> None:
    sentinel = Sentinel(agent.place)
    (agent.place / "ws").mkdir()
    target = f"{registry}/cli/hostile-{list(ENDS).index(name)}:t"
    reference = parse_reference(target)
    with closing(open_store(reference, StoreOptions())) as store:
        put_image(store, "t", images(bytes(sentinel.path))[name])
    done = agent("pull", target, "ws", exits=ENDS[name], env={"INSTEP_STATE": str(agent.place / "ws-state")})
    assert sentinel.changes() == {}
    assert "\x1b" not in done.stderr
    if ENDS[name]:
        assert done.stderr.splitlines()[-1].startswith("agent: error: ")
        assert list((agent.place / "ws").iterdir()) == []
