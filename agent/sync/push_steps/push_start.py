"""The start of a push: the directory's state, after the end of an earlier push of it that was killed."""

from __future__ import annotations

from typing import NamedTuple

from agent.core.directory.state_after_change import AdvancedState
from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image
from agent.core.model.attempts_and_ancestry import Writer
from agent.core.model.record import Record, parse_record
from agent.errors import DivergedError, IntegrityError
from agent.sync.local.directory_state import DirectoryState
from agent.sync.local.open_directory import OTHER, Directory
from agent.sync.operation.options import PushOptions
from agent.sync.operation.report import PushReport
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.remote.target import Target


class Push(NamedTuple):
    """One push: from which directory, to which target, and how."""

    context: WorkspaceContext
    directory: Directory
    target: Target
    options: PushOptions


class Start(NamedTuple):
    """The start of a push.

    Attributes:
        state: of the directory; an empty one if it starts a new target.
        done: the report of an earlier push of this directory, which was killed and is complete by now; None if there
            was none.
    """

    state: DirectoryState
    done: PushReport | None = None


def start(push: Push) -> Start:
    """Return the state to push from, after the end of an earlier push that was killed.

    Raises:
        DivergedError: the target holds a workspace that this directory was never pulled from.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    context, directory, target, options = push
    if directory.interrupted:
        raise directory.interrupted.error(context.directory)
    published = _published(directory, target)
    if published is not None:
        return _resumed(push, *published)
    state = directory.state
    if directory.other and options.pulled:
        raise DivergedError(OTHER, subject=context.directory, remedy="mount the one that was pulled into")
    if state is None and options.fresh and directory.damage is None:
        return Start(_empty_state(push))
    if state is None or state.target != target.name:
        _refuse_unrelated(push)
    return Start(state or _empty_state(push))


def _empty_state(push: Push) -> DirectoryState:
    return DirectoryState(push.target.name, push.directory.root.identity, 0, ChangeSet())


def _resumed(push: Push, record: Record, entry: Image) -> Start:
    """Do the rest of a push that was killed after it had published its entry."""
    adopted = _state_with(push, record, entry)
    if push.options.dry_run:
        return Start(adopted)
    push.directory.save(adopted)
    assert push.directory.state is not None
    from agent.sync.push_steps.publish_change import finish

    done = finish(push, record, entry)
    mine = push.options.attempt is None or _is_by(record.writer, push.options.writer)
    return Start(push.directory.state, done if mine else None)


def _published(directory: Directory, target: Target) -> tuple[Record, Image] | None:
    """Return the entry of a push from this directory that was killed after it had published the entry, if any.

    An entry that was pruned since is made from the image that has its change now.
    """
    intent = directory.intent()
    if intent is None or intent.record is None or intent.target != target.name:
        return None
    try:
        record = parse_record(intent.record)
    except IntegrityError:
        return None
    union = directory.state.union if directory.state else ChangeSet()
    if record.id not in union.ids and record.parents != union.frontier:
        return None
    entry = target.entry(record)
    image = entry.image if entry else _pruned_entry(target, record)
    return (record, image) if image else None


def _pruned_entry(target: Target, record: Record) -> Image | None:
    """Return the image of an entry that was pruned, if its change is there; None if that was squashed."""
    union = target.read_snapshot(on_list_error=lambda error: None).union
    if record.id not in union.changes:
        return None
    from agent.sync.upload.merged_image import merged_image

    image, _ = merged_image(target, union.past([record.id]))
    return image._replace(lane=record.lane, attempt=record.attempt, change=record.id)


def _state_with(push: Push, record: Record, entry: Image) -> DirectoryState:
    """Return the state with the change of `entry`, which this directory's own push published."""
    directory, target = push.directory, push.target
    state = directory.state or _empty_state(push)
    if record.id in state.union.ids:
        return state._replace(target=target.name)
    union = unite([state.union.image(target.tag), entry])
    entries = target.layers(union).toc(union.changes[record.id])
    rows = AdvancedState(state.rows, entries, record.version)
    return state._replace(target=target.name, union=union, pod=record.pod, rows=rows)


def _is_by(writer: Writer, other: Writer) -> bool:
    """Say whether two writers are the same, whatever their pods' start times."""
    uids = [each.pod and each.pod.uid for each in (writer, other)]
    return writer[:2] == other[:2] and uids[0] == uids[1]


def _refuse_unrelated(push: Push) -> None:
    """Raise DivergedError if the target holds a workspace that the directory was not pulled from."""
    context, directory, target, _ = push
    snapshot = target.read_snapshot()
    if not (snapshot.head or snapshot.entries):
        return
    if directory.damage is not None:
        raise DivergedError(
            f"{directory.damage.what}, so that it cannot be told what changed",
            subject=context.directory,
            remedy="pull, which rebuilds it if the directory is as the target; else copy what you need out of it",
        )
    why = f"is {OTHER}" if directory.other else "was not pulled from it"
    raise DivergedError(
        f"the target already holds a workspace, and {context.directory} {why}",
        subject=target.name,
        remedy="pull it into an empty directory, or push to another tag",
    )
