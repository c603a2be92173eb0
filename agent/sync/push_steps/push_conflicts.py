"""The conflicts of a push: refused before it publishes, or reported after that (design, "Merge")."""

from __future__ import annotations

from agent.core.image.change_set import ChangeSet
from agent.core.image.image import Image
from agent.core.merge.conflict import Conflict
from agent.core.model.attempts_and_ancestry import Writer
from agent.core.model.record import Record
from agent.core.spelling.path import show
from agent.errors import ConflictError
from agent.remedy import DISAGREE, REPLACED
from agent.sync.local.open_directory import Directory
from agent.sync.publish.head import all_changes
from agent.sync.remote.target import Target
from agent.sync.upload.merged_image import conflicts_in, conflicts_of

SHOWN = 5
"""Conflicts that an error names."""


def refuse_replaced(target: Target, union: ChangeSet, writer: Writer) -> None:
    """Raise ConflictError if a later attempt is in the directory already: it would supersede this change at once."""
    later = [record for record in union.records.values() if record.writer.replaces(writer)]
    if later:
        attempt = max(record.attempt or 0 for record in later)
        of_pod = "" if attempt != writer.attempt else ", by a later pod,"
        raise ConflictError(
            f"attempt {attempt} of this lane was pushed{of_pod} before this directory was pulled",
            subject=f"{target.name}, lane {writer.lane}, attempt {writer.attempt}",
            remedy=REPLACED,
        )


def refuse_conflicts(directory: Directory, target: Target, entry: Image, record: Record) -> None:
    """Raise ConflictError if a change would conflict with others, before its entry is published."""
    conflicts = conflicts_of(record, conflicts_in(target, all_changes(target.read_snapshot(), entry)))
    if conflicts:
        directory.forget_intent()
        raise conflict_error(target, conflicts, "nothing was published")


def conflict_error(target: Target, conflicts: list[Conflict], outcome: str) -> ConflictError:
    """Return the error that names the first conflicts, and their outcome."""
    named = ", ".join(f"{show(conflict.path) or 'base'} ({conflict.kind})" for conflict in conflicts[:SHOWN])
    more = f" and {len(conflicts) - SHOWN} more" if len(conflicts) > SHOWN else ""
    return ConflictError(
        f"parallel changes disagree about {named}{more}; {outcome}",
        subject=target.name,
        remedy=DISAGREE,
    )
