"""The one argument of `agent step pull` and `agent step push`: a task's workspaces as JSON (docs/reference/steps.md).

Pure: all checks that need no disk are here.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, cast, get_args

from agent.archive.stream.limits import DEFAULT_LIMITS, OPTIONS, ArchiveLimits, limits_of
from agent.core.directory.sparse_globs import escape
from agent.core.spelling.reference import LayoutReference, Reference, parse_reference
from agent.core.spelling.tags import check_target_tag
from agent.errors import InvalidReferenceError
from agent.sync.operation.options import Compression, OnConflict
from agent.sync.task.argument_fields import (
    Fields,
    directory,
    duration,
    each_once,
    file_name,
    flag,
    free_text,
    glob_of,
    list_of,
    one_of,
    path_below,
    positive,
    refuse,
    text_of,
)

_RETRY = re.compile(r"-retry([0-9]{1,9})\Z")
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_NAME = "{{workspace}}"


class Results(NamedTuple):
    """The task's results, which Tekton reads from the termination message.

    Attributes:
        directory: of the files, one for each result.
        names: of the results and of their files.
        limit: bytes of one container's message.
        steps: the directory of the steps' own results, `NAME/results/RESULT`; None to leave them out.
    """

    directory: str
    names: tuple[str, ...]
    limit: int
    steps: str | None = None


class StepWorkspace(NamedTuple):
    """One workspace of a task.

    Attributes:
        directory: the mount path of its volume, absolute.
        sub_path: the part of it that the task mounts; `b""` for all.
        paths: globs of a sparse pull, from the workspace's root.
        fresh: there is nothing to pull, and the directory is empty before the task: the push needs no pull before it.
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


class StepArgument(NamedTuple):
    """The argument of both steps of a task.

    Attributes:
        volume: the directory for the files of the steps, absolute.
        attempt: of the task, from 0; None if the pod was not named.
        pod_uid: of the pod of that attempt; None if it was not named.
        credentials: a directory that may hold `.docker/config.json`.
        step_result: the file that the push step writes its result to, absolute; None for no result.
        patience: seconds that each step waits for its stores without progress; None for the default.
        limits: how large an image may be.
    """

    volume: str
    workspaces: tuple[StepWorkspace, ...]
    attempt: int | None = None
    pod_uid: str | None = None
    credentials: str | None = None
    ca_file: str | None = None
    plain_http: bool = False
    patience: int | None = None
    on_conflict: OnConflict = "last"
    compression: Compression = "zstd"
    message: str = ""
    results: Results | None = None
    step_result: str | None = None
    limits: ArchiveLimits = DEFAULT_LIMITS


def parse_step(text: str) -> StepArgument:
    """Return the argument in the JSON object `text`.

    Raises:
        UsageError: the object has unknown, missing or doubled fields, wrong types, variables that nobody replaced,
            invalid references, or workspaces that overlap.
    """
    try:
        value = json.loads(text, object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        refuse("", f"not JSON ({error})" if isinstance(error, json.JSONDecodeError) else "not JSON")
    fields = Fields(value, "")
    volume = fields.take("volume", directory)
    pod, pod_uid = fields.maybe("pod", text_of), fields.maybe("pod-uid", text_of)
    if pod_uid is not None and pod is None:
        refuse("pod-uid", "the pod is not named, so that it can be told from no other")
    argument = StepArgument(
        volume=volume,
        attempt=None if pod is None else _attempt(pod),
        pod_uid=pod_uid,
        credentials=fields.maybe("credentials", directory),
        ca_file=fields.maybe("ca-file", directory),
        plain_http=fields.maybe("plain-http", flag) or False,
        patience=fields.maybe("patience", duration),
        on_conflict=cast(OnConflict, fields.maybe("on-conflict", one_of(*get_args(OnConflict))) or "last"),
        compression=cast(Compression, fields.maybe("compression", one_of(*get_args(Compression))) or "zstd"),
        message=fields.maybe("message", free_text) or "",
        results=fields.maybe("results", _results),
        step_result=fields.maybe("step-result", directory),
        limits=fields.maybe("limits", _limits) or DEFAULT_LIMITS,
        workspaces=fields.take("workspaces", list_of(_workspace)),
    )
    fields.end()
    if not argument.workspaces:
        refuse("workspaces", "none is named")
    _refuse_overlaps(argument)
    return argument


def _workspace(value: Any, where: str) -> StepWorkspace:
    fields = Fields(value, where)
    name = fields.take("name", text_of)
    sub_path = fields.maybe("sub-path", path_below) or b""
    paths = tuple(glob.encode() for glob in fields.maybe("paths", list_of(glob_of)) or ())
    below = escape(sub_path)
    if below:
        paths = tuple(below + b"/" + glob.strip(b"/") for glob in paths) or (below,)
    base = fields.maybe("base", _reference)
    base_path = fields.maybe("base-path", path_below) or b""
    if base_path and base is None:
        refuse(f"{where}.base-path", "there is no base that it could lie in")
    workspace = StepWorkspace(
        name=name,
        directory=fields.take("directory", directory),
        target=_target(fields.take("target", free_text), name, f"{where}.target"),
        base=base,
        base_path=base_path,
        lane=fields.maybe("lane", text_of),
        after=fields.maybe("after", list_of(text_of)) or (),
        sub_path=sub_path,
        read_only=fields.maybe("read-only", flag) or False,
        paths=paths,
        fresh=fields.maybe("fresh", flag) or False,
    )
    fields.end()
    if workspace.fresh and base is not None:
        refuse(f"{where}.fresh", "there is a base, which must be pulled")
    return workspace


def _results(value: Any, where: str) -> Results:
    fields = Fields(value, where)
    results = Results(
        directory=fields.take("directory", directory),
        names=fields.take("names", list_of(file_name)),
        limit=fields.take("limit", positive),
        steps=fields.maybe("steps", directory),
    )
    fields.end()
    return results


def _limits(value: Any, where: str) -> ArchiveLimits:
    fields = Fields(value, where)
    found = {name: fields.maybe(name, positive) for name in OPTIONS}
    fields.end()
    return limits_of({name: number for name, number in found.items() if number is not None})


def _refuse_overlaps(argument: StepArgument) -> None:
    """Refuse two workspaces with one name, one directory, or parts of one target that overlap."""
    for at, one in enumerate(argument.workspaces):
        for other in argument.workspaces[:at]:
            where = f"workspaces[{at}]"
            if one.name == other.name:
                refuse(where, f"a second workspace {one.name!r}")
            if one.directory == other.directory:
                refuse(where, f"a second workspace in {one.directory}")
            if one.target != other.target or one.read_only or other.read_only:
                continue
            if _overlap(one.sub_path, other.sub_path):
                refuse(where, f"it writes what {other.name!r} writes: two copies of one tree cannot be kept alike")
            if one.lane == other.lane:
                refuse(where, f"it has the target and the lane of {other.name!r}: give each a lane of its own")


def _overlap(one: bytes, other: bytes) -> bool:
    return not one or not other or (one + b"/").startswith(other + b"/") or (other + b"/").startswith(one + b"/")


def _attempt(pod: str) -> int:
    """Return the attempt in Tekton's name of a pod, which ends in `-retryN` for a retry."""
    match = _RETRY.search(pod)
    return int(match[1]) if match else 0


def _target(text: str, name: str, where: str) -> Reference:
    filled = text.replace(_NAME, name)
    if left := _PLACEHOLDER.search(text.replace(_NAME, "")):
        refuse(where, f"unknown placeholder {left[0]}; there is {_NAME} only")
    if name != name.lower() and _NAME in text.rpartition(":")[0] and not text.startswith("oci:"):
        refuse(
            where, f"a repository may have lower case only, as in {filled}; put {_NAME} into the tag, behind the colon"
        )
    reference = _reference(filled, where)
    if reference.digest is not None or reference.tag is None:
        refuse(where, f"{filled} is no tag; a digest never changes")
    try:
        check_target_tag(reference.tag)
    except InvalidReferenceError as error:
        refuse(where, error.what)
    return reference


def _reference(value: Any, where: str) -> Reference:
    text = text_of(value, where)
    try:
        reference = parse_reference(text)
    except InvalidReferenceError as error:
        refuse(where, f"{error.subject} is {error.what}")
    if isinstance(reference, LayoutReference) and not reference.path.startswith("/"):
        refuse(where, f"{text} is not an absolute path")
    return reference
