"""The one argument of `agent step pull` and `agent step push`: all workspaces of a task, as JSON (docs/steps.md).

Pure: what can be judged without looking at a disk is judged here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, cast, get_args

from agent.core.path import check_path
from agent.core.reference import LayoutReference, Reference, parse_reference
from agent.core.select import escape
from agent.core.tags import check_target_tag
from agent.errors import InvalidReferenceError, UnsafeArchiveError, UsageError
from agent.sync.options import Compression, OnConflict

_RETRY = re.compile(r"-retry([0-9]{1,9})\Z")
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_NAME = "{{workspace}}"


@dataclass(frozen=True, slots=True)
class Results:
    """What the task may have written for Tekton's termination message.

    Attributes:
        directory: where the files lie, one for each result.
        names: of the results, which are the files' names.
        limit: bytes that one container's message may have.
    """

    directory: str
    names: tuple[str, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class StepWorkspace:
    """One workspace of a task.

    Attributes:
        directory: where its volume is mounted, absolute.
        sub_path: what the task mounts of it; `b""` for all.
        paths: globs of a sparse pull, from the workspace's root.
        fresh: nothing is there to pull, and the directory is empty before the task: the push needs no pull before it.
    """

    name: str
    directory: str
    target: Reference
    base: Reference | None = None
    base_path: bytes = b""
    lane: str | None = None
    after: tuple[str, ...] = ()
    sub_path: bytes = b""
    read_only: bool = False
    paths: tuple[bytes, ...] = ()
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class StepArgument:
    """What both steps of a task are told.

    Attributes:
        volume: the directory for all that the steps keep, absolute.
        attempt: which try of the task this is, None if the pod was not named.
        credentials: a directory that may hold `.docker/config.json`.
    """

    volume: str
    workspaces: tuple[StepWorkspace, ...]
    attempt: int | None = None
    credentials: str | None = None
    ca_file: str | None = None
    plain_http: bool = False
    on_conflict: OnConflict = "last"
    compression: Compression = "zstd"
    message: str = ""
    results: Results | None = None


def parse_step(text: str) -> StepArgument:
    """Return what the JSON object `text` says.

    Raises:
        UsageError: it is no such object: unknown, missing or doubled fields, wrong types, variables that nobody
            replaced, references that are none, workspaces that get into each other's way.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        _refuse("", f"not JSON ({error})" if isinstance(error, json.JSONDecodeError) else "not JSON")
    fields = _Fields(value, "")
    volume = fields.take("volume", _directory)
    pod = fields.maybe("pod", _text)
    argument = StepArgument(
        volume=volume,
        attempt=None if pod is None else _attempt(pod),
        credentials=fields.maybe("credentials", _directory),
        ca_file=fields.maybe("ca-file", _directory),
        plain_http=fields.maybe("plain-http", _flag) or False,
        on_conflict=cast(OnConflict, fields.maybe("on-conflict", _one_of(*get_args(OnConflict))) or "last"),
        compression=cast(Compression, fields.maybe("compression", _one_of(*get_args(Compression))) or "zstd"),
        message=fields.maybe("message", _free_text) or "",
        results=fields.maybe("results", _results),
        workspaces=fields.take("workspaces", _list_of(_workspace)),
    )
    fields.end()
    if not argument.workspaces:
        _refuse("workspaces", "none is named")
    _refuse_entangled(argument)
    return argument


class _Fields:
    """The fields of one object; each is taken once."""

    def __init__(self, value: Any, where: str) -> None:
        if type(value) is not dict:
            _refuse(where, "not an object")
        self._rest = dict(value)
        self._where = where

    def maybe(self, name: str, parse: Callable[[Any, str], Any]) -> Any:
        """Return a field, None if it is not there."""
        if name not in self._rest:
            return None
        return parse(self._rest.pop(name), f"{self._where}.{name}" if self._where else name)

    def take(self, name: str, parse: Callable[[Any, str], Any]) -> Any:
        """Return a field that must be there."""
        if name not in self._rest:
            _refuse(self._where, f"the field {name!r} is missing")
        return self.maybe(name, parse)

    def end(self) -> None:
        """Refuse what nobody took."""
        if self._rest:
            _refuse(self._where, f"unknown field {min(self._rest)!r}")


def _workspace(value: Any, where: str) -> StepWorkspace:
    fields = _Fields(value, where)
    name = fields.take("name", _text)
    sub_path = fields.maybe("sub-path", _below) or b""
    paths = tuple(glob.encode() for glob in fields.maybe("paths", _list_of(_glob)) or ())
    below = escape(sub_path)
    if below:
        paths = tuple(below + b"/" + glob.strip(b"/") for glob in paths) or (below,)
    base = fields.maybe("base", _reference)
    base_path = fields.maybe("base-path", _below) or b""
    if base_path and base is None:
        _refuse(f"{where}.base-path", "there is no base that it could lie in")
    workspace = StepWorkspace(
        name=name,
        directory=fields.take("directory", _directory),
        target=_target(fields.take("target", _free_text), name, f"{where}.target"),
        base=base,
        base_path=base_path,
        lane=fields.maybe("lane", _text),
        after=fields.maybe("after", _list_of(_text)) or (),
        sub_path=sub_path,
        read_only=fields.maybe("read-only", _flag) or False,
        paths=paths,
        fresh=fields.maybe("fresh", _flag) or False,
    )
    fields.end()
    if workspace.fresh and base is not None:
        _refuse(f"{where}.fresh", "there is a base, which must be pulled")
    return workspace


def _results(value: Any, where: str) -> Results:
    fields = _Fields(value, where)
    results = Results(
        directory=fields.take("directory", _directory),
        names=fields.take("names", _list_of(_file_name)),
        limit=fields.take("limit", _positive),
    )
    fields.end()
    return results


def _refuse_entangled(argument: StepArgument) -> None:
    """Refuse workspaces of one name, in one directory, or that write one target in each other's way."""
    for at, one in enumerate(argument.workspaces):
        for other in argument.workspaces[:at]:
            where = f"workspaces[{at}]"
            if one.name == other.name:
                _refuse(where, f"a second workspace {one.name!r}")
            if one.directory == other.directory:
                _refuse(where, f"a second workspace in {one.directory}")
            if one.target != other.target or one.read_only or other.read_only:
                continue
            if _overlap(one.sub_path, other.sub_path):
                _refuse(where, f"it writes what {other.name!r} writes: two copies of one tree cannot be kept alike")
            if one.lane == other.lane:
                _refuse(where, f"it has the target and the lane of {other.name!r}: give each a lane of its own")


def _overlap(one: bytes, other: bytes) -> bool:
    return not one or not other or (one + b"/").startswith(other + b"/") or (other + b"/").startswith(one + b"/")


def _attempt(pod: str) -> int:
    """Return the attempt that Tekton's name of a pod says: `…-retryN` of a retry."""
    match = _RETRY.search(pod)
    return int(match[1]) if match else 0


def _target(text: str, name: str, where: str) -> Reference:
    filled = text.replace(_NAME, name)
    if left := _PLACEHOLDER.search(text.replace(_NAME, "")):
        _refuse(where, f"unknown placeholder {left[0]}; there is {_NAME} only")
    reference = _reference(filled, where)
    if reference.digest is not None or reference.tag is None:
        _refuse(where, f"{filled} is no tag; a digest never changes")
    try:
        check_target_tag(reference.tag)
    except InvalidReferenceError as error:
        _refuse(where, error.what)
    return reference


def _reference(value: Any, where: str) -> Reference:
    text = _text(value, where)
    try:
        reference = parse_reference(text)
    except InvalidReferenceError as error:
        _refuse(where, f"{error.subject} is {error.what}")
    if isinstance(reference, LayoutReference) and not reference.path.startswith("/"):
        _refuse(where, f"{text} is not an absolute path")
    return reference


def _text(value: Any, where: str) -> str:
    """Return words without anything that a template should have replaced."""
    text = _free_text(value, where)
    if not text or not text.isprintable():
        _refuse(where, "empty, or not printable")
    for left in ("$(", "{{"):
        if left in text:
            _refuse(where, f"{text[:200]} still has {left!r} in it, which nobody replaced")
    return text


def _free_text(value: Any, where: str) -> str:
    if type(value) is not str:
        _refuse(where, "not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse(where, "not UTF-8")
    return value


def _directory(value: Any, where: str) -> str:
    text = _text(value, where)
    if not text.startswith("/"):
        _refuse(where, f"{text} is not an absolute path")
    return text


def _below(value: Any, where: str) -> bytes:
    path = _text(value, where).encode().strip(b"/")
    try:
        return check_path(path) if path else b""
    except UnsafeArchiveError:
        _refuse(where, f"{value} is not a path below the root, without '.' and '..'")


def _glob(value: Any, where: str) -> str:
    text = _free_text(value, where)
    if not text.strip("/"):
        _refuse(where, "the glob is empty")
    return text


def _file_name(value: Any, where: str) -> str:
    text = _text(value, where)
    if "/" in text or text in (".", ".."):
        _refuse(where, f"{text} is no file's name")
    return text


def _flag(value: Any, where: str) -> bool:
    if type(value) is not bool:
        _refuse(where, "neither true nor false")
    return value


def _positive(value: Any, where: str) -> int:
    if type(value) is not int or value <= 0:
        _refuse(where, "not a positive integer")
    return value


def _one_of(*choices: str) -> Callable[[Any, str], str]:
    def parse(value: Any, where: str) -> str:
        if value not in choices:
            _refuse(where, f"not one of {', '.join(choices)}")
        return str(value)

    return parse


def _list_of(parse: Callable[[Any, str], Any]) -> Callable[[Any, str], tuple[Any, ...]]:
    def parse_list(value: Any, where: str) -> tuple[Any, ...]:
        if type(value) is not list:
            _refuse(where, "not a list")
        return tuple(parse(item, f"{where}[{at}]") for at, item in enumerate(value))

    return parse_list


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        _refuse("", f"the field {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return fields


def _refuse(where: str, what: str) -> NoReturn:
    raise UsageError(
        what,
        subject=f"the step's argument, {where}" if where else "the step's argument",
        remedy="see docs/steps.md for what it may say",
    )
