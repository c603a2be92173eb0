"""Reading fields of objects from users. A field of the wrong type is an error that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.errors import UnwrappableError

Object = Mapping[str, Any]


def text(value: Object, key: str, where: str) -> str:
    """Return a string field, empty if it is absent.

    Raises:
        UnwrappableError: the field is not a string.
    """
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise _wrong(where, key, "a string")
    return found or ""


def mapping(value: Object, key: str, where: str) -> Object:
    """Return a mapping field, empty if it is absent.

    Raises:
        UnwrappableError: the field is not a mapping.
    """
    found = value.get(key)
    if found is not None and not isinstance(found, Mapping):
        raise _wrong(where, key, "a mapping")
    return found or {}


def objects(value: Object, key: str, where: str) -> list[Object]:
    """Return a field that is a list of mappings, empty if it is absent.

    Raises:
        UnwrappableError: the field is not such a list.
    """
    found = value.get(key)
    if found is not None and not (isinstance(found, list) and all(isinstance(item, Mapping) for item in found)):
        raise _wrong(where, key, "a list of mappings")
    return found or []


def number(value: Object, key: str, where: str) -> int | None:
    """Return a field that is a whole number, None if it is absent.

    Raises:
        UnwrappableError: the field is not a whole number.
    """
    found = value.get(key)
    if found is not None and (not isinstance(found, int) or isinstance(found, bool)):
        raise _wrong(where, key, "a number")
    return found


def named(items: list[Object], name: str) -> Object | None:
    """Return the item of a list that has this `name`, None if there is none."""
    return next((item for item in items if item.get("name") == name), None)


def without(value: Object, *keys: str) -> dict[str, Any]:
    """Return a mapping without some of its keys."""
    return {key: item for key, item in value.items() if key not in keys}


def _wrong(where: str, key: str, wanted: str) -> UnwrappableError:
    return UnwrappableError(f"{key} is not {wanted}", subject=where, remedy="write it as Tekton's reference has it")
