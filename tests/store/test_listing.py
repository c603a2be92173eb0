"""A list of tags is whole, or an error: whatever a registry makes of pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import RefusedError
from agent.store.registry import tag_list
from agent.store.registry.tag_list import Page, TagList
from tests.fakes.pager import Link, Pager
from tests.fakes.proxy import Fault, FaultProxy, Seen
from tests.store.conftest import Open

URL = "https://reg.example/v2/team/ws/tags/list"
PATH = "/v2/team/ws/tags/list"
SIZE = 8
LINKS: dict[str, Link] = {
    "none": lambda last, size: None,
    "as it should be": lambda last, size: f'<{PATH}?last={last}&n={size}>; rel="next"',
    "without rel": lambda last, size: f"<{PATH}?last={last}&n={size}>",
    "of http": lambda last, size: f'<http://reg.example{PATH}?last={last}&n={size}>; rel="next"',
    "of a host inside": lambda last, size: f'<http://registry:5000{PATH}?last={last}&n={size}>; rel="next"',
    "of another path": lambda last, size: f'</proxied/v2/ws/tags/list?last={last}&n={size}>; rel="next"',
    "the parameters": lambda last, size: f"<?n={size}&last={last}>; rel=next",
    "bare": lambda last, size: f'{PATH}?last={last}&n={size}; rel="next"',
    "empty": lambda last, size: "",
    "empty in brackets": lambda last, size: '<>; rel="next"',
    "without last": lambda last, size: f'<{PATH}?n={size}>; rel="next"',
    "of two": lambda last, size: f'<{PATH}?n={size}>; rel="first", <{PATH}?last={last}&n={size}>; rel="next"',
}
HELPLESS = {"none", "empty", "empty in brackets", "without last"}
"""What does not tell the next page."""


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tag_list, "_PAGE", SIZE)
    yield


def read(read: Callable[[str, int], Page | None]) -> set[str]:
    return TagList(URL, read, lambda: 0.0, lambda what: RefusedError(what, subject="reg", remedy="look")).tags()


def tags(count: int) -> list[str]:
    return [f"t{number:03}" for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE - 1, 2 * SIZE, 3 * SIZE + 2, 100])
@pytest.mark.parametrize("link", LINKS)
def test_a_registry_that_pages_is_read_to_the_end(link: str, count: int) -> None:
    pager = Pager(tags(count), LINKS[link])
    assert read(pager.read) == set(tags(count))
    assert len(pager.asked) <= count // (SIZE - 1) + 2


@pytest.mark.parametrize("cap", [1, 3, SIZE - 1])
@pytest.mark.parametrize("link", sorted(LINKS.keys() - {"none"}))
def test_a_registry_with_smaller_pages_than_asked_for_is_read_to_the_end(link: str, cap: int) -> None:
    pager = Pager(tags(3 * SIZE), LINKS[link], cap=cap)
    assert read(pager.read) == set(tags(3 * SIZE))


@pytest.mark.parametrize("count", [1, SIZE - 1, SIZE, SIZE + 1, 5 * SIZE])
def test_a_registry_that_hears_no_size_gives_all_at_once(count: int) -> None:
    pager = Pager(tags(count), hears_size=False, hears_last=False)
    assert read(pager.read) == set(tags(count))
    assert len(pager.asked) == (2 if count == SIZE else 1)


@pytest.mark.parametrize("link", LINKS.keys())
def test_a_registry_whose_pages_repeat_is_refused(link: str) -> None:
    with pytest.raises(RefusedError, match="circles"):
        read(Pager(tags(3 * SIZE), LINKS[link], hears_last=False).read)


@given(
    st.integers(0, 40),
    st.sampled_from(sorted(LINKS)),
    st.none() | st.integers(1, 10),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_list_is_whole_or_an_error(
    count: int, link: str, cap: int | None, size: bool, last: bool, always: bool, chance: object
) -> None:
    names = tags(count)
    chance.shuffle(names)  # type: ignore[attr-defined]
    pager = Pager(names, LINKS[link], cap, size, last, always)
    if link == "none" and cap is not None and cap < SIZE:
        return  # nothing tells that there is more
    try:
        found = read(pager.read)
    except RefusedError:
        assert not last or always
    else:
        assert found == set(names)


def test_a_page_that_is_gone_before_it_is_read_begins_the_list_anew() -> None:
    """Some registries know a page by a tag, which may be deleted meanwhile."""
    names, gone = tags(20), [True]

    def page(url: str, limit: int) -> Page | None:
        if "last=t007" in url and gone[0]:
            gone[0] = False
            names.remove("t007")
            return None
        return Pager(names, LINKS["as it should be"]).read(url, limit)

    assert read(page) == set(tags(20)) - {"t007"}
    with pytest.raises(RefusedError, match="gone"):
        read(lambda url, limit: None if "last=" in url else Pager(tags(20), LINKS["as it should be"]).read(url, limit))


def test_nothing_there_is_an_empty_list() -> None:
    assert read(lambda url, limit: None) == set()


def test_names_that_are_no_tags_are_left_out_and_asked_on_from() -> None:
    names = [*tags(SIZE - 1), "no tag!", *(f"u{name}" for name in tags(3))]
    assert read(Pager(names).read) == set(names) - {"no tag!"}


# Through HTTP


@pytest.mark.parametrize("link", sorted(LINKS.keys() - HELPLESS))
def test_pages_are_read_where_the_list_is(open_at: Open, web: FaultProxy, link: str) -> None:
    """No other host hears of it, whatever the registry says that it is called."""

    def page(seen: Seen) -> Fault:
        found = Pager(tags(20), LINKS[link]).read(seen.path, 0)
        assert found is not None
        assert seen.path.startswith(PATH + "?")
        return Fault(200, {} if found.link is None else {"Link": found.link}, found.body)

    web.add_rule(page)
    assert open_at(f"{web.address}/team/ws").tags() == tags(20)
    assert web.count() == 3


def test_several_headers_are_one(open_at: Open, web: FaultProxy) -> None:
    body = json.dumps({"tags": ["a"]}).encode()
    raw = b"HTTP/1.1 200 OK\r\nLink: <x?last=z>; rel=prev\r\nLink: <?last=a>; rel=next\r\nContent-Length: %d\r\n\r\n"
    web.on("GET", "n=8", Fault(raw=lambda: iter([raw % len(body) + body])))
    web.on("GET", "last=a", Fault(200, body=b'{"tags":["b"]}'))
    assert open_at(f"{web.address}/team/ws").tags() == ["a", "b"]
