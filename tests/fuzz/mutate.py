"""Changes to what a reader gets, made of one random generator: to bytes of any kind, and to JSON that stays JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutate = Callable[[bytes, Random], bytes]
"""Returns something like what it gets."""

NUMBERS = [0, 1, -1, 2, 7, 8, 127, 128, 255, 256, 511, 512, 513, 4095, 1 << 15, 65535, 1 << 20, (1 << 31) - 1, 1 << 31]
NUMBERS += [
    (1 << 32) - 2,
    (1 << 32) - 1,
    1 << 32,
    (1 << 62) + 512,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    10**19,
    10**400,
]
ODD: list[Any] = [
    None,
    True,
    False,
    "",
    [],
    {},
    0.5,
    1e400,
    float("nan"),
    "\ud800",
    "\x00",
    "é",
    [[]],
    {"": {}},
    "1_0",
    "\N{ARABIC-INDIC DIGIT ONE}",
]
_DIGITS = re.compile(rb"[0-9]+")
_LENGTH_MAX = 1 << 16


def bytewise(*words: bytes) -> Mutate:
    """Return a mutator of bytes that knows some words of their language."""

    def mutate(data: bytes, chance: Random) -> bytes:
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            data = chance.choice(_EDITS)(data, chance, words)
        return data[:_LENGTH_MAX]

    return mutate


def _spot(data: bytes, chance: Random) -> int:
    return chance.randint(0, len(data))


def _piece(data: bytes, chance: Random) -> tuple[int, int]:
    start = _spot(data, chance)
    return start, min(len(data), start + chance.choice((1, 1, 2, 4, 8, 32, 128, 512, 4096)))


def _flip(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    if not data:
        return b"\0"
    at = chance.randrange(len(data))
    return data[:at] + bytes((data[at] ^ (1 << chance.randrange(8)),)) + data[at + 1 :]


def _set(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    at = _spot(data, chance)
    return (
        data[:at]
        + bytes((chance.choice((0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x20, chance.randrange(256))),))
        + data[at + 1 :]
    )


def _cut(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    start, end = _piece(data, chance)
    return data[:start] + data[end:]


def _truncate(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    return data[: _spot(data, chance)]


def _repeat(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    start, end = _piece(data, chance)
    return data[:end] + data[start:end] * chance.choice((1, 1, 2, 64)) + data[end:]


def _move(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    start, end = _piece(data, chance)
    at = _spot(data, chance)
    return data[:at] + data[start:end] + data[at + (end - start) * chance.randrange(2) :]


def _insert(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    at = _spot(data, chance)
    word = chance.choice(words) if words else chance.randbytes(chance.randint(1, 8))
    return data[:at] + word + data[at + len(word) * chance.randrange(2) :]


def _count(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    """Put another number where decimal digits stand."""
    found = list(_DIGITS.finditer(data))
    if not found:
        return _flip(data, chance, words)
    match = chance.choice(found)
    number = chance.choice((chance.choice(NUMBERS), int(match[0][:19]) + chance.choice((-1, 1, 512))))
    return data[: match.start()] + b"%d" % number + data[match.end() :]


def _binary(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    """Put another number where a binary one may stand."""
    size, at = chance.choice((1, 2, 3, 4, 8)), _spot(data, chance)
    number = chance.choice(NUMBERS) & ((1 << 8 * size) - 1)
    return data[:at] + number.to_bytes(size, chance.choice(("little", "big"))) + data[at + size :]


_EDITS = (_flip, _flip, _set, _cut, _truncate, _repeat, _move, _insert, _insert, _count, _count, _binary)


def jsonwise(*words: bytes) -> Mutate:
    """Return a mutator of JSON; one time in eight what comes out is no JSON any more."""
    plain = bytewise(*words, b'"', b"{", b"[", b"\\ud800", b"1e400", b"[" * 3000)

    def mutate(data: bytes, chance: Random) -> bytes:
        if not chance.randrange(8):
            return plain(data, chance)
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return plain(data, chance)
        for _ in range(chance.choice((1, 1, 2, 3))):
            value = spoilt(value, chance, words)
        return dump(value)

    return mutate


def dump(value: Any) -> bytes:
    """Return canonical JSON, of what is no valid text, too."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode(errors="surrogatepass") if _is_text(text) else json.dumps(value, separators=(",", ":")).encode()


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def spoilt(value: Any, chance: Random, words: Sequence[bytes] = ()) -> Any:
    """Return a JSON value with one thing changed, somewhere."""
    if isinstance(value, dict) and value and chance.randrange(6):
        key = chance.choice(sorted(value))
        if (how := chance.randrange(8)) == 0:
            return {name: item for name, item in value.items() if name != key}
        if how == 1:
            other = chance.choice(sorted(value))
            return {**value, key: value[other], other: value[key]}
        if how == 2:
            return {**value, _word(chance, words): value[key]}
        return {**value, key: spoilt(value[key], chance, words)}
    if isinstance(value, list) and value and chance.randrange(6):
        at = chance.randrange(len(value))
        if (how := chance.randrange(8)) == 0:
            return value[:at] + value[at + 1 :]
        if how == 1:
            return [*value, value[at]]
        if how == 2:
            return value[at:] + value[:at]
        return [*value[:at], spoilt(value[at], chance, words), *value[at + 1 :]]
    return _other(value, chance, words)


def _other(value: Any, chance: Random, words: Sequence[bytes]) -> Any:
    if isinstance(value, str) and chance.randrange(4):
        if value[:1] in ("{", "[") and chance.randrange(4):
            try:
                return dump(spoilt(json.loads(value), chance, words)).decode(errors="surrogatepass")
            except (ValueError, RecursionError):
                pass
        return bytewise(*words)(value.encode(errors="surrogatepass"), chance).decode(errors="replace")
    if isinstance(value, int) and chance.randrange(4):
        return chance.choice((chance.choice(NUMBERS), int(value) + chance.choice((-1, 1))))
    return chance.choice((chance.choice(ODD), chance.choice(NUMBERS), _word(chance, words)))


def _word(chance: Random, words: Sequence[bytes]) -> str:
    return chance.choice(words).decode(errors="replace") if words else "x"
