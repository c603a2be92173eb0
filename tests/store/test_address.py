"""Hosts: this machine, the network inside, the world."""

from __future__ import annotations

import pytest

from agent.errors import RefusedError
from agent.store.address import check_reach, is_loopback, origin_of

KNOWN = {
    "public": ["93.184.216.34", "2606:2800:220:1::1"],
    "private": ["10.0.0.7"],
    "mixed": ["93.184.216.34", "10.0.0.7"],
    "loopback": ["127.0.0.1", "::1"],
    "mapped": ["::ffff:192.168.1.1"],
    "shared": ["100.64.0.1"],
    "metadata": ["169.254.169.254"],
    "metadata6": ["fe80::1%eth0"],
    "unknown": [],
}


@pytest.mark.parametrize("target", ["metadata", "metadata6"])
@pytest.mark.parametrize("registry", ["public", "private", "loopback", "unknown"])
def test_link_local_is_never_reached(target: str, registry: str) -> None:
    with pytest.raises(RefusedError):
        check_reach(target, registry, KNOWN.__getitem__, "x")


@pytest.mark.parametrize("target", ["private", "mixed", "loopback", "mapped", "shared"])
def test_inside_is_reached_from_inside_only(target: str) -> None:
    check_reach(target, "private", KNOWN.__getitem__, "x")
    check_reach(target, "loopback", KNOWN.__getitem__, "x")
    with pytest.raises(RefusedError):
        check_reach(target, "public", KNOWN.__getitem__, "x")


@pytest.mark.parametrize("registry", ["public", "private", "unknown"])
@pytest.mark.parametrize("target", ["public", "unknown"])
def test_outside_is_reached_from_anywhere(target: str, registry: str) -> None:
    check_reach(target, registry, KNOWN.__getitem__, "x")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"])
def test_this_machine_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example", "128.0.0.1", "::2", "127.0.0.1.example", "", "0.0.0.0"])
def test_other_machines_are_not_this_one(host: str) -> None:
    assert not is_loopback(host)


def test_origin_has_the_schemes_port() -> None:
    assert origin_of("https://A.example/x", "x") == origin_of("https://a.example:443/y", "x")
    assert origin_of("https://a.example/", "x") != origin_of("http://a.example/", "x")
    assert origin_of("http://a.example:81/", "x") != origin_of("http://a.example/", "x")


@pytest.mark.parametrize(
    "url", ["ftp://a/", "//a/", "http://", "http://u@a/", "http://a:x/", "http://a:99999/", "http://["]
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(RefusedError):
        origin_of(url, "x")
