"""Fingerprints of a pull: by row, by path, of any size."""

from agent.core.directory.fingerprint_table import FingerprintTable
from agent.core.directory.state_row import PREEXISTING_FINGERPRINT, Fingerprint, StateRow
from agent.core.model.entry import Kind, Node

NODE = Node(Kind.FILE, 0o644)
OLD = Fingerprint(1, 2, 3, 4, 5, 6, 7)


def known(path: bytes) -> StateRow:
    return StateRow(path, NODE, None, OLD, 3)


def test_a_row_has_what_was_put_last_for_it_and_else_what_it_had() -> None:
    prints = FingerprintTable(5, {})
    new = Fingerprint(11, 12, 13, 14, 15, -16, 17)
    large = Fingerprint(1 << 80, 12, 13, 14, 15, 16, 17)
    prints.put(0, new)
    prints.put(1, large)
    prints.put(2, PREEXISTING_FINGERPRINT)
    prints.put(3, new)
    prints.by_path[b"d"] = large
    found = [row.fingerprint for row in prints.applied_to(map(known, (b"a", b"b", b"c", b"d", b"e")))]
    assert found == [new, large, PREEXISTING_FINGERPRINT, large, OLD]


def test_all_else_of_a_row_stays() -> None:
    prints = FingerprintTable(1, {})
    prints.put(0, PREEXISTING_FINGERPRINT)
    assert list(prints.applied_to([known(b"a")])) == [known(b"a")._replace(fingerprint=PREEXISTING_FINGERPRINT)]
