"""A block of lines says what each of its lines says, whichever way it is read."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from agent.archive.toc.squash_line import format_squashed, parse_squashed
from agent.archive.toc.toc_block import parse_block, parse_squash_block
from agent.archive.toc.toc_line import format_entry, parse_line
from agent.core.model.change import Claim, Kept, Listed, SquashEntry, claim_value
from agent.core.model.entry import UNPULLED, Context, Kind, Node, TocEntry, Write
from agent.errors import IntegrityError
from tests.archive.packing import BASE, OTHER

PATHS = (b"a", b"a/b", b"d/e.f/g", b"\xc3\xa9", b'a"b', b"x/\xff", b"a.wh.")
NODES = (
    Node(Kind.DIR, 0o755, 1, 2, 1_700_000_000_123_456_789),
    Node(Kind.DIR, 0o1777),
    Node(Kind.DIR, 0, 0, 7, -5, xattrs=((b"user.a", b"1"),)),
    Node(Kind.FILE, 0o644, 1, 2, 3, 4, b"h" * 32),
    Node(Kind.FILE, 0o4755, sha256=b"e" * 32),
    Node(Kind.LINK, 0o777, target=b"t"),
)


def entries(path: bytes, node: Node) -> list[TocEntry]:
    seen = [Write(path, node, stood, 512) for stood in (None, BASE, OTHER, UNPULLED)]
    return [*seen, Write(path, node, None, 1024, 3), Context(path, node, None, 512), Context(path, node, BASE)]


def squashed(path: bytes, node: Node) -> list[SquashEntry]:
    found: list[SquashEntry] = [Kept(path, node, BASE, 512), Kept(path, node, OTHER), Kept(path, node, BASE, 512, 3)]
    found += [Claim(path, OTHER.id, claim_value(node), stood) for stood in (None, BASE)]
    found += [Claim(path, OTHER.id, None, BASE)]
    return [
        *found,
        *([Listed(path, node, BASE, 512, True), Listed(path, node, OTHER)] if node.kind is Kind.DIR else []),
    ]


def kept_and_claimed(path: bytes, node: Node) -> list[SquashEntry]:
    kept, group = Kept(path, node, BASE, 512), Kept(path, node, BASE, 512, 3)
    other = Node(Kind.FILE, 0o600, sha256=b"o" * 32)
    claims = [Claim(path, of, claim_value(node), stood) for of in (BASE.id, OTHER.id) for stood in (None, OTHER)]
    claims += [Claim(path, BASE.id, None, OTHER), Claim(path, BASE.id, other, None), Claim(b"z", BASE.id, other, None)]
    return [entry for claim in claims for entry in (kept, claim, claim, group, claim)]


CHANGE = [entry for path in PATHS for node in NODES for entry in entries(path, node)]
SQUASH = [entry for path in PATHS for node in NODES for entry in squashed(path, node)]
PAIRS = [entry for path in PATHS for node in NODES for entry in kept_and_claimed(path, node)]


def test_every_line_is_read_back_from_a_block() -> None:
    assert parse_block(b"".join(map(format_entry, CHANGE))) == CHANGE
    assert parse_squash_block(b"".join(map(format_squashed, SQUASH))) == SQUASH
    assert parse_squash_block(b"".join(map(format_squashed, PAIRS))) == PAIRS


def test_only_what_is_claimed_is_left_out_where_it_is_not_wanted() -> None:
    told = parse_squash_block(b"".join(map(format_squashed, PAIRS)), claims=False)
    assert [entry for entry in told if not isinstance(entry, Claim)] == [e for e in PAIRS if not isinstance(e, Claim)]
    assert len(told) < len(PAIRS)


def told(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except IntegrityError:
        return "refused"


@pytest.mark.parametrize("squash", [False, True])
def test_a_damaged_line_is_judged_alike(squash: bool) -> None:
    chance = random.Random(5)
    lines = [format_squashed(e)[:-1] for e in SQUASH] if squash else [format_entry(e)[:-1] for e in CHANGE]
    taken = 0
    for line in lines * 12:
        damaged = bytearray(line)
        for _ in range(chance.randint(1, 2)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randint(0, 1)] = bytes(chance.choices(b'0123456789"{}[],:-/.abrwdi\xc3', k=1))
        one = bytes(damaged)
        alone = told(lambda one=one: parse_squashed(one) if squash else parse_line(one))  # type: ignore[misc]
        among = told(lambda one=one: (parse_squash_block if squash else parse_block)(one + b"\n")[0])  # type: ignore[misc]
        assert alone == among, one
        taken += alone != "refused"
    assert taken > 100  # else nothing was compared but refusals


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"kind":"dir"', b'"kind":"file"'),
        (b'"kind":"dir","mode":493,"offset":512', b'"kind":"file","mode":493'),
        (b'"op":"listed"', b'"op":"kept"'),
        (b'"op":"listed"', b'"op":"write"'),
        (b',"placed":true', b""),
        (b',"placed":true', b',"placed":false'),
        (b'{"by":[', b'{"version":['),
        (b"}", b',"version":[1,"%s"]}' % (b"a" * 64)),
        (b"}", b',"sha256":"%s"}' % (b"a" * 64)),
    ],
)
def test_a_listing_that_is_none_is_refused(old: bytes, new: bytes) -> None:
    line = format_squashed(Listed(b"d/e", Node(Kind.DIR, 0o755), BASE, 512, True))
    assert parse_squash_block(line) == [Listed(b"d/e", Node(Kind.DIR, 0o755), BASE, 512, True)]
    assert line.count(old) == 1
    forged = line.replace(old, new)
    for one in (forged, forged.replace(b"}", b',"sha256":"%s"}' % (b"a" * 64))):
        for parse in (parse_squash_block, parse_block):
            with pytest.raises(IntegrityError):
                parse(one)


def test_a_damaged_claim_is_judged_alike_behind_what_is_kept() -> None:
    chance = random.Random(7)
    taken = 0
    for kept, claim in zip(PAIRS[::5], PAIRS[1::5], strict=True):
        first, second = format_squashed(kept), format_squashed(claim)
        for _ in range(12):
            damaged = bytearray(second[:-1])
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randint(0, 1)] = bytes(chance.choices(b'0123456789"{}[],:-/.abrwdi\xc3', k=1))
            one = bytes(damaged)
            alone = told(lambda one=one: parse_squashed(one))  # type: ignore[misc]
            among = told(lambda first=first, one=one: parse_squash_block(first + one + b"\n")[1])  # type: ignore[misc]
            assert alone == among, one
            taken += alone != "refused"
    assert taken > 100
