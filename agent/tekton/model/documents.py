"""Reading and writing YAML and JSON as Kubernetes does. The only module that imports PyYAML.

Unlike PyYAML's YAML 1.1, dates are text, 12:30 is not a number, and duplicate keys are an error. A JSON file may hold
several objects in a row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import yaml

from agent.errors import UsageError

DEPTH = 100
"""Levels of nesting, far more than Tekton's objects have."""

ALIASES = 1000
"""Aliases in one text. A few nested aliases can expand to more than fits into memory."""

SIZE = 1_000_000
"""Scalars, lists and mappings of one text, with aliases expanded."""

_BLANK = re.compile(r"[ \t\r\n]*")
_STRING = "tag:yaml.org,2002:str"
_READ_AS_TEXT = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
# Texts that some YAML reader does not read as text.
_DOUBTFUL = re.compile(r"[-+]?[.0-9][0-9a-zA-Z_.:+-]*|[yYnN]|<<|=|~")


def read(text: str, name: str) -> list[dict[str, Any]]:
    """Return the documents of a stream of YAML or JSON. Empty documents are left out.

    Args:
        name: the name of the text, for errors.

    Raises:
        UsageError: the text is not YAML, or a document is not a mapping.
    """
    try:
        documents = _json_stream(text)
        if documents is None:
            documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise UsageError(f"no YAML: {problem}", subject=f"{name}{line}", remedy="mend it") from error
    except RecursionError as error:
        raise _too_much(name) from error
    left = SIZE
    for document in documents:
        if not isinstance(document, dict):
            raise UsageError("one of its documents is no mapping", subject=name, remedy="give objects of Kubernetes")
        left = _checked(document, name, DEPTH, left)
    return documents


def read_objects(text: str, name: str) -> list[dict[str, Any]]:
    """Return the objects in a file: its documents, and the items of lists as `kubectl get` prints them.

    Raises:
        UsageError: as `read`; or an item of a list is not a mapping.
    """
    return [found for document in read(text, name) for found in _unlisted(document, name)]


def write(documents: Iterable[Any]) -> str:
    """Return objects as a YAML stream, with keys in their order, and multi-line texts as blocks."""
    return str(
        yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**20, explicit_start=True)
    )


class _Loader(yaml.SafeLoader):
    """Reads scalars as Kubernetes' YAML reader for Go does."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _READ_AS_TEXT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > ALIASES:
                raise yaml.composer.ComposerError(problem=f"it has more than {ALIASES} aliases")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag == _STRING]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key} is a duplicate key", problem_mark=node.start_mark
                )
        return super().construct_mapping(node, deep)


def _json_stream(text: str) -> list[Any] | None:
    """Return the values of a JSON text, None if the text is not JSON."""
    if not text.lstrip().startswith("{"):
        return None
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
    found, at = [], 0
    try:
        while (blank := _BLANK.match(text, at)) and (at := blank.end()) < len(text):
            value, at = decoder.raw_decode(text, at)
            found.append(value)
    except json.JSONDecodeError:
        return None
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key} is a duplicate key")
        found[key] = value
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _unlisted(document: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """Yield the items of a list of objects, also of nested lists, or the document itself if it is not a list."""
    kind = document.get("kind")
    is_typed = isinstance(kind, str) and kind.endswith("List") and isinstance(document.get("items"), list)
    if kind != "List" and not is_typed:
        yield document
        return
    items = document.get("items")
    if not isinstance(items, list | None) or not all(isinstance(item, dict) for item in items or ()):
        raise UsageError("a list in it holds something else than objects", subject=name, remedy="give objects")
    # The items of a TaskList are Tasks without apiVersion and kind.
    common = {"apiVersion": document.get("apiVersion"), "kind": str(kind)[: -len("List")]} if kind != "List" else {}
    for item in items or ():
        yield from _unlisted({**common, **item}, name)


def _unless_sexagesimal(construct: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def constructed(loader: Any, node: Any) -> Any:
        if _SEXAGESIMAL.fullmatch(node.value):
            return loader.construct_yaml_str(node)
        return construct(loader, node)

    return constructed


_Loader.add_constructor("tag:yaml.org,2002:int", _unless_sexagesimal(yaml.SafeLoader.construct_yaml_int))
_Loader.add_constructor("tag:yaml.org,2002:float", _unless_sexagesimal(yaml.SafeLoader.construct_yaml_float))


class _Dumper(yaml.SafeDumper):
    """Writes YAML that all readers understand in the same way."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent(dumper: Any, text: str) -> Any:
    if not text.replace("\n", "").isprintable():
        style: str | None = '"'  # other styles fold some line breaks of Unicode
    elif "\n" in text:
        style = "|"
    else:
        style = "'" if _DOUBTFUL.fullmatch(text) else None
    return dumper.represent_scalar(_STRING, text, style=style)


_Dumper.add_representer(str, _represent)


def _checked(value: Any, name: str, depth: int, left: int) -> int:
    """Return the number of values that a text may still have after those in `value`."""
    if depth == 0 or left == 0:
        raise _too_much(name)
    left -= 1
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise UsageError(f"the key {key!r} is no string", subject=name, remedy="put it into quotes")
            left = _checked(item, name, depth - 1, left)
    elif isinstance(value, list):
        for item in value:
            left = _checked(item, name, depth - 1, left)
    elif isinstance(value, set | bytes):
        raise UsageError("it has a value that JSON has not", subject=name, remedy="write text, lists and mappings")
    return left


def _too_much(name: str) -> UsageError:
    return UsageError("nested too deeply, or too large", subject=name, remedy="give objects of Kubernetes")
