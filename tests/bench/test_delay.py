"""The wire that the benchmarks measure round trips with."""

from __future__ import annotations

import http.client
import time

from bench.delay import Wire
from tests.fakes.proxy import FaultProxy

ROUND_TRIP = 0.05


def test_a_connection_costs_a_round_trip_and_each_request_another() -> None:
    with FaultProxy() as server, Wire(server.address) as wire:
        wire.round_trip = ROUND_TRIP
        host, _, port = wire.address.partition(":")
        client = http.client.HTTPConnection(host, int(port), timeout=30)
        took = []
        for _ in range(3):
            began = time.monotonic()
            client.request("PUT", "/v2/name/manifests/tag", body=b"GET /v2/none HTTP/1.1" * 9)
            assert client.getresponse().read() == b""
            took.append(time.monotonic() - began)
        client.close()
        assert took[0] >= 2 * ROUND_TRIP
        assert min(took[1:]) >= ROUND_TRIP
        assert (wire.connections, wire.requests) == (1, 3)


def test_long_bodies_arrive_whole_and_in_order() -> None:
    body = b"".join(b"%08d" % number for number in range(40_000))
    with FaultProxy() as server, Wire(server.address) as wire:
        wire.round_trip = 0.01
        host, _, port = wire.address.partition(":")
        client = http.client.HTTPConnection(host, int(port), timeout=30)
        client.request("PUT", "/v2/", body=body)
        client.getresponse().read()
        client.close()
        assert [seen.body for seen in server.seen] == [body]
        assert wire.sent > len(body)
        wire.forget()
        assert (wire.sent, wire.requests) == (0, 0)
