"""Reads the tags of a repository page by page (distribution-spec, "Listing Tags").

Prune deletes by this list, so a part of it must not pass for the whole. A page of exactly the requested size, or with a
malformed Link header, is followed by a request from its last tag. Repeated pages are an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlencode

from agent.core.spelling.reference import is_tag
from agent.errors import RefusedError
from agent.store.registry.response_links import next_page

_PAGE = 1000
_PAGES = 10_000
_LIST_MAX = 32 << 20
"""Bytes of all pages together; one of our tags takes about a hundred."""
_LIST_SECONDS = 600.0
_RESTARTS = 3
"""How often a list is restarted if its next page is gone: some registries name a page by a tag that must exist."""


class Page(NamedTuple):
    """One page of the list; `link` is the Link header, None without one."""

    body: bytes
    link: str | None


Read = Callable[[str, int], Page | None]
"""(address, most bytes) to a page, None if there is none; raises an error for other responses."""


class TagList:
    """One reading of the tags of a repository.

    Args:
        url: the repository's `…/tags/list`.
        read: reads a page.
        clock: monotonic seconds.
        error: makes the error for a response that no registry would send.
    """

    def __init__(self, url: str, read: Read, clock: Callable[[], float], error: Callable[[str], RefusedError]) -> None:
        self._url = url
        self._read = read
        self._clock = clock
        self._error = error
        self._until = clock() + _LIST_SECONDS
        self._left = _LIST_MAX
        self._pages = 0

    def tags(self) -> set[str]:
        """Return all tags; none for a repository that does not exist.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
        """
        for _ in range(_RESTARTS):
            found = self._all()
            if found is not None:
                return {tag for tag in found if is_tag(tag)}
        raise self._error("pages of its list of tags are gone before they are read")

    def _all(self) -> set[str] | None:
        """Return the tags of all pages, None if a page that was announced is missing."""
        found: set[str] = set()
        seen: set[str] = set()
        size, is_announced = _PAGE, False
        url = self._page_address(size)
        while True:
            page = self._page(url)
            if page is None:
                return None if is_announced else found
            listed = self._parse(page.body)
            if seen and listed and found.issuperset(listed) and (is_announced or len(listed) <= size):
                raise self._error("its list of tags goes round in circles")
            found.update(listed)
            seen.add(url)
            following = next_page(page.link, url)
            is_announced = following.address is not None
            if following.address is not None:
                url, size = following.address, _PAGE
            elif listed and (following.exists or len(listed) == size):
                # One less: a longer page than this shows that the registry ignores the size and returned everything.
                size = _PAGE - 1
                url = self._page_address(size, listed[-1])
            else:
                return found
            if url in seen:
                raise self._error("its list of tags goes round in circles")

    def _page(self, url: str) -> Page | None:
        self._pages += 1
        if self._pages > _PAGES or self._clock() > self._until:
            raise self._error("its list of tags does not end")
        page = self._read(url, self._left)
        self._left -= len(page.body) if page else 0
        if self._left < 0:
            raise self._error(f"its list of tags is larger than {_LIST_MAX >> 20} MiB")
        return page

    def _parse(self, body: bytes) -> list[str]:
        try:
            found = json.loads(body).get("tags") or []
            if isinstance(found, list) and all(isinstance(tag, str) for tag in found):
                return found
        except (ValueError, AttributeError, RecursionError):
            pass
        raise self._error("its list of tags is unreadable")

    def _page_address(self, size: int, last: str | None = None) -> str:
        return f"{self._url}?{urlencode({'n': size} if last is None else {'n': size, 'last': last})}"
