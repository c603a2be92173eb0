"""Everything that a workspace may hold, case by case: functions that make it in a directory, `CASES` by name."""

from __future__ import annotations

import os
import random
import stat
import struct
from collections.abc import Callable

from tests.fakes.trees import make_path

Make = Callable[[bytes], None]

CASES: dict[str, Make] = {}
ROOT_ONLY = {"owners", "capability", "devices", "a device without a number", "directories that nobody may enter"}
"""Cases that only root can make."""

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
"""`cap_net_bind_service=ep`, version 2 (linux/capability.h)."""

DEEP = b"/".join(b"%03d-" % number + b"d" * 196 for number in range(24))
"""A path of 4,823 bytes: more than the system takes at once."""


def case(make: Make) -> Make:
    """Enter a function into `CASES`, named by its words."""
    CASES[make.__name__.replace("_", " ")] = make
    return make


def write(top: bytes, path: bytes, content: bytes = b"", mode: int = 0o644) -> bytes:
    """Write a file, its directories too, and return where it is."""
    place = os.path.join(top, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as file:
        file.write(content)
    os.chmod(place, mode)
    return place


def noise(length: int, seed: int = 1) -> bytes:
    """Return bytes that no compression makes smaller, the same each time."""
    return random.Random(seed).randbytes(length)


@case
def regular_files(top: bytes) -> None:
    for size in (0, 1, 511, 512, 513, 1 << 16, (4 << 20) - 1, (4 << 20) + 1):
        write(top, b"regular/%d" % size, noise(size))
    write(top, b"regular/spans frames", noise(9 << 20))
    write(top, b"regular/zeros", bytes(3 << 20))


@case
def empty_things(top: bytes) -> None:
    write(top, b"empty/file")
    os.makedirs(top + b"/empty/a/b/c")


@case
def symbolic_links(top: bytes) -> None:
    write(top, b"links/directory/file", b"x")
    for name, target in {
        b"dangling": b"nowhere",
        b"absolute": b"/etc/passwd",
        b"directory link": b"directory",
        b"out": b"../../../..",
        b"itself": b"itself",
        b"slash": b"directory/",
        b"long": b"t" * 4000,
        b"bytes": b"a\xff\nb",
        b"whiteout": b".wh.x",
    }.items():
        os.symlink(target, top + b"/links/" + name)
    os.utime(top + b"/links/dangling", ns=(1, 1_234_567_890_123_456_789), follow_symlinks=False)


@case
def hard_links(top: bytes) -> None:
    write(top, b"hard/one", b"two names")
    os.link(top + b"/hard/one", top + b"/hard/two")
    write(top, b"hard/a/1", noise(5000), mode=0o640)
    os.makedirs(top + b"/hard/b/c")
    os.link(top + b"/hard/a/1", top + b"/hard/b/2")
    os.link(top + b"/hard/a/1", top + b"/hard/b/c/3")
    write(top, b"hard/empty")
    os.link(top + b"/hard/empty", top + b"/hard/also empty")
    os.symlink(b"one", top + b"/hard/link")
    os.link(top + b"/hard/link", top + b"/hard/same link", follow_symlinks=False)
    os.mkfifo(top + b"/hard/pipe")
    os.link(top + b"/hard/pipe", top + b"/hard/same pipe")
    os.link(write(top, b"hard/" + b"l" * 200, b"long"), top + b"/hard/" + b"m" * 200)


@case
def fifos(top: bytes) -> None:
    os.makedirs(top + b"/fifos")
    os.mkfifo(top + b"/fifos/pipe", 0o600)
    os.chmod(top + b"/fifos/pipe", 0o622)
    os.utime(top + b"/fifos/pipe", ns=(5, 1_000_000_007))


@case
def modes_of_files(top: bytes) -> None:
    for mode in (0o400, 0o444, 0o600, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777):
        write(top, b"modes/%o" % mode, b"%o" % mode, mode=mode)
    if os.geteuid() == 0:
        write(top, b"modes/0", b"none", mode=0)


@case
def modes_of_directories(top: bytes) -> None:
    for mode in (0o500, 0o555, 0o700, 0o777, 0o1777, 0o2775, 0o7755):
        write(top, b"directories/%o/file" % mode, b"x")
        os.makedirs(top + b"/directories/%o/below" % mode)
        os.chmod(top + b"/directories/%o" % mode, mode)


@case
def directories_that_nobody_may_enter(top: bytes) -> None:
    write(top, b"closed/file", b"x")
    os.chmod(top + b"/closed", 0)


@case
def owners(top: bytes) -> None:
    os.makedirs(top + b"/owners/directory")
    os.chown(top + b"/owners/directory", 1001, 1002)
    for uid, gid in ((1, 2), (65534, 65534), (2_097_151, 2_097_152), (4_000_000_000, 4_294_967_294)):
        place = write(top, b"owners/%d" % uid, b"mine", mode=0o600)
        os.chown(place, uid, gid)
        os.symlink(b"x", place + b" link")
        os.chown(place + b" link", uid, gid, follow_symlinks=False)
    place = write(top, b"owners/setuid", b"x")
    os.chown(place, 7, 7)
    os.chmod(place, 0o6755)


@case
def times(top: bytes) -> None:
    for number, ns in enumerate(
        (
            0,
            1,
            999_999_999,
            1_700_000_000_123_456_789,
            -1,
            -1_500_000_000,
            -1_000_000_000_000_000_001,
            13_000_000_000 << 30,
        )
    ):
        os.utime(write(top, b"times/%d" % number, b"x"), ns=(ns, ns))
        os.mkdir(top + b"/times/d%d" % number)
        write(top, b"times/d%d/below" % number)
        os.utime(top + b"/times/d%d" % number, ns=(ns, ns))
        os.symlink(b"x", top + b"/times/l%d" % number)
        os.utime(top + b"/times/l%d" % number, ns=(ns, ns), follow_symlinks=False)
    os.utime(top + b"/times", ns=(3, 3))


@case
def extended_attributes(top: bytes) -> None:
    for name, mode in ((b"file", 0o644), (b"read-only", 0o444), (b"special", 0o6755)):
        place = write(top, b"xattrs/" + name, b"x", mode=0o644)
        for attribute, value in (
            ("user.text", b"value"),
            ("user.bytes", bytes(range(256))),
            ("user.empty", b""),
            ("user.two\nlines=\u00e9", b"=\n"),
        ):
            os.setxattr(place, attribute, value)
        os.chmod(place, mode)
    os.mkdir(top + b"/xattrs/directory")
    os.setxattr(top + b"/xattrs/directory", "user.on.directory", b"yes")
    os.setxattr(top + b"/xattrs", "user.above", b"yes")


@case
def capability(top: bytes) -> None:
    place = write(top, b"capable", b"#!", mode=0o755)
    os.setxattr(place, "security.capability", CAPABILITY)
    os.setxattr(place, "user.too", b"1")


@case
def sparse_files(top: bytes) -> None:
    os.makedirs(top + b"/sparse")
    for name, size, places in (
        (b"all hole", 64 << 20, ()),
        (b"middle", 64 << 20, (30 << 20,)),
        (b"odd", (48 << 20) + 1, (12_345_678, (48 << 20) - 5)),
        (b"small", 100_000, (50_000,)),
    ):
        with open(top + b"/sparse/" + name, "wb") as file:
            file.truncate(size)
            for place in places:
                os.pwrite(file.fileno(), b"data" + noise(20), min(place, size - 24))


@case
def odd_names(top: bytes) -> None:
    for name in (
        b"new\nline",
        b" spaces ",
        b"-rf",
        b"--",
        b"*",
        b"\\",
        b"tab\t\r\x01\x7f",
        b"\xff\xfe not utf-8",
        "umlaut \u00e4 \U0001f600".encode(),
        b"a\xcc\x88",
        b"n" * 255,
        b"\xf0" * 255,
        b"...",
        b".hidden",
        b"wh.x",
        b".wh",
        b"PaxHeader",
        b"x/./y".replace(b"/", b"|"),
    ):
        write(top, b"names/" + name, name)
        write(top, b"names/in/" + name + b"/below", name)
        os.symlink(name, top + b"/names/in/" + name + b"/link")


@case
def paths_longer_than_the_system_takes(top: bytes) -> None:
    fd = make_path(top, DEEP)
    with open(os.open(b"file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd), "wb") as file:
        file.write(b"deep")
    os.link(b"file", b"again", src_dir_fd=fd, dst_dir_fd=fd)
    os.symlink(b"file", b"link", dir_fd=fd)
    os.mkfifo(b"pipe", dir_fd=fd)
    os.close(fd)


@case
def devices(top: bytes) -> None:
    os.makedirs(top + b"/devices")
    os.mknod(top + b"/devices/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(top + b"/devices/null", 0o666)
    os.mknod(top + b"/devices/loop", stat.S_IFBLK | 0o660, os.makedev(7, 300))
    os.chown(top + b"/devices/loop", 0, 6)


@case
def a_device_without_a_number(top: bytes) -> None:
    os.mknod(top + b"/zero", stat.S_IFCHR | 0o600, os.makedev(0, 0))


def make_all(top: bytes) -> None:
    """Make every case that this user can make."""
    for name, make in CASES.items():
        if os.geteuid() == 0 or name not in ROOT_ONLY:
            make(top)
