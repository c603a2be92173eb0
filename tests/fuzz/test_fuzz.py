"""Every reader of bytes that others made: a result or a declared error, in bounded time and memory (issue 8, item 4).

By default a fixed number of inputs, the same each time, a third of them in a plain run. With INSTEP_SOAK set
(`make soak`), each target searches for so many seconds, guided by the lines that it reaches. What a reader once got
wrong lies in `corpus` and is tried each time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import IntegrityError
from tests.fakes.soaking import SEED, SOAK, some
from tests.fuzz import search
from tests.fuzz.mutate import bytewise
from tests.fuzz.search import Search, Target
from tests.fuzz.targets import images, layers, memory, tars, words

TARGETS = {target.name: target for module in (tars, layers, images, memory, words) for target in module.TARGETS}
FOUND = [(name, path.name) for name, target in TARGETS.items() for path in target.corpus()]


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_right_is_taken(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    assert seeds and all(target.check(seed) for seed in seeds)


@pytest.mark.parametrize(("name", "file"), FOUND)
def test_what_was_once_answered_wrongly_is_answered_rightly(name: str, file: str) -> None:
    TARGETS[name].check((search.CORPUS / name / file).read_bytes())


def test_the_corpus_holds_nothing_of_unknown_targets() -> None:
    assert {path.name for path in search.CORPUS.iterdir()} <= set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.soak
@pytest.mark.timeout(max(120, 2 * SOAK + 60))
def test_whatever_comes_is_read_or_refused(name: str) -> None:
    target = TARGETS[name]
    if not SOAK:
        tried = Search(target, seed=0)
        tried.run(some(target.tries))
        assert tried.taken < tried.tried or not target.may_raise  # the changes do change something
        return
    tried = Search(target, seed=SEED)
    print(f"{name}: seed {tried.seed}")
    tried.explore(SOAK)
    print(f"{name}: {tried.tried} inputs tried, {tried.taken} taken, {len(tried.pool)} kept to go on from")


def _brittle(data: bytes) -> None:
    if data.startswith(b"ab"):
        raise KeyError("x")
    if data.startswith(b"a"):
        raise IntegrityError("not right", subject="it", remedy="another one")


def test_a_reader_that_breaks_is_found_and_the_input_is_kept_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "CORPUS", tmp_path)
    target = Target("brittle", _brittle, lambda: [b"a----------"], bytewise(b"b"), (IntegrityError,))
    with pytest.raises(AssertionError, match=r"brittle: KeyError: .*\nseed 5, kept in"):
        Search(target, seed=5).run(10_000)
    (kept,) = target.corpus()
    assert kept.read_bytes() == b"ab"
    with pytest.raises(AssertionError, match="KeyError"):
        Search(target, seed=5).explore(20)


def _endless(data: bytes) -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("run", "words"), [(_endless, "TimeoutError"), (lambda data: bytes(2 * search.MEMORY), "MemoryError")]
)
def test_a_reader_that_takes_too_much_is_found(
    run: Callable[[bytes], object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SECONDS", 0.2)
    with pytest.raises(AssertionError, match=words):
        Target("greedy", run, lambda: [b""], bytewise()).check(b"")
