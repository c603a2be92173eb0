"""Images that try to get out of the directory they are unpacked into, layer by layer, as raw tars.

Each is a way that some reader of archives fell for: registry clients and unpackers (docker CVE-2014-6407, -9356,
CVE-2018-15664; containerd CVE-2021-32760; umoci CVE-2021-29136; oras-go CVE-2026-50163; registry-support
CVE-2024-1485), languages (Python CVE-2007-4559, CVE-2024-12718, CVE-2025-4330, -4517, hard links to symbolic links),
package managers (npm's tar CVE-2018-20834, CVE-2021-32803, -37701, -37712, CVE-2026-23950; tar-fs
GHSA-vj76-c3g6-qr5v; pip CVE-2019-20916), GNU tar (CVE-2025-45582), and readers that disagree about where an entry ends
(CVE-2025-62518).

The headers are made here from the format's description, not by the code under test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

END = bytes(1024)
ASIDE = b"../outside"
"""The way from a workspace to what it must not touch."""

ORDERS = (
    "in one layer",
    "in one layer, backwards",
    "layer by layer",
    "layer by layer, backwards",
    "twice",
)

Layers = tuple[bytes, ...]


def entry(
    name: bytes,
    content: bytes = b"",
    flag: bytes = b"0",
    *,
    target: bytes = b"",
    mode: int = 0o644,
    size: int | bytes | None = None,
    owner: int | bytes = 0,
    mtime: int | bytes = 1_600_000_000,
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
) -> bytes:
    """Return one entry of the ustar format; numbers as bytes are laid down as they are."""

    def number(value: int | bytes, length: int) -> bytes:
        return value if isinstance(value, bytes) else b"%0*o\0" % (length - 1, value)

    fields = (
        name.ljust(100, b"\0")[:100],
        number(mode, 8),
        number(owner, 8),
        number(owner, 8),
        number(len(content) if size is None else size, 12),
        number(mtime, 12),
        b" " * 8,
        flag,
        target.ljust(100, b"\0")[:100],
        b"ustar\x0000",
        bytes(64),
        number(device[0], 8),
        number(device[1], 8),
        prefix.ljust(167, b"\0"),
    )
    header = b"".join(fields)
    header = header[:148] + b"%06o\0 " % sum(header) + header[156:]
    return header + content + bytes(-len(content) % 512)


def pax(*records: tuple[bytes, bytes], flag: bytes = b"x") -> bytes:
    """Return an extended header."""
    lines = []
    for key, value in records:
        rest = len(key) + len(value) + 3
        length = next(n for n in range(rest, rest + 20) if n == rest + len(str(n)))
        lines.append(b"%d %b=%b\n" % (length, key, value))
    return entry(b"pax", b"".join(lines), flag)


def file(name: bytes, content: bytes = b"evil", **more: object) -> bytes:
    """Return a file, with an extended header where its name is long."""
    head = pax((b"path", name)) if len(name) > 100 else b""
    return head + entry(name, content, **more)  # type: ignore[arg-type]


def directory(name: bytes, mode: int = 0o777) -> bytes:
    """Return a directory."""
    return (pax((b"path", name)) if len(name) > 100 else b"") + entry(name, flag=b"5", mode=mode)


def link(name: bytes, target: bytes) -> bytes:
    """Return a symbolic link."""
    records = [(b"path", name)] * (len(name) > 100) + [(b"linkpath", target)] * (len(target) > 100)
    return (pax(*records) if records else b"") + entry(name, flag=b"2", target=target)


def hard(name: bytes, target: bytes) -> bytes:
    """Return a hard link."""
    return (pax((b"linkpath", target)) if len(target) > 100 else b"") + entry(name, flag=b"1", target=target)


def images(out: bytes) -> dict[str, Layers]:
    """Return every image by its name: its layers' tars, lowest first. `out` is the absolute path of `ASIDE`."""
    found = {
        **_traversals(out),
        **_roots(out),
        **_differentials(out),
        **_names(out),
        **_attributes(),
    }
    for name, parts in _through_links(out).items():
        for order, layers in _orders(parts):
            found[f"{name}, {order}"] = layers
    return {name: tuple(layer + END for layer in layers) for name, layers in found.items()}


def _orders(parts: Sequence[bytes]) -> Iterator[tuple[str, Layers]]:
    one = b"".join(parts)
    layers = ((one,), (b"".join(reversed(parts)),), tuple(parts), tuple(reversed(parts)), (one, one))
    yield from zip(ORDERS, layers, strict=True)


def _traversals(out: bytes) -> dict[str, Layers]:
    names = {
        "dots": ASIDE + b"/new",
        "dots behind a name": b"a/../" + ASIDE + b"/new",
        "dots behind a dot": b"./" + ASIDE + b"/victim",
        "an absolute name": out + b"/new",
        "an absolute name with many slashes": b"//" + out + b"//new",
        "a sibling whose name begins alike": b"../ws-evil/new",
        "dots at the end": b"a/..",
        "a name that ends in dots and a slash": b"a/../",
    }
    found: dict[str, Layers] = {name: (file(path),) for name, path in names.items()}
    below = ASIDE + b"/dir"
    return found | {
        "a directory elsewhere": (directory(below),),
        "a symbolic link elsewhere": (link(ASIDE + b"/new", b"x"),),
        "a hard link elsewhere": (file(b"x") + hard(ASIDE + b"/new", b"x"),),
        "a hard link to elsewhere": (hard(b"x", ASIDE + b"/victim"), file(b"x")),
        "a hard link to an absolute name": (hard(b"x", out + b"/victim") + file(b"x"),),
        "a hard link to what lies in the current directory": (hard(b"x", b"pyproject.toml"),),
        "a FIFO elsewhere": (entry(ASIDE + b"/new", flag=b"6"),),
        "a whiteout elsewhere": (file(ASIDE + b"/.wh.victim", b""),),
        "an absolute whiteout": (file(out + b"/.wh.victim", b""),),
        "an opaque directory elsewhere": (file(ASIDE + b"/.wh..wh..opq", b""),),
        "dots in a prefix": (entry(b"new", b"evil", prefix=ASIDE),),
        "dots in an extended header": (pax((b"path", ASIDE + b"/new")) + file(b"fine"),),
        "dots in a long name": (entry(b"L", ASIDE + b"/new\0", b"L") + file(b"fine"),),
        "dots in a sparse file's name": (
            pax((b"GNU.sparse.size", b"4"), (b"GNU.sparse.map", b"0,4"), (b"GNU.sparse.name", ASIDE + b"/new"))
            + file(b"fine"),
        ),
        "dots behind a NUL": (pax((b"path", b"fine\0/../" + ASIDE + b"/new")) + file(b"fine"),),
    }


def _through_links(out: bytes) -> dict[str, list[bytes]]:
    """Return parts of which the first puts a link where the second goes through, or what else meets it."""
    there = link(b"d", out)
    aside = link(b"d", ASIDE)
    victim = link(b"x", out + b"/victim")
    return {
        "a file through a link": [there, file(b"d/victim", mode=0o4777)],
        "a new file through a relative link": [aside, file(b"d/new")],
        "a directory through a link": [there, directory(b"d/dir")],
        "a directory over a link": [there, directory(b"d"), file(b"d/new")],
        "a link through a link": [aside, link(b"d/new", b"x")],
        "a FIFO through a link": [there, entry(b"d/new", flag=b"6")],
        "a whiteout through a link": [there, file(b"d/.wh.victim", b"")],
        "an opaque directory through a link": [there, file(b"d/.wh..wh..opq", b"")],
        "a whiteout of a link": [there, file(b".wh.d", b"")],
        "a hard link through a link": [there, hard(b"x", b"d/victim"), file(b"x", mode=0o777)],
        "a hard link into a link": [file(b"x") + aside, hard(b"d/new", b"x")],
        "a hard link to a link": [victim, hard(b"y", b"x"), file(b"y", mode=0o777, owner=12)],
        "a file over a link": [victim, file(b"x", mode=0o4777, owner=12)],
        "a directory over a link to a file": [victim, directory(b"x")],
        "a link of links": [link(b"a", b".") + link(b"b", b"a/.."), file(b"b/outside/new")],
        "links that circle": [link(b"d", b"e") + link(b"e", b"d"), file(b"d/new")],
        "a link to itself": [link(b"d", b"d"), file(b"d/new")],
        "a link to the root's parent": [link(b"d", b".."), file(b"d/outside/victim")],
        "a path that no system can resolve": list(_beyond_path_max()),
    }


def _beyond_path_max() -> Iterator[bytes]:
    """Yield links that together are longer than PATH_MAX, so that resolving them ends early, and what leads on."""
    long, steps, parts, at = b"d" * 247, [], [], b""
    for step in (b"%c" % letter for letter in b"abcdefghijklmnop"):
        parts += directory(at + long), link(at + step, long)
        at += long + b"/"
        steps.append(step)
    end = b"/".join(steps) + b"/" + b"l" * 254
    yield b"".join(parts) + link(end, b"../" * len(steps))
    yield link(b"escape", end + b"/" + ASIDE)
    yield file(b"escape/new") + hard(b"flag", b"escape/victim")


def _roots(out: bytes) -> dict[str, Layers]:
    return {
        "the root as a link": (link(b".", out), file(b"victim")),
        "the root as a link with a slash": (link(b"./", out), file(b"victim")),
        "the root as a link without a name": (entry(b"", flag=b"2", target=out), file(b"victim")),
        "the root as a file": (file(b"."),),
        "the root as a file with a slash": (file(b"./"),),
        "the root as a hard link": (file(b"x") + hard(b".", b"x"),),
        "the root as a FIFO": (entry(b".", flag=b"6"),),
        "the root's mode": (entry(b"./", flag=b"5", mode=0o4777, owner=12),),
        "a hard link to the root": (hard(b"x", b"."),),
        "a whiteout of the root": (file(b".wh..", b""),),
        "a whiteout of the root's parent": (file(b".wh...", b""),),
        "a whiteout of nothing": (file(b".wh.", b""),),
        "a whiteout of nothing below": (directory(b"d") + file(b"d/.wh.", b""),),
        "a whiteout of a parent below": (directory(b"d") + file(b"d/.wh...", b""),),
        "a whiteout of a whiteout": (file(b".wh..wh.x", b""),),
        "an old union file system's own": (file(b".wh..wh.plnk/x", b""),),
        "a directory with a whiteout's name": (directory(b".wh.d") + file(b".wh.d/x"),),
        "an opaque root": (file(b"x"), file(b".wh..wh..opq", b"")),
        "a whiteout as a link": (link(b".wh.x", out),),
        "a temporary file's name": (file(b".wh..instep-1-1"),),
    }


def _differentials(out: bytes) -> dict[str, Layers]:
    inner = file(ASIDE + b"/new")
    huge = (1 << 95 | 1 << 70).to_bytes(12, "big")
    negative = (-512 % (1 << 96)).to_bytes(12, "big")
    return {
        "a size that an extended header makes less": (pax((b"size", b"0")) + file(b"a", inner) + file(b"b"),),
        "a size that an extended header makes more": (
            pax((b"size", b"%d" % len(inner))) + entry(b"a", inner, size=0) + file(b"b"),
        ),
        "a link with a content": (entry(b"a", inner, b"2", target=out),),
        "a directory with a content": (entry(b"a", inner, b"5"),),
        "a file with a slash and a content": (entry(b"a/", inner),),
        "a hard link with a content": (file(b"x") + entry(b"y", inner, b"1", target=b"x"),),
        "a FIFO with a content": (entry(b"a", inner, b"6"),),
        "a negative size": (entry(b"a", size=negative) + inner,),
        "a size beyond 64 bits": (entry(b"a", size=huge) + inner,),
        "a size in an octal number that is none": (entry(b"a", size=b"0000000009\0\0") + inner,),
        "a negative owner": (entry(b"a", owner=b"\xff" * 8),),
        "a time beyond 64 bits": (entry(b"a", mtime=huge),),
        "a time long before the epoch": (pax((b"mtime", b"-9223372036854775808")) + file(b"a"),),
        "two entries of one name": (file(b"a") + link(b"a", out) + file(b"a/victim"),),
        "one name in many spellings": (file(b"a") + link(b"./a", out) + directory(b"a//") + file(b"a/./victim"),),
        "a file and a directory of one name": (file(b"a") + directory(b"a") + file(b"a/x") + file(b"a"),),
        "two long names": (entry(b"L", b"a\0", b"L") * 2 + file(b"a"),),
        "a long name and an extended header": (
            entry(b"L", b"a\0", b"L") + pax((b"path", ASIDE + b"/new")) + file(b"a"),
        ),
        "a long name with two ends": (entry(b"L", b"a\0/" + ASIDE + b"/new\0", b"L") + file(b"a"),),
        "two extended headers": (pax((b"path", b"a")) + pax((b"path", ASIDE + b"/new")) + file(b"a"),),
        "a name twice in an extended header": (pax((b"path", b"a"), (b"path", ASIDE + b"/new")) + file(b"a"),),
        "a name for all": (pax((b"path", ASIDE + b"/new"), flag=b"g") + file(b"a"),),
        "a target for all": (pax((b"linkpath", out + b"/victim"), flag=b"g") + file(b"x") + hard(b"a", b"x"),),
        "a size for all": (pax((b"size", b"0"), flag=b"g") + file(b"a", inner),),
        "an extended header at the end": (pax((b"path", ASIDE + b"/new")),),
        "an archive behind the end": (file(b"a") + END + inner,),
        "a zero block before an entry": (file(b"a") + bytes(512) + inner,),
        "a sparse file that overlaps": (
            pax((b"GNU.sparse.size", b"9"), (b"GNU.sparse.map", b"0,4,2,4")) + file(b"a", b"12345678"),
        ),
        "a sparse file of the old format": (entry(b"a", b"evil", b"S"),),
        "a sparse file of 8 EiB": (pax((b"GNU.sparse.size", b"9223372036854775807"), (b"GNU.sparse.map", b"0,0"))
                                   + file(b"a", b""),),
        "a type that nobody knows": (entry(b"a", inner, b"Z"),),
        "GNU's list of a directory": (entry(b"a", b"Yvictim\0\0", b"D"),),
        "a volume's name": (entry(ASIDE, b"", b"V") + file(b"a"),),
        "a file that goes on from another volume": (entry(b"a", b"evil", b"M"),),
        "a truncated file": (entry(b"a", b"evil", size=1 << 20),),
        "hard links that wait for each other": (hard(b"a", b"b") + hard(b"b", b"a"),),
        "a hard link to itself": (hard(b"a", b"a"), file(b"a")),
        "a hard link to a directory": (directory(b"d") + hard(b"a", b"d"),),
        "a hard link to what comes later": (hard(b"a", b"b") + file(b"b"),),
        "a file below a file": (file(b"a") + file(b"a/b"),),
    }  # fmt: skip


def _names(out: bytes) -> dict[str, Layers]:
    composed, decomposed = "\u00e9".encode(), "e\u0301".encode()
    return {
        "names that some systems take for one": (
            link(composed, out) + directory(decomposed) + file(decomposed + b"/new"),
            link(b"D", out) + directory(b"d") + file(b"d/new"),
            link("ß".encode(), out) + directory(b"ss") + file(b"ss/new"),
        ),
        "backslashes": (file(b"..\\outside\\new"), link(b"d", b"..\\outside"), file(b"d\\new")),
        "a drive": (file(b"C:../outside/new"), link(b"d", b"C:../outside"), file(b"D:/new")),
        "names that a terminal would obey": (file(b"\x1b]0;x\x07") + file(b"a\nagent: error: x") + file(b"\xff\xfe"),),
        "a name of 255 bytes": (file(b"n" * 255),),
        "a name of 256 bytes": (file(b"n" * 256),),
        "a deep path": (file(b"d/" * 300 + b"f"),),
        "a path that is too deep": (file(b"d/" * 5000 + b"f"),),
        "a target that no system takes": (link(b"a", b"t" * 5000),),
        "a target that is longer than a path": (link(b"a", b"../" * 1300 + out[1:]),),
        "a target with a NUL": (pax((b"linkpath", b"a\0b")) + entry(b"a", flag=b"2", target=b"a"),),
    }


def _attributes() -> dict[str, Layers]:
    return {
        "setuid and the rest": (file(b"a", mode=0o7777, owner=12) + directory(b"d", 0o7777),),
        "a directory that lets nobody in": (directory(b"d", 0) + file(b"d/x"), file(b"d/x", b"more")),
        "attributes of others": (
            pax(
                (b"SCHILY.xattr.trusted.overlay.opaque", b"y"),
                (b"SCHILY.xattr.security.selinux", b"x"),
                (b"SCHILY.xattr.system.posix_acl_access", b"x"),
            )
            + directory(b"d"),
        ),
        "attributes that are too large": (pax((b"SCHILY.xattr.user.a", b"x" * 70_000)) + file(b"a"),),
        "a capability that is none": (pax((b"SCHILY.xattr.security.capability", b"x")) + file(b"a"),),
        "a character device": (entry(b"a", flag=b"3", device=(1, 3)), file(b"a")),
        "a block device": (entry(b"a", flag=b"4", device=(7, 255), mode=0o666),),
        "a device of a large number": (entry(b"a", flag=b"3", device=(0o7777777, 0o7777777)),),
        "a file over a FIFO": (entry(b"a", flag=b"6"), file(b"a", b"x" * 100_000)),
    }
