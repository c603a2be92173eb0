"""Which page or upload a registry means by the addresses in its answers (RFC 8288, distribution-spec). Pure.

docs/decisions/what-a-registry-means.md says why.

A registry behind a proxy often does not know its own name: it says http where it is reached over TLS, another port, a
host inside its network, a path with a prefix or without. What can mean nothing but the list or the upload at hand is
taken as that, at the address that was asked: scheme, host, port and repository are ours, so that nothing goes anywhere
else, and only what tells pages and uploads apart is the registry's.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, urljoin, urlsplit, urlunsplit

_LIST = "/tags/list"
_UPLOADS = "/blobs/uploads/"
# Each byte of a header can be taken in one way only: what a hostile registry sends takes time in proportion.
_TARGET = re.compile(r"<([^<>]*)>([^<>]*)")
_BARE = re.compile(r"([^;<>]*)(.*)", re.DOTALL)
_RELATION = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^";,\s]*))', re.IGNORECASE)


class NextPage(NamedTuple):
    """What an answer says of the next page: whether there is one, and its address, None if that is not told."""

    exists: bool
    address: str | None = None


def next_page(link: str | None, asked: str) -> NextPage:
    """Return what the Link header of a list of tags means.

    A header that names no page by `rel="next"` counts, too, if it names none by another relation: a registry has no
    other reason to send one.

    Args:
        link: the header, several joined by commas; None if there is none.
        asked: the address of the page that it came with.
    """
    if link is None:
        return NextPage(False)
    found = [(target.strip(), _relations(rest)) for target, rest in _TARGET.findall(link)]
    if not found and (bare := _BARE.fullmatch(link)):  # without < and >, as the registry API once described it
        found = [(bare[1].strip(), _relations(bare[2]))]
    unnamed = [target for target, relations in found if relations is None]
    named = [target for target, relations in found if relations is not None and "next" in relations]
    if not named and not unnamed:
        return NextPage(not found)
    return NextPage(True, _own_page((named or unnamed)[0], asked))


def own_upload(base: str, location: str, uploads: str) -> str:
    """Return the address of an upload as the Location header means it, at our own address if it can mean no other.

    Args:
        base: the address that answered.
        location: the header.
        uploads: the repository's own address of uploads, `…/v2/NAME/blobs/uploads/`.
    """
    try:
        parts, own = urlsplit(urljoin(base, location)), urlsplit(uploads)
    except ValueError:
        return location  # it is refused where it is followed
    _, found, rest = parts.path.rpartition("/v2/")
    repository, mark, session = rest.partition(_UPLOADS)
    ours = own.path.removeprefix("/v2/").removesuffix(_UPLOADS)
    if not (found and mark and session) or not _is_same(repository, ours):
        return location
    return urlunsplit(own._replace(path=own.path + session, query=parts.query))


def _relations(parameters: str) -> frozenset[str] | None:
    """Return the relations that parameters of a link name, in lower case, None if they name none."""
    found = _RELATION.search(parameters)
    return frozenset((found[1] or found[2] or "").lower().split()) if found else None


def _own_page(target: str, asked: str) -> str | None:
    """Return the address that `target` means, None if it does not tell one page from another."""
    if not target:
        return None
    if "=" in target and not any(char in target.partition("=")[0] for char in "/?:"):
        target = f"?{target}"  # the parameters alone
    try:
        url, own = urlsplit(urljoin(asked, target)), urlsplit(asked)
    except ValueError:
        return None
    is_list = url.path.rstrip("/").endswith(_LIST)
    is_here = (url.scheme, url.netloc) == (own.scheme, own.netloc)
    if parse_qs(url.query, keep_blank_values=True).keys() - {"n"} and (is_list or not is_here):
        return urlunsplit(own._replace(query=url.query))
    return None if is_list else url.geturl()


def _is_same(name: str, ours: str) -> bool:
    """Say whether two names of a repository differ in a prefix at most, as those on both sides of a proxy may."""
    return f"/{ours}".endswith(f"/{name}") or f"/{name}".endswith(f"/{ours}")
