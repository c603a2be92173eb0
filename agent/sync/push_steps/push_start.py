"""The start of a push: what is known of the directory, or what an earlier push of it, which was killed, has done."""

from __future__ import annotations

from typing import NamedTuple

from agent.core.directory.advance import Advanced
from agent.core.image.change_set import Union, unite
from agent.core.image.image import Image
from agent.core.model.ancestry import Writer
from agent.core.model.record import Record, parse_record
from agent.errors import DivergedError, IntegrityError
from agent.sync.local.directory_state import Memory
from agent.sync.local.open_directory import OTHER, Directory
from agent.sync.operation.options import PushOptions
from agent.sync.operation.report import PushReport
from agent.sync.operation.workspace_context import Site
from agent.sync.remote.target import Target


class Push(NamedTuple):
    """One push: from which directory, to which target, and how."""

    site: Site
    directory: Directory
    target: Target
    options: PushOptions


class Start(NamedTuple):
    """What a push goes out from.

    Attributes:
        memory: of the directory; an empty one if it starts a new target.
        done: the report of an earlier push of this directory, which was killed and is complete by now; None if there
            was none.
    """

    memory: Memory
    done: PushReport | None = None


def start(push: Push) -> Start:
    """Return what a push goes out from, after the end of an earlier one that was killed.

    Raises:
        DivergedError: the target holds a workspace that this directory was never pulled from.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    site, directory, target, options = push
    if directory.interrupted:
        raise directory.interrupted.error(site.directory)
    published = _published(directory, target)
    if published is not None:
        return _resumed(push, *published)
    memory = directory.memory
    if directory.other and options.pulled:
        raise DivergedError(OTHER, subject=site.directory, remedy="mount the one that was pulled into")
    if memory is None and options.fresh and directory.damage is None:
        return Start(_nothing(push))
    if memory is None or memory.target != target.name:
        _refuse_stranger(push)
    return Start(memory or _nothing(push))


def _nothing(push: Push) -> Memory:
    return Memory(push.target.name, push.directory.root.identity, 0, Union())


def _resumed(push: Push, record: Record, entry: Image) -> Start:
    """Do what remains of a push that was killed after it had published its entry."""
    adopted = _adopted(push, record, entry)
    if push.options.dry_run:
        return Start(adopted)
    push.directory.remember(adopted)
    assert push.directory.memory is not None
    from agent.sync.push_steps.publish_change import finish

    done = finish(push, record, entry)
    mine = push.options.attempt is None or _is_by(record.writer, push.options.writer)
    return Start(push.directory.memory, done if mine else None)


def _published(directory: Directory, target: Target) -> tuple[Record, Image] | None:
    """Return the entry of a push from this directory that was killed after it had published it, before its end.

    One that was pruned since is made from what holds its change now.
    """
    intent = directory.intent()
    if intent is None or intent.record is None or intent.target != target.name:
        return None
    try:
        record = parse_record(intent.record)
    except IntegrityError:
        return None
    union = directory.memory.union if directory.memory else Union()
    if record.id not in union.ids and record.parents != union.frontier:
        return None
    entry = target.entry(record)
    image = entry.image if entry else _pruned_entry(target, record)
    return (record, image) if image else None


def _pruned_entry(target: Target, record: Record) -> Image | None:
    """Return the image of an entry that is not there, if its change is; None if that was squashed, too."""
    union = target.look(unlisted=lambda error: None).union
    if record.id not in union.changes:
        return None
    from agent.sync.upload.merged_image import merged_image

    image, _ = merged_image(target, union.past([record.id]))
    return image._replace(lane=record.lane, attempt=record.attempt, change=record.id)


def _adopted(push: Push, record: Record, entry: Image) -> Memory:
    """Return what is to be remembered once `entry`, which this directory's own push published, lies on it."""
    directory, target = push.directory, push.target
    memory = directory.memory or _nothing(push)
    if record.id in memory.union.ids:
        return memory.now(target=target.name)
    union = unite([memory.union.image(target.tag), entry])
    entries = target.layers(union).toc(union.changes[record.id])
    known = Advanced(memory.known, entries, record.version)
    return memory.now(target=target.name, union=union, pod=record.pod, known=known)


def _is_by(writer: Writer, other: Writer) -> bool:
    """Say whether two writers are one, but for when its pod started."""
    uids = [each.pod and each.pod.uid for each in (writer, other)]
    return writer[:2] == other[:2] and uids[0] == uids[1]


def _refuse_stranger(push: Push) -> None:
    """Raise DivergedError if the target holds a workspace that the directory was not pulled from."""
    site, directory, target, _ = push
    seen = target.look()
    if not (seen.head or seen.entries):
        return
    if directory.damage is not None:
        raise DivergedError(
            f"{directory.damage.what}, so that it cannot be told what changed",
            subject=site.directory,
            remedy="pull, which rebuilds it if the directory is as the target; else copy what you need out of it",
        )
    why = f"is {OTHER}" if directory.other else "was not pulled from it"
    raise DivergedError(
        f"the target already holds a workspace, and {site.directory} {why}",
        subject=target.name,
        remedy="pull it into an empty directory, or push to another tag",
    )
