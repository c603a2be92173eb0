"""Push whenever a directory has come to rest after changes, for a laptop."""

from __future__ import annotations

from collections.abc import Iterator

from agent.errors import AgentError
from agent.sync.operation.options import PushOptions
from agent.sync.operation.report import PushReport
from agent.sync.operation.workspace_context import Site
from agent.sync.push_steps.push_directory import push
from agent.workspace.scan.watcher import Watcher


def watch(site: Site, options: PushOptions, watcher: Watcher, settle: float) -> Iterator[PushReport | AgentError]:
    """Yield what each push did: one at once, then one each time the directory has been quiet for `settle` seconds.

    Every push scans the whole directory, so that an overflow of the kernel's queue loses nothing. A push that
    failed in a way that may pass is yielded as its error and tried again at the next rest.

    Raises:
        AgentError: trying again cannot help.
    """
    while True:
        try:
            yield push(site, options)
        except AgentError as error:
            if not error.retryable:
                raise
            yield error
        if watcher.wait(settle) is None:
            return
