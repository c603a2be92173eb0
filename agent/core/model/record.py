"""The record of a change, whose hash is the id of the change (design, "Changes")."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeVar

from agent.core.model.attempts_and_ancestry import Writer
from agent.core.model.entry import Version
from agent.core.model.pod import Pod
from agent.core.spelling.canonical import canonical
from agent.core.spelling.digest import Digest, parse_digest
from agent.errors import IntegrityError

FORMAT = 1
FOREIGN_LANE = "foreign"
STAMP_MAX = 1 << 63
"""Stamps are smaller. A clock that saw a stamp continues from it, so one absurd stamp would spoil all later ones."""
NUMBER_MAX = 10**9
"""Attempts and numbers of pointers are smaller: they are parts of tags."""
_T = TypeVar("_T")
_ID = re.compile(r"[0-9a-f]{64}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
"""A change's id, or a base's: the digest that its manifest was asked for."""


@dataclass(frozen=True)
class Record:
    """One change, described.

    Attributes:
        target: the target's tag. Not the whole reference: a registry has many names (in a cluster, through a
            forwarded port, behind a mirror) and a layout can be moved.
        parents: ids of the newest changes on the writer's disk when it started, sorted.
        lane: the writer.
        attempt: the retry within the lane, None on a laptop.
        stamp: hybrid logical clock, ns.
        base: id of the base that the workspace started from (a manifest's digest), None for an empty one.
        message: the author's words.
        annotations: the author's manifest annotations, sorted by key.
        diff_id: digest of the layer's tar.
        toc: sha256 (hex) of the entry part of the layer's table of contents; empty for a foreign layer that is not
            published yet.
        number: of the change's pointer, within its lane and attempt; None for a foreign layer, which has none.
        pod: the pod within the attempt, None outside of a cluster.
        unpulled: whether it wrote a path that its sparse writer had not pulled. Such a write may conflict with changes
            in its past, so even a chain of changes may have conflicts.
        foreign: of a foreign layer, its chain id (image-spec, config.md). The id of the change is made of that alone,
            so that every reader of the image computes the same id.
    """

    target: str
    parents: tuple[str, ...]
    lane: str
    attempt: int | None
    stamp: int
    base: str | None
    diff_id: Digest
    toc: str
    message: str = ""
    annotations: tuple[tuple[str, str], ...] = field(default=())
    foreign: Digest | None = None
    number: int | None = None
    pod: Pod | None = None
    unpulled: bool = False

    @cached_property
    def text(self) -> str:
        """The canonical JSON whose hash is the id."""
        value: dict[str, Any] = {
            "format": FORMAT,
            "target": self.target,
            "parents": sorted(self.parents),
            "lane": self.lane,
            "attempt": self.attempt,
            "stamp": self.stamp,
            "base": self.base,
            "message": self.message or None,
            "annotations": dict(self.annotations) or None,
            "diff_id": self.diff_id,
            "toc": self.toc if self.toc or self.foreign is None else None,
            "foreign": self.foreign,
            "number": self.number,
            "pod": self.pod and self.pod._asdict(),
            "unpulled": self.unpulled or None,
        }
        return canonical({key: item for key, item in value.items() if item is not None}).decode()

    @cached_property
    def id(self) -> str:
        """The change's id, 64 hex digits: sha256 of `text`, or of ("foreign", chain id) in canonical JSON."""
        if self.foreign is not None:
            return sha256(canonical([FOREIGN_LANE, self.foreign])).hexdigest()
        return sha256(self.text.encode()).hexdigest()

    @property
    def version(self) -> Version:
        """The version of every path that the change wrote."""
        return Version(self.stamp, self.id)

    @property
    def writer(self) -> Writer:
        """The writer of the change."""
        return Writer(self.lane, self.attempt, self.pod)

    def at(self, stamp: int) -> Record:
        """Return the same record with another stamp (ns)."""
        return replace(self, stamp=stamp)


def parse_record(text: str) -> Record:
    """Return the record that `Record.text` wrote.

    Raises:
        IntegrityError: it is not the canonical text of a record of this format.
    """
    try:
        value = json.loads(text)
        record = Record(
            target=_typed(value["target"], str),
            parents=tuple(_ident(parent) for parent in _typed(value["parents"], list)),
            lane=_typed(value["lane"], str),
            attempt=_typed(value["attempt"], int) if "attempt" in value else None,
            stamp=_typed(value["stamp"], int),
            base=_ident(value["base"]) if "base" in value else None,
            diff_id=parse_digest(value["diff_id"]),
            toc=_ident(value["toc"]) if "toc" in value or "foreign" not in value else "",
            foreign=parse_digest(value["foreign"]) if "foreign" in value else None,
            number=_typed(value["number"], int) if "number" in value else None,
            pod=_pod(value["pod"]) if "pod" in value else None,
            unpulled=_typed(value.get("unpulled", False), bool),
            message=_typed(value.get("message", ""), str),
            annotations=tuple(
                (_typed(key, str), _typed(item, str))
                for key, item in _typed(value.get("annotations", {}), dict).items()
            ),
        )
        is_canonical = record.text == text
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _not_ours(f"unreadable ({type(error).__name__})", text) from error
    if not is_canonical:
        raise _not_ours("not in canonical form", text)
    if record.foreign is not None and (record.writer, record.number) != (Writer(FOREIGN_LANE), None):
        raise _not_ours("of a layer of others, and of another lane than theirs", text)
    if not _is_in_range(record):
        raise _not_ours("out of range: its stamp, its attempt, its number or its pod", text)
    return record


def _is_in_range(record: Record) -> bool:
    small = all(0 <= (number or 0) < NUMBER_MAX for number in (record.attempt, record.number))
    pod = record.pod
    # The clock of a pod is before the stamps of its changes.
    in_time = pod is None or (record.attempt is not None and 0 < pod.started < record.stamp and bool(pod.uid))
    return small and 0 < record.stamp < STAMP_MAX and in_time


def _pod(value: Any) -> Pod:
    if _typed(value, dict).keys() != {"started", "uid"}:
        raise ValueError(f"{value!r} is no pod")
    return Pod(_typed(value["started"], int), _typed(value["uid"], str))


def _typed(value: Any, kind: type[_T]) -> _T:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value


def _ident(value: Any) -> str:
    if not _ID.fullmatch(_typed(value, str)):
        raise ValueError(f"{value!r} is no id")
    return _typed(value, str)


def _not_ours(what: str, text: str) -> IntegrityError:
    return IntegrityError(
        f"a change's record is {what}", subject=text[:120], remedy="the image was edited; pull an older tag"
    )
