"""Extended headers of the pax format: records `LENGTH KEY=VALUE` (POSIX.1-2017, pax, "pax Extended Header")."""

from __future__ import annotations

import re

from agent.archive.stream.limits import damaged
from agent.core.model.entry import MARK

SECOND = 10**9
XATTR = b"SCHILY.xattr."
TIME_MAX = SECOND << 63
"""Times lie in [-TIME_MAX, TIME_MAX): seconds that fit in 64 bits."""

_DECIMAL = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")
_INTEGER = re.compile(rb"[0-9]{1,19}")


def format_record(key: bytes, value: bytes) -> bytes:
    """Return one record. Its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) + rest != length:
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def parse_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the records of an extended header in their order; the sparse format 0.0 repeats keys.

    Raises:
        IntegrityError: `data` is not a sequence of records.
    """
    records = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        digits = data[at:space]
        if space < 0 or not digits.isdigit():
            raise damaged("an extended header holds a record without a length")
        end = at + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not (space + 3 < end <= len(data)) or data[end - 1] != 0x0A or not equals or not key:
            raise damaged("an extended header holds a malformed record")
        records.append((key, value))
        at = end
    return records


def format_time(mtime: int) -> bytes:
    """Return a time in ns as decimal seconds, sign and magnitude, exact."""
    sign = b"-" if mtime < 0 else b""
    seconds, nanos = divmod(abs(mtime), SECOND)
    return b"%b%d.%09d" % (sign, seconds, nanos) if nanos else b"%b%d" % (sign, seconds)


def parse_time(text: bytes) -> int:
    """Return decimal seconds as ns, rounded down.

    Raises:
        IntegrityError: it is no decimal number, or its seconds do not fit in 64 bits.
    """
    match = _DECIMAL.fullmatch(text)
    if not match:
        raise damaged("an extended header holds a time that is no decimal number")
    sign, seconds, fraction = match.groups(b"")
    mtime = int(seconds) * SECOND + int(fraction[:9].ljust(9, b"0"))
    if sign:
        mtime = -mtime - (1 if fraction[9:].strip(b"0") else 0)
    if not -TIME_MAX <= mtime < TIME_MAX:
        raise damaged("an extended header holds a time beyond 64 bits of seconds")
    return mtime


def parse_integer(text: bytes) -> int:
    """Return a decimal number that is not negative.

    Raises:
        IntegrityError: it is not one.
    """
    if not _INTEGER.fullmatch(text):
        raise damaged("an extended header holds a number that is no decimal number")
    return int(text)


def format_xattr_name(name: bytes) -> bytes:
    """Return the key for an attribute. A key cannot hold `=`: it is escaped as GNU tar does."""
    return XATTR + name.replace(b"%", b"%25").replace(b"=", b"%3D")


def parse_xattr_name(key: bytes) -> bytes:
    """Return the attribute that `format_xattr_name` made the key of."""
    return key[len(XATTR) :].replace(b"%3D", b"=").replace(b"%25", b"%")


def is_kept(name: bytes) -> bool:
    """Return whether an attribute belongs to the tree: `user.*`, except the agent's own, and `security.capability`."""
    return (name.startswith(b"user.") and len(name) > 5 and name != MARK) or name == b"security.capability"
