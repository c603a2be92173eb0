"""Push after each quiet time that follows changes of a directory, for a laptop."""

from __future__ import annotations

from collections.abc import Iterator

from agent.errors import AgentError
from agent.sync.operation.options import PushOptions
from agent.sync.operation.report import PushReport
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.push_steps.push_directory import push
from agent.workspace.scan.watcher import Watcher


def watch(
    context: WorkspaceContext, options: PushOptions, watcher: Watcher, settle: float
) -> Iterator[PushReport | AgentError]:
    """Yield the report of each push: one at once, then one after each quiet time of `settle` seconds.

    Every push scans the whole directory, so that an overflow of the kernel's queue loses nothing. A retryable error
    of a push is yielded, and the push is tried again after the next quiet time.

    Raises:
        AgentError: it is not retryable.
    """
    while True:
        try:
            yield push(context, options)
        except AgentError as error:
            if not error.retryable:
                raise
            yield error
        if watcher.wait(settle) is None:
            return
