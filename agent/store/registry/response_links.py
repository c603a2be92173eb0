"""The addresses of pages and uploads in a registry's responses (RFC 8288, distribution-spec). Pure.

A registry behind a proxy often does not know its own name: it says http although it is reached over TLS, another port,
a host inside its network, a path with or without a prefix. An address that can only mean the list or the upload at hand
is corrected: scheme, host, port and repository are those of our request, so no request goes elsewhere. Only the part
that distinguishes pages and uploads is the registry's. docs/decisions/what-a-registry-means.md gives the reasons.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, urljoin, urlsplit, urlunsplit

_LIST = "/tags/list"
_UPLOADS = "/blobs/uploads/"
# Each byte can match in one way only, so that hostile headers cost linear time.
_TARGET = re.compile(r"<([^<>]*)>([^<>]*)")
_BARE = re.compile(r"([^;<>]*)(.*)", re.DOTALL)
_RELATION = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^";,\s]*))', re.IGNORECASE)


class NextPage(NamedTuple):
    """Whether there is a next page, and its address, None if the response does not name it."""

    exists: bool
    address: str | None = None


def next_page(link: str | None, asked: str) -> NextPage:
    """Return the next page in the Link header of a list of tags.

    A link without `rel` counts, too: a registry has no other reason to send one.

    Args:
        link: the header, several joined by commas; None if there is none.
        asked: the address of the page with this header.
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
    """Return the address of an upload in a Location header, corrected if it can only mean this repository's upload.

    Args:
        base: the address that sent the response.
        location: the header.
        uploads: the repository's address for uploads, `…/v2/NAME/blobs/uploads/`.
    """
    try:
        parts, own = urlsplit(urljoin(base, location)), urlsplit(uploads)
    except ValueError:
        return location  # `Transport.locate` refuses it
    _, found, rest = parts.path.rpartition("/v2/")
    repository, mark, session = rest.partition(_UPLOADS)
    ours = own.path.removeprefix("/v2/").removesuffix(_UPLOADS)
    if not (found and mark and session) or not _is_same_repository(repository, ours):
        return location
    return urlunsplit(own._replace(path=own.path + session, query=parts.query))


def _relations(parameters: str) -> frozenset[str] | None:
    """Return the relations (`rel`) of a link, in lower case, None if it has none."""
    found = _RELATION.search(parameters)
    return frozenset((found[1] or found[2] or "").lower().split()) if found else None


def _own_page(target: str, asked: str) -> str | None:
    """Return the address of the page `target`, None if it does not distinguish pages."""
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


def _is_same_repository(name: str, ours: str) -> bool:
    """Return whether two names of a repository differ only in a prefix, as on the two sides of a proxy."""
    return f"/{ours}".endswith(f"/{name}") or f"/{name}".endswith(f"/{ours}")
