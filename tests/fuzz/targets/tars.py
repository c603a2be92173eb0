"""The tar reader and its extended headers, beside Python's `tarfile`."""

from __future__ import annotations

import io
import os
import re
import tarfile
from contextlib import suppress
from hashlib import sha256
from random import Random

from agent.archive.stream.limits import MIB, ArchiveLimits
from agent.archive.tar.header_decoder import check_sum, parse_size
from agent.archive.tar.member import normalise
from agent.archive.tar.pax import format_record, parse_integer, parse_records, parse_time
from agent.archive.tar.tar_header import BLOCK, END, checksum, encode_header, padded, whiteout_header
from agent.archive.tar.tar_reader import read_tar
from agent.core.model.entry import Kind, Node
from agent.core.model.tar_item import Linked, Opaque, Placed, TarItem, Whiteout
from agent.core.spelling.path import OPAQUE, WHITEOUT
from agent.errors import AgentError, IntegrityError, UnsafeArchiveError
from tests.archive.packing import TIME
from tests.fuzz.mutate import NUMBERS, bytewise
from tests.fuzz.search import Target

LIMITS = ArchiveLimits(expanded=4 * MIB, entries=2000, depth=64, toc=4 * MIB, ratio=100, free=MIB, padding=MIB)
REFUSALS = (IntegrityError, UnsafeArchiveError)
FILE = Node(Kind.FILE, 0o644, mtime=TIME)
Read = list[tuple[TarItem, bytes]]
Member = tuple[bytes, str, bytes, bytes]
"""Name, kind, target and content."""

_FIELDS = [
    (0, 100),
    (100, 8),
    (108, 8),
    (116, 8),
    (124, 12),
    (136, 12),
    (156, 1),
    (157, 100),
    (257, 8),
    (329, 8),
    (345, 155),
]
_WORDS = (b"../", b"/", b"./", b".wh.", OPAQUE, b"\0", b"\xff\xfe", b"d/", b"a", b"ustar  \0", b"ustar\x0000")
_KEYS = (b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"hdrcharset", b"charset", b"comment")
_KEYS += (b"SCHILY.xattr.user.a", b"SCHILY.xattr.security.capability", b"GNU.sparse.major", b"GNU.sparse.minor")
_KEYS += (b"GNU.sparse.realsize", b"GNU.sparse.size", b"GNU.sparse.map", b"GNU.sparse.name", b"GNU.sparse.numblocks")
_KEYS += (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
_VALUES = (
    b"",
    b"0",
    b"1",
    b"-1",
    b"1.5",
    b"-0.0000000001",
    b"BINARY",
    b"a/b",
    b"d",
    b"../x",
    b"0,1,512,1",
    b"\xff",
    b"\n",
)
_EMPTY = re.compile(rb" (?:size|path|linkpath|GNU\.sparse\.[a-z]+)=\n")
_plain = bytewise(*_WORDS)


def contents(chunks: list[bytes], *, end_required: bool = True) -> Read:
    """Return what a tar holds."""
    return [(item, b"".join(data)) for item, data in read_tar(chunks, LIMITS, end_required=end_required)]


def run_tar(data: bytes) -> None:
    """However a tar arrives, it is read alike; what is read, `tarfile` reads, and it reads back when written."""
    found = contents([data])
    assert contents([data[at : at + 700] for at in range(0, len(data), 700)]) == found, "chunks make a difference"
    for item, content in found:
        _check_again(item, content)
    others = {} if _is_peculiar(data) else by_tarfile(data)
    for item, content in found:
        _compare((_name(item), *_meaning(item), content), others.pop(item.offset, None))
    more = [member for member in others.values() if member[0]]  # the root has none
    assert not more, f"an entry of its own: {short(more[0])}"


def _compare(ours: Member, theirs: Member | None) -> None:
    if theirs is None:  # it ends at what it does not understand
        return
    if (ours[1], *theirs[1:]) == ("dir", "file", b"", b""):
        return  # a name's last slash makes a directory in the oldest archives only
    assert ours == theirs, f"not alike: ours {short(ours)} theirs {short(theirs)}"


def short(member: Member) -> str:
    """Return what can be seen of a member at a glance."""
    *fields, content = member
    return f"{fields} {len(content)} bytes, sha256 {sha256(content).hexdigest()[:8]}"


def _check_again(item: TarItem, content: bytes) -> None:
    if isinstance(item, Placed):
        try:
            header = encode_header(item.path, item.node)
        except AgentError:
            return  # more than a header of ours may hold
        ((again, told),) = contents([header, content.ljust(padded(len(content)), b"\0"), END])
        assert (again, told) == (item._replace(offset=0), content), f"{again} is not {item}"


def _name(item: TarItem) -> bytes:
    match item:
        case Whiteout(path):
            directory, slash, name = path.rpartition(b"/")
            return directory + slash + WHITEOUT + name
        case Opaque(path):
            return normalise(path + b"/" + OPAQUE).lstrip(b"/")
        case _:
            return item.path


def _meaning(item: TarItem) -> tuple[str, bytes]:
    match item:
        case Placed(_, node):
            return str(node.kind), node.target
        case Linked(_, target):
            return "hard link", target
        case _:
            return "file", b""


_TYPES = {tarfile.SYMTYPE: "link", tarfile.DIRTYPE: "dir", tarfile.FIFOTYPE: "fifo", tarfile.LNKTYPE: "hard link"}
_TYPES |= {tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block"}


def by_tarfile(data: bytes) -> dict[int, Member]:
    """Return what `tarfile` finds, by place, up to what it refuses."""
    found = {}
    with (
        suppress(tarfile.TarError, OSError, ValueError),
        tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as tar,
    ):
        for member in tar:
            name, kind = normalise(os.fsencode(member.name)), _TYPES.get(member.type, "file")
            target = os.fsencode(member.linkname) if kind in ("link", "hard link") else b""
            content = _content(tar, member) if member.isreg() else b""
            if name.rpartition(b"/")[2].startswith(WHITEOUT):
                kind, target, content = "file", b"", b""
            found[member.offset] = name, kind, normalise(target) if kind == "hard link" else target, content
    return found


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > LIMITS.expanded:
        return b"more than we read"
    file = tar.extractfile(member)
    return file.read() if file else b""


def seeds() -> list[bytes]:
    """Return tars of several makers."""
    made = [ours(), pax_of([(b"path", b"p" * 120), (b"size", b"700")], 700)]
    made += map(theirs, (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT))
    return [*made, *sparse()]


def ours() -> bytes:
    """Return a tar as a layer of ours has it."""
    nodes = [
        (b"d", Node(Kind.DIR, 0o755, mtime=TIME)),
        (b"d/c", Node(Kind.CHAR, 0o600, device=(1, 3))),
        (b"d/f", FILE._replace(size=600, uid=1 << 22, xattrs=((b"user.a", b"\xff="),))),
        (b"d/l", Node(Kind.LINK, 0o777, target=b"../x" * 40)),
        (b"d/" + b"n" * 130, FILE._replace(size=3)),
        (b"fifo", Node(Kind.FIFO, 0o600, mtime=-1)),
    ]
    parts = [whiteout_header(b"d/gone"), whiteout_header(b"other")]
    for path, node in nodes:
        parts += [encode_header(path, node), (b"x" * node.size).ljust(padded(node.size), b"\0")]
    return b"".join([*parts, encode_header(b"hard", FILE, b"d/f"), END])


def theirs(form: int) -> bytes:
    """Return a tar that `tarfile` writes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as tar:
        for name, kind, target, size in (
            ("./", tarfile.DIRTYPE, "", 0),
            ("./d/", tarfile.DIRTYPE, "", 0),
            ("d/" + "n" * (90 if form == tarfile.USTAR_FORMAT else 150), tarfile.REGTYPE, "", 1000),
            ("p" * 60 + "/" + "n" * 60, tarfile.AREGTYPE, "", 5),
            ("d/.wh..wh..opq", tarfile.REGTYPE, "", 0),
            ("link", tarfile.SYMTYPE, "t" * (90 if form == tarfile.USTAR_FORMAT else 150), 0),
            ("hard", tarfile.LNKTYPE, "d/f", 0),
            ("dev", tarfile.BLKTYPE, "", 0),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size, info.mtime = (
                kind.encode() if isinstance(kind, str) else kind,
                target,
                size,
                1.5e9,
            )
            tar.addfile(info, io.BytesIO(b"y" * size))
    return buffer.getvalue()


def sparse() -> list[bytes]:
    """Return sparse files in the three formats of pax, and in the old one."""
    size = [(b"GNU.sparse.size", b"3000")]
    place = [(b"GNU.sparse.offset", b"1000"), (b"GNU.sparse.numbytes", b"512")]
    one = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"real")]
    mapped = b"1\n1000\n512\n".ljust(BLOCK, b"\0") + b"z" * 512
    old = bytearray(_with(encode_header(b"old", Node(Kind.FILE, 0o644, size=512))[-BLOCK:], 156, b"S"))
    old[257:265] = b"ustar  \0"
    old[386:410] = b"%011o\0%011o\0" % (1000, 512)
    old[483:495] = b"%011o\0" % 3000
    return [
        pax_of([*size, *place], 512),
        pax_of([*size, (b"GNU.sparse.map", b"0,100,1000,412")], 512),
        pax_of([*one, (b"GNU.sparse.realsize", b"3000")], 1024, mapped),
        summed(bytes(old)) + b"w" * 512 + END,
    ]


def pax_of(records: list[tuple[bytes, bytes]], size: int, content: bytes | None = None) -> bytes:
    """Return a tar with one file behind an extended header."""
    body = b"".join(format_record(*record) for record in records)
    return (
        extended(body) + encode_header(b"f", Node(Kind.FILE, 0o644, size=size)) + _padded(content or b"x" * size) + END
    )


def extended(body: bytes) -> bytes:
    """Return an extended header around `body`."""
    header = encode_header(b"PaxHeader", Node(Kind.FILE, 0o644, size=len(body)))[-BLOCK:]
    return _with(header, 156, b"x") + _padded(body)


def _padded(content: bytes) -> bytes:
    return content.ljust(padded(len(content)), b"\0")


def summed(block: bytes) -> bytes:
    """Return a header with its checksum put right."""
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % checksum(block) + block[156:]


def _with(block: bytes, at: int, field: bytes) -> bytes:
    return summed(block[:at] + field + block[at + len(field) :])


def mutate_tar(data: bytes, chance: Random) -> bytes:
    """Change fields of headers, records of extended headers, or whole blocks; mostly with checksums put right."""
    blocks = _blocks(data)
    headers = [at for at, block in enumerate(blocks) if _is_header(block)]
    how = chance.randrange(10)
    if not headers or how == 0:
        return _plain(data, chance)
    at = chance.choice(headers)
    size = _size(blocks[at])
    if how < 3:
        end = chance.choice([*headers, len(blocks)])
        part = blocks[min(at, end) : max(at, end)]
        to = chance.choice(headers)
        blocks = blocks[:to] + part + blocks[to + len(part) * chance.randrange(2) :]
    elif how < 6 and blocks[at][156:157] in b"xgLK" and size is not None:
        count = padded(size) // BLOCK
        body = _mutate_records(b"".join(blocks[at + 1 : at + 1 + count])[:size], chance)
        header = _with(blocks[at], 124, b"%011o\0" % len(body))
        blocks = [*blocks[:at], header, _padded(body), *blocks[at + 1 + count :]]
    elif how == 6:
        body = _mutate_records(format_record(chance.choice(_KEYS), chance.choice(_VALUES)), chance)
        blocks = [*blocks[:at], extended(body), *blocks[at:]]
    else:
        blocks[at] = _mutate_header(blocks[at], chance)
    return b"".join(blocks)


def _size(header: bytes) -> int | None:
    try:
        return min(parse_size(header[124:136]), 1 << 16)
    except IntegrityError:
        return None


def _blocks(data: bytes) -> list[bytes]:
    return [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]


def _is_peculiar(data: bytes) -> bool:
    """Say whether `tarfile` alone may understand something in another way than all others.

    It takes the prefix of ustar for one in other formats, too, a volume's label for an entry, an empty record for an
    empty name or 0, and the last of the names of a sparse file for its own; it says otherwise where an entry begins
    after a global header, and takes a file of the oldest kind for a directory by the name that a record replaces.
    """
    named_twice = b" GNU.sparse.name=" in data and b" path=" in data
    return named_twice or _EMPTY.search(data) is not None or any(map(_is_odd, _blocks(data)))


def _is_odd(block: bytes) -> bool:
    prefixed = block[345:346] > b"\0" and (block[257:263] != b"ustar\0" or block[508:] == b"tar\0")
    old = block[156:157] == b"\0" and block[:100].partition(b"\0")[0].endswith(b"/")
    return _is_header(block) and (prefixed or old or block[156:157] in (b"V", b"g"))


def _is_header(block: bytes) -> bool:
    try:
        check_sum(block)
    except (IntegrityError, IndexError, ValueError):
        return False
    return len(block) == BLOCK and any(block)


def _mutate_header(block: bytes, chance: Random) -> bytes:
    start, length = chance.choice(_FIELDS)
    number = chance.choice(NUMBERS)
    field = chance.choice(
        (
            b"%0*o\0" % (length - 1, number % 8 ** (length - 1)),
            b"\x80" + (number % 256 ** (length - 1)).to_bytes(length - 1, "big") if length > 1 else b"\x80",
            b"\xff" * length,
            bytes(length),
            chance.choice(_WORDS),
            chance.choice((b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"L", b"K", b"S", b"V", b"g", b"x", b"X", b"\0")),
            _plain(block[start : start + length], chance),
        )
    )
    block = (block[:start] + field[:length].ljust(min(1, length), b"\0") + block[start + len(field[:length]) :])[:BLOCK]
    return summed(block.ljust(BLOCK, b"\0")) if chance.randrange(12) else block


def _mutate_records(body: bytes, chance: Random) -> bytes:
    try:
        records = parse_records(body)
    except IntegrityError:
        return _plain(body, chance)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randint(0, len(records))
        how = chance.randrange(4)
        if how == 0 or at == len(records):
            records.insert(at, (chance.choice(_KEYS), chance.choice((*_VALUES, b"%d" % chance.choice(NUMBERS)))))
        elif how == 1:
            del records[at]
        elif how == 2:
            records[at] = (records[at][0], _plain(records[at][1], chance))
        else:
            records[at] = (chance.choice(_KEYS), records[at][1])
    made = b"".join(format_record(*record) for record in records)
    return made if chance.randrange(8) else _plain(made, chance)


def run_records(data: bytes) -> None:
    """Records that are read are read alike when they are written again, and so are the numbers in them."""
    records = parse_records(data)
    assert parse_records(b"".join(format_record(*record) for record in records)) == records
    for key, value in records:
        if key == b"mtime" and value:
            parse_time(value)
        elif key in (b"uid", b"gid", b"size") and value:
            parse_integer(value)


def record_seeds() -> list[bytes]:
    """Return bodies of extended headers."""
    found = [(b"path", b"p\xff" * 60), (b"mtime", b"1700000000.123456789"), (b"SCHILY.xattr.user.a", b"\n=%3D")]
    numbers = [(b"size", b"8589934592"), (b"uid", b"4294967294"), (b"mtime", b"-1.5")]
    return [b"".join(format_record(*record) for record in records) for records in (found, numbers)]


TARGETS = (
    Target("tar", run_tar, seeds, mutate_tar, REFUSALS),
    Target("pax", run_records, record_seeds, _mutate_records, (IntegrityError,)),
)
