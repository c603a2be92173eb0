"""Hosts: this machine, the network inside, the world."""

from __future__ import annotations

import pytest

from agent.errors import RefusedError
from agent.store.network.address import AddressPolicy, Origin, is_loopback, origin_of

KNOWN = {
    "public": ["93.184.216.34", "2606:2800:220:1::1"],
    "private": ["10.0.0.7"],
    "mixed": ["93.184.216.34", "10.0.0.7"],
    "loopback": ["127.0.0.1", "::1"],
    "mapped": ["::ffff:192.168.1.1"],
    "6to4": ["2002:0a00:0007::1"],
    "translated": ["64:ff9b::10.0.0.7"],
    "shared": ["100.64.0.1"],
    "nowhere": ["0.0.0.0", "::"],
    "metadata": ["169.254.169.254"],
    "metadata6": ["fe80::1%eth0"],
    "metadata in IPv6": ["::ffff:169.254.169.254"],
    "amazon6": ["fd00:ec2::254"],
    "azure": ["168.63.129.16"],
    "alibaba": ["100.100.100.200"],
    "unknown": [],
}
METADATA = [name for name in KNOWN if name.startswith("metadata")] + ["amazon6", "azure", "alibaba"]
INSIDE = ["private", "loopback", "mapped", "6to4", "translated", "shared", "nowhere"]


def resolve(name: str) -> list[str]:
    return KNOWN.get(name, [name])


def reach(registry: str) -> AddressPolicy:
    return AddressPolicy(Origin("https", registry, 443), "x", resolve)


@pytest.mark.parametrize("target", METADATA)
@pytest.mark.parametrize("registry", ["public", "private", "loopback", "unknown"])
def test_machine_credentials_are_never_reached(target: str, registry: str) -> None:
    with pytest.raises(RefusedError):
        reach(registry).check_host(target)
    for address in KNOWN[target]:
        with pytest.raises(RefusedError):
            reach(registry).check_peer(target, 443, address)


@pytest.mark.parametrize("target", INSIDE)
def test_inside_is_reached_from_inside_only(target: str) -> None:
    reach("private").check_host(target)
    reach("loopback").check_host(target)
    for address in KNOWN[target]:
        reach("private").check_peer(target, 443, address)
        for registry in ("public", "mixed", "unknown"):
            with pytest.raises(RefusedError):
                reach(registry).check_peer(target, 443, address)
    for registry in ("public", "mixed", "unknown"):
        with pytest.raises(RefusedError):
            reach(registry).check_host(target)


@pytest.mark.parametrize("registry", ["public", "private", "mixed", "unknown"])
@pytest.mark.parametrize("target", ["public", "unknown"])
def test_outside_is_reached_from_anywhere(target: str, registry: str) -> None:
    reach(registry).check_host(target)
    for address in KNOWN[target]:
        reach(registry).check_peer(target, 443, address)


def test_registry_lies_where_its_connections_lead_whatever_its_name_says_then() -> None:
    rebound = reach("private")
    rebound.check_peer("private", 443, "93.184.216.34")
    rebound.check_peer("private", 443, "10.0.0.7")
    with pytest.raises(RefusedError):
        rebound.check_host("loopback")
    inside = reach("mixed")
    inside.check_peer("mixed", 443, "10.0.0.7")
    inside.check_host("loopback")


def test_registry_itself_may_lie_anywhere_but_not_its_neighbour() -> None:
    odd = reach("metadata")
    odd.check_peer("metadata", 443, "169.254.169.254")
    with pytest.raises(RefusedError):
        odd.check_peer("metadata", 80, "169.254.169.254")


def test_host_with_several_addresses_is_judged_by_the_one_it_is_reached_at() -> None:
    outside = reach("public")
    outside.check_host("mixed")
    outside.check_peer("mixed", 443, "93.184.216.34")
    with pytest.raises(RefusedError):
        outside.check_peer("mixed", 443, "10.0.0.7")


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
    "url",
    [
        *("ftp://a/", "//a/", "http://", "http://u@a/", "http://a:x/", "http://a:99999/", "http://["),
        # Where one parser of addresses ends the host and another does not.
        *("http://a\\.b/", "http://a\\@b/", "http://a b/", "http://a%2eb/", "http://\u2488a/", "http://a,b/"),
    ],
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(RefusedError):
        origin_of(url, "x")
