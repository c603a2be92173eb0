"""What a registry's Link and Location headers mean: always something at the address that was asked, or elsewhere."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.store.registry.response_links import NextPage, next_page, own_upload

BASE = "https://reg.example/v2/team/ws/tags/list"
ASKED = f"{BASE}?n=1000"
UPLOADS = "https://reg.example/v2/team/ws/blobs/uploads/"

OWN_PAGES = [
    "/v2/team/ws/tags/list?last=d&n=4",
    "https://reg.example/v2/team/ws/tags/list?last=d&n=4",
    "http://reg.example/v2/team/ws/tags/list?last=d&n=4",
    "https://reg.example:443/v2/team/ws/tags/list?last=d&n=4",
    "https://reg.example:5000/v2/team/ws/tags/list?last=d&n=4",
    "http://registry.internal:5000/v2/team/ws/tags/list?last=d&n=4",
    "http://10.0.0.7/v2/team/ws/tags/list?last=d&n=4",
    "//registry.internal:5000/v2/team/ws/tags/list?last=d&n=4",
    "registry.internal:5000/v2/team/ws/tags/list?last=d&n=4",
    "registry.example.com/v2/team/ws/tags/list?last=d&n=4",
    "/prefix/v2/team/ws/tags/list?last=d&n=4",
    "https://reg.example/artifactory/api/docker/local/v2/team/ws/tags/list?last=d&n=4",
    "http://registry.internal/v2/ws/tags/list?last=d&n=4",
    "list?last=d&n=4",
    "/v2/team/ws/tags/list/?last=d&n=4",
    "?last=d&n=4",
    "last=d&n=4",
    "https://elsewhere.example/pages?last=d&n=4",
    "https://user:secret@reg.example/v2/team/ws/tags/list?last=d&n=4",
]


@pytest.mark.parametrize("target", OWN_PAGES)
def test_a_page_of_this_list_is_read_at_its_own_address(target: str) -> None:
    assert next_page(f'<{target}>; rel="next"', ASKED) == NextPage(True, f"{BASE}?last=d&n=4")
    assert next_page(f"<{target}>", ASKED) == NextPage(True, f"{BASE}?last=d&n=4")


@pytest.mark.parametrize(
    "shape",
    [
        '<{}>; rel="next"',
        "<{}>; rel=next",
        "<{}>;rel=next",
        '<{}>; REL="Next"',
        '<{}>; rel = "next"',
        '<{}>; rel="prev next"',
        '<{}>; title="x"; rel="next"',
        '<{}>; rel="next"; title="x"',
        '<https://reg.example/first?last=a>; rel="first", <{}>; rel="next"',
        '<{}>; rel="next", <https://reg.example/first?last=a>; rel="prev"',
        '<https://reg.example/x?last=a>, <{}>; rel="next"',
        "<{}>",
        "<{}>; title=x",
        "<{}>;",
        " < {} > ; rel=next ",
        "{}",
        '{}; rel="next"',
    ],
)
def test_the_next_page_is_found_in_every_shape(shape: str) -> None:
    link = shape.format("/v2/team/ws/tags/list?last=a%2Cb&n=4")
    assert next_page(link, ASKED) == NextPage(True, f"{BASE}?last=a%2Cb&n=4")


@pytest.mark.parametrize(
    "link", [None, '</v2/team/ws/tags/list?n=4>; rel="prev"', '<x?last=a>; rel="first", <y?last=b>; rel=previous']
)
def test_other_relations_are_no_next_page(link: str | None) -> None:
    assert next_page(link, ASKED) == NextPage(False)


@pytest.mark.parametrize(
    "link",
    [
        "",
        "<>",
        '<>; rel="next"',
        "next",
        ";;",
        "<http://[>; rel=next",
        '</v2/team/ws/tags/list?n=1000>; rel="next"',
        f'<{ASKED}>; rel="next"',
        "<https://reg.example/v2/team/ws/tags/list>",
    ],
)
def test_a_link_that_tells_no_page_tells_that_there_is_one(link: str) -> None:
    found = next_page(link, ASKED)
    assert found.exists
    assert found.address is None or found.address == urljoin(BASE, link)


def test_a_page_at_another_place_of_the_same_host_is_taken_as_it_is() -> None:
    assert next_page("</v2/_pages/7?token=x>; rel=next", ASKED) == NextPage(
        True, "https://reg.example/v2/_pages/7?token=x"
    )
    assert next_page("</v2/_pages/7>; rel=next", ASKED) == NextPage(True, "https://reg.example/v2/_pages/7")


@pytest.mark.parametrize("target", ["http://elsewhere.example/v2/x", "https://elsewhere.example/pages/2"])
def test_a_page_elsewhere_that_says_nothing_of_this_list_is_left_to_be_refused(target: str) -> None:
    assert next_page(f"<{target}>; rel=next", ASKED) == NextPage(True, target)


OWN_UPLOADS = [
    "/v2/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
    "https://reg.example/v2/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
    "http://reg.example/v2/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
    "https://reg.example:5000/v2/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
    "http://registry.internal:5000/v2/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
    "//registry.internal/v2/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
    "registry.internal:5000/v2/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
    "registry.example.com/v2/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
    "/prefix/v2/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
    "http://registry.internal/v2/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
    "http://registry.internal/v2/project/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
    "HTTP://Reg.Example/v2/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D#x",
    "https://user:secret@reg.example/v2/team/ws/blobs/uploads/u-1?_state=a%2Bb%3D",
]


@pytest.mark.parametrize("location", OWN_UPLOADS)
def test_an_upload_of_this_repository_goes_on_at_its_own_address(location: str) -> None:
    assert own_upload(UPLOADS, location, UPLOADS) == f"{UPLOADS}u-1?_state=a%2Bb%3D"
    assert own_upload(f"{UPLOADS}u-0?x=y", location, UPLOADS) == f"{UPLOADS}u-1?_state=a%2Bb%3D"


@pytest.mark.parametrize(
    "location",
    [
        "https://storage.example/bucket/u-1?signature=x",
        "/uploads/u-1",
        "https://reg.example/v2/other/blobs/uploads/u-1",
        "https://reg.example/v2/team/wss/blobs/uploads/u-1",
        "https://reg.example/v2/steam/ws/blobs/uploads/u-1",
        "https://reg.example/v2/team/ws/blobs/uploads/",
        "https://reg.example/v2/team/ws/blobs/sha256:abc",
        "http://[",
        "u-1",
        "",
    ],
)
def test_what_may_mean_something_else_is_left_as_it_is(location: str) -> None:
    found = own_upload(UPLOADS, location, UPLOADS)
    assert found == location or (location == "u-1" and found == f"{UPLOADS}u-1")


@given(st.text(max_size=200), st.text(max_size=200))
def test_nothing_leads_anywhere_but_where_it_was_said_or_asked(link: str, location: str) -> None:
    found = next_page(link, ASKED)
    if found.address is not None:
        assert (
            found.address.startswith(f"{BASE}?")
            or urlsplit(found.address).query == ""
            or "reg.example" in found.address
        )
    upload = own_upload(UPLOADS, location, UPLOADS)
    assert upload == location or upload.startswith(UPLOADS)


@given(st.sampled_from(["/v2/", "team/", "ws", "/blobs/uploads/", "u", "?", "#", "..", "//", "http:", "@", ":", "\\"]))
def test_pieces_of_addresses_never_trip_it(piece: str) -> None:
    for repeated in (piece * 3, f"/v2/team/ws{piece}", f"{piece}/v2/team/ws/blobs/uploads/{piece}u"):
        upload = own_upload(UPLOADS, repeated, UPLOADS)
        assert upload == repeated or upload.startswith(UPLOADS)
        next_page(f"<{repeated}>", ASKED)
