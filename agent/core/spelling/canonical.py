"""Canonical JSON: UTF-8, keys sorted, no spaces, decimal integers, absent fields omitted (design, "Changes").

Names are bytes; one that is not UTF-8 is written as `{"b64": …}`.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of `value` (dicts, lists, str, int, bool, None).

    Raises:
        ValueError: a string in it holds a lone surrogate, which UTF-8 cannot write, or a number is no number.
    """
    return _encode(value).encode()


def name_to_json(name: bytes) -> str | dict[str, str]:
    """Return a name as a JSON value."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(name).decode()}


def name_from_json(value: Any) -> bytes:
    """Return the name that `name_to_json` wrote.

    Raises:
        ValueError: it is neither a string nor `{"b64": …}`, or not in the one spelling that `name_to_json` uses.
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            name = base64.b64decode(value["b64"], validate=True)
        except binascii.Error as error:
            raise ValueError("a name is not base64") from error
        if name_to_json(name) == value:
            return name
    raise ValueError("a name is neither a string nor b64")
