"""The laws of a command's patience, and registries that are away for a while.

Law 1: whatever fails, however loops that try again lie inside each other, a command gives up when nothing has moved for
as long as its patience, the last try's silence added. Law 2: it does not give up before.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.image.manifest import MANIFEST
from agent.core.spelling.reference import RegistryReference
from agent.errors import PatienceError, RefusedError, UnavailableError
from agent.store.network import bounded_connection
from agent.store.network.retrying import PATIENCE_S, PROGRESS, Limits, Patience, Retries
from agent.store.registry.registry_store import RegistryStore
from tests.fakes.docker_registry import DockerRegistry
from tests.fakes.proxy import Fault, FaultProxy
from tests.store.conftest import Open, Patient, image

LIMITS = Limits()
T = TypeVar("T")
FAILURE = UnavailableError("it broke", subject="registry.test", remedy="mend it")


class Work:
    """Loops that try again, one inside the other, over a store of which each try takes what it takes.

    Args:
        fails: for each try of the innermost, the seconds it takes and whether it fails.
    """

    def __init__(self, seconds: float, depth: int, fails: list[tuple[float, bool]]) -> None:
        self.patient = Patient()
        self.patience = self.patient.patience(seconds)
        self.depth = depth
        self.fails = fails
        self.retries = 0

    def run(self, depth: int | None = None) -> None:
        depth = self.depth if depth is None else depth
        retries = Retries(self.patience, LIMITS)
        while True:
            try:
                if depth:
                    self.run(depth - 1)
                else:
                    self._try()
                return
            except UnavailableError as error:
                retries.wait(error)

    def _try(self) -> None:
        takes, fails = self.fails[min(self.retries, len(self.fails) - 1)]
        self.retries += 1
        # What the transport does: no try is silent for longer than what is left, but each for a little.
        self.patient.now += min(takes, max(self.patience.left, LIMITS.least))
        if fails:
            raise FAILURE


tries_of = st.lists(st.tuples(st.floats(0, 400), st.booleans()), min_size=1, max_size=40)


@given(seconds=st.floats(1, 1000), depth=st.integers(0, 4), fails=tries_of)
def test_a_command_gives_up_when_its_patience_is_spent_and_not_before(
    seconds: float, depth: int, fails: list[tuple[float, bool]]
) -> None:
    work = Work(seconds, depth, [*fails, (0.0, True)])
    began = work.patient.now
    try:
        work.run()
    except PatienceError:
        took = work.patient.now - began
        assert seconds <= took + 1e-6
        assert took <= seconds + LIMITS.least + 1e-6
    else:
        assert not all(failed for _, failed in fails)


@given(seconds=st.floats(1, 1000), moves=st.integers(1, 5))
def test_what_moves_gives_the_patience_back(seconds: float, moves: int) -> None:
    patient = Patient()
    patience = patient.patience(seconds)
    retries = Retries(patience, LIMITS)
    for _ in range(moves):
        began = patient.now
        while patient.now - began < 0.9 * seconds:
            retries.wait(FAILURE)
        retries.progressed()
        assert patience.left == seconds


def test_work_between_two_calls_costs_no_patience(store: RegistryStore, proxy: FaultProxy, patient: Patient) -> None:
    store.tags()
    patient.now += 10_000  # files are read and packed
    proxy.on("GET", "/tags/", Fault(503), times=3)
    assert store.tags() == []
    assert patient.slept == [0.25, 0.5, 1.0]


def test_a_slow_reader_costs_no_patience(store: RegistryStore, proxy: FaultProxy, patient: Patient) -> None:
    data = os.urandom(2 << 20)
    digest = store.put_blob(data)
    proxy.on("GET", "/blobs/", Fault(cut_response=100_000), times=9)
    found = bytearray()
    for chunk in store.read_blob(digest):
        found += chunk
        patient.now += 500
    assert found == data
    assert max(patient.slept) < 1


def test_patience_is_one_for_all_stores_and_calls(open_at: Open, web: FaultProxy, patient: Patient) -> None:
    web.on("*", "", Fault(503), times=999)
    patience = patient.patience(30.0)
    one, other = (open_at(f"{web.address}/{name}", patience=patience) for name in ("a", "b"))
    with pytest.raises(PatienceError, match="nothing moved for 30s"):
        one.get_manifest("tag")
    spent = sum(patient.slept)
    with pytest.raises(PatienceError, match="nothing moved for 30s"):
        other.put_blob(b"data", new=True)
    assert spent == sum(patient.slept) == 30.0


def test_loops_inside_each_other_do_not_multiply_waits(
    store: RegistryStore, proxy: FaultProxy, patient: Patient
) -> None:
    """An upload begins anew, its session is closed anew, a document is read anew: all of that at one cost."""
    proxy.on("PUT", "/blobs/uploads/", Fault(500), times=999)
    runs: list[int] = []

    def chunks() -> Iterator[bytes]:
        runs.append(1)
        yield os.urandom(1000)

    with pytest.raises(PatienceError):
        store.upload(chunks)
    assert sum(patient.slept) == PATIENCE_S
    assert len(runs) == 1, "what arrived is not sent again"


def test_what_is_sent_again_and_again_has_an_end(store: RegistryStore, proxy: FaultProxy, patient: Patient) -> None:
    """Each run takes a minute, in which content moves that was sent before."""
    proxy.on("PATCH", "", Fault(502), times=999)

    def chunks() -> Iterator[bytes]:
        for _ in range(60):
            patient.now += 1
            yield bytes(PROGRESS)

    began = patient.now
    with pytest.raises(PatienceError):
        store.upload(chunks)
    # The first run is progress, the others cost a quarter of themselves; and the last may be long.
    assert patient.now - began <= 60 + 5 * PATIENCE_S + 60
    assert sum(patient.slept) == PATIENCE_S


def test_an_upload_that_gets_further_each_time_is_not_given_up(
    store: RegistryStore, proxy: FaultProxy, patient: Patient
) -> None:
    data = os.urandom(3 << 20)
    for cut in range(200_000, 3 << 20, 200_000):
        proxy.on("PATCH", "", Fault(cut_request=cut))
    patience = patient.patience(1.0)
    with suppress(AttributeError):
        store._patience = patience
    assert store.upload(lambda: iter([data[at : at + 65536] for at in range(0, len(data), 65536)])).size == len(data)


def test_a_list_that_the_registry_cannot_make_is_not_waited_for(
    store: RegistryStore, proxy: FaultProxy, patient: Patient
) -> None:
    proxy.on("GET", "/tags/", Fault(503), times=999)
    with pytest.raises(UnavailableError, match="503") as caught:
        store.tags()
    assert not isinstance(caught.value, PatienceError)
    assert sum(patient.slept) < 0.2 * PATIENCE_S
    assert store.put_blob(b"goes on")


def test_a_list_is_waited_for_while_nothing_else_is_answered_either(
    store: RegistryStore, proxy: FaultProxy, patient: Patient
) -> None:
    store.put_manifest("tag", image(store), MANIFEST)
    away_until = patient.now + 0.8 * PATIENCE_S
    proxy.add_rule(lambda seen: Fault(503) if patient.now < away_until else None)
    assert store.tags() == ["tag"]


def test_a_wait_is_told_once_and_anew_after_a_move(store: RegistryStore, proxy: FaultProxy, patient: Patient) -> None:
    proxy.on("GET", "/tags/", Fault(503), times=2)
    store.tags()
    assert patient.told == [], "nobody notices a second"
    for _ in range(2):
        proxy.on("GET", "/tags/", Fault(503), times=5)
        store.tags()
    assert len(patient.told) == 2
    assert "503" in patient.told[0] and "until nothing has moved for 2m" in patient.told[0]


def test_a_name_that_went_is_waited_for(open_at: Open, registry: str, patient: Patient) -> None:
    """As that of a service whose pod is replaced; a name that was never there is a wrong one."""
    real, gone = socket.getaddrinfo, [0]

    def away(*args: object, **kwargs: object) -> object:
        if gone[0]:
            gone[0] -= 1
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(*args, **kwargs)  # type: ignore[arg-type]

    port = registry.partition(":")[2]
    store = open_at(f"localhost:{port}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", away)
        gone[0] = 1
        with pytest.raises(RefusedError, match="not known"):
            store.tags()
        assert patient.slept == []
        store.tags()
        store.close()
        gone[0] = 3
        assert store.tags() == []
    assert len(patient.slept) == 3


def test_what_answers_no_http_is_told_at_once(open_at: Open, web: FaultProxy, patient: Patient) -> None:
    web.on("*", "", Fault(raw=lambda: iter([b"SSH-2.0-OpenSSH_9.2\r\n"])), times=99)
    with pytest.raises(RefusedError, match="no HTTP"):
        open_at(web.address).tags()
    assert patient.slept == []


# Time that really goes by


def reference_at(registry: DockerRegistry) -> RegistryReference:
    return RegistryReference(registry.address, "patience/test", "latest")


def beside_an_outage(registry: DockerRegistry, seconds: float, call: Callable[[], T]) -> T:
    """Return what a call returns that begins when a registry has just been stopped for so long."""
    registry.close()
    with ThreadPoolExecutor(1) as threads:
        called = threads.submit(call)
        time.sleep(seconds)
        assert not called.done()
        registry.start()  # by this thread: it ends when that does
        return called.result()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DockerRegistry]:
    """A registry that may be stopped."""
    running = DockerRegistry(tmp_path)
    yield running
    running.close()


def test_a_registry_that_is_away_for_less_than_the_patience_is_survived(own: DockerRegistry, tmp_path: Path) -> None:
    store = RegistryStore(reference_at(own), patience=Patience(60.0))
    data = os.urandom(1 << 20)
    store.put_blob(data)
    calls: list[Callable[[], object]] = [
        lambda: store.put_manifest("tag", image(store), MANIFEST),
        lambda: store.upload(lambda: iter([data])),
        lambda: store.get_manifest("tag"),
        lambda: store.tags(),
        lambda: b"".join(store.read_blob(store.put_blob(data))),
    ]
    for call in calls:
        assert beside_an_outage(own, 1.0, call)
    store.close()


def test_a_registry_that_stays_away_ends_the_patience(own: DockerRegistry) -> None:
    told: list[str] = []
    store = RegistryStore(reference_at(own), patience=Patience(2.5, notify=told.append))
    own.close()
    began = time.monotonic()
    with pytest.raises(PatienceError, match="connection refused"):
        store.get_manifest("tag")
    assert time.monotonic() - began >= 2.5
    assert len(told) == 1
    store.close()


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_registry_that_says_nothing_ends_the_patience(open_at: Open, proxy: FaultProxy, method: str) -> None:
    store = open_at(proxy.address, patience=Patience(2.0))
    data = image(store)
    proxy.on(method, "", Fault(delay=3_600), times=99)
    began = time.monotonic()
    with pytest.raises(PatienceError, match="in time"):
        store.get_manifest("tag") if method == "GET" else store.put_manifest("tag", data, MANIFEST)
    assert time.monotonic() - began >= 2.0


def test_a_registry_that_takes_its_time_to_store_a_blob_is_let(open_at: Open, proxy: FaultProxy) -> None:
    store = open_at(proxy.address, limits=Limits(read=0.2), patience=Patience(20.0))
    proxy.on("PUT", "/blobs/", Fault(delay=0.6))
    store.upload(lambda: iter([b"content"]))
    assert proxy.count("PUT", "/blobs/") == 1


def test_a_host_that_went_without_a_word_is_noticed_while_it_is_waited_for(
    open_at: Open, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel asks it, so that nobody need wait for as long as the patience."""
    sockets: list[socket.socket] = []
    real = bounded_connection._BoundedConnection._new_conn

    def noted(connection: bounded_connection._BoundedConnection) -> socket.socket:
        sockets.append(real(connection))
        return sockets[-1]

    monkeypatch.setattr(bounded_connection._BoundedConnection, "_new_conn", noted)
    open_at(registry).tags()
    [one] = sockets
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    idle, every, times = (
        one.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name, _ in bounded_connection._KEEPALIVE
    )
    assert idle + every * times <= PATIENCE_S / 3
