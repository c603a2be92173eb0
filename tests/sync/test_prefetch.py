"""Reads ahead: in parallel, in order, errors where they are asked for."""

from __future__ import annotations

import threading

import pytest

from agent.sync.contents.prefetch import AT_ONCE, prefetched, read_all

pytestmark = pytest.mark.timeout(30)


def test_reads_are_under_way_at_the_same_time_and_answers_come_in_order() -> None:
    together = threading.Barrier(AT_ONCE)

    def read(key: int) -> int:
        together.wait(10)
        return key * 2

    keys = list(range(AT_ONCE))
    assert read_all(keys, read) == [key * 2 for key in keys]
    with prefetched(keys, read) as take:
        assert [take(key) for key in keys] == [key * 2 for key in keys]


def test_one_read_needs_no_thread() -> None:
    assert read_all([1], lambda key: threading.current_thread()) == [threading.current_thread()]
    with prefetched(["alone"], lambda key: pytest.fail("read ahead")) as take:
        assert take("alone") is None


def test_what_was_read_ahead_is_given_out_once() -> None:
    with prefetched("ab", str.upper) as take:
        assert [take(key) for key in "abax"] == ["A", "B", None, None]
    with prefetched("ab", str.upper) as take:
        pass
    assert take("a") is None  # what is asked for later is read then


def test_an_error_comes_where_its_answer_is_asked_for() -> None:
    def read(key: str) -> str:
        if key == "b":
            raise KeyError(key)
        return key

    with prefetched("abc", read) as take:
        assert take("a") == "a"
        with pytest.raises(KeyError, match="b"):
            take("b")
        assert take("c") == "c"
    with pytest.raises(KeyError, match="b"):
        read_all("abc", read)


def test_leaving_early_reads_no_more() -> None:
    started: list[int] = []
    release = threading.Event()

    def read(key: int) -> int:
        started.append(key)
        release.wait(10)
        return key

    with prefetched(range(100), read):
        threading.Timer(0.5, release.set).start()
    assert len(started) <= AT_ONCE
