"""Registries that give a list of tags page by page, each in its own way, rightly or not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from agent.store.registry.tag_list import Page

Link = Callable[[str, int], str | None]
"""(last tag of the page, tags that it may have) to the Link header that announces the next page."""


@dataclass
class Pager:
    """A list of tags, asked by address; `asked` are the addresses.

    Attributes:
        tags: in the order in which they are given.
        link: announces the next page.
        cap: tags that one page has at most, whatever is asked for.
        hears_size, hears_last: whether the parameters `n` and `last` are heard.
        announces_always: whether there is a link on the last page, too.
    """

    tags: Sequence[str]
    link: Link = lambda last, size: None
    cap: int | None = None
    hears_size: bool = True
    hears_last: bool = True
    announces_always: bool = False

    def __post_init__(self) -> None:
        self.asked: list[str] = []

    def read(self, url: str, limit: int) -> Page | None:
        self.asked.append(url)
        query = parse_qs(urlsplit(url).query)
        last = query.get("last", [None])[0] if self.hears_last else None
        size = int(query.get("n", ["0"])[0]) if self.hears_size else 0
        size = min(filter(None, (size, self.cap)), default=len(self.tags))
        start = self.tags.index(last) + 1 if last is not None else 0
        now, more = self.tags[start : start + size], self.tags[start + size :]
        has_link = bool(now) and (bool(more) or self.announces_always)
        return Page(json.dumps({"tags": list(now)}).encode(), self.link(now[-1], size) if has_link else None)
