"""A check that a task's results fit into the termination messages, now that there are two more steps.

Kubernetes gives a pod 12 KiB for the messages of all its containers, and cuts each to its share without an error.
Tekton then finds no JSON in it, and the results are lost. Every step repeats all results that exist when it ends.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from agent.errors import UsageError, WorkspaceError
from agent.sync.task.argument import Results
from agent.tekton.model import push_result
from agent.tekton.model.push_result import PushResult
from agent.workspace.filesystem.system_errors import failed

# Go escapes what HTML would misread, and every byte that is no UTF-8, as \uXXXX; \b and \f, too, before Go 1.22.
_LONG = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f<>&\u2028\u2029\udc80-\udcff]")
_SHORT = re.compile(r'["\\\n\r\t]')
_READ_MAX = 64 << 10
"""Bytes of one result that are read; a valid result is shorter."""
# Tekton's entrypoint adds its start time, at most in this form (pkg/entrypoint).
_STARTED = ("StartedAt", "2006-01-02T15:04:05.000+07:00", 3)
_RESULT = 1
_WIDEST = (push_result.NAME, push_result.WIDEST.encode())
"""The step result that this step will write, as long as it can be."""


def check_results(results: Results, *, has_step_result: bool = False) -> None:
    """Check that the termination messages with the task's results fit: this step's, and those of the steps before it.

    A step with own results repeats them, and the task's results that exist when it ends.

    Args:
        has_step_result: whether this step adds a step result to its message.

    Raises:
        UsageError: one would be cut, so that results would be lost.
        WorkspaceError: a result cannot be read.
    """
    paths = {name: os.path.join(results.directory, name) for name in results.names}
    written = [found for name, path in paths.items() if (found := _read(path, name))]
    if written:
        _check([*written, *([_WIDEST] if has_step_result else [])], results.limit, "the task's")
    for step, ended, own in _steps(results.steps) if results.steps else ():
        own_results = [found for path in own if (found := _read(path, os.path.basename(path)))]
        if own_results:
            before = [found for name, path in paths.items() if (found := _read(path, name, ended))]
            _check([*own_results, *before], results.limit, f"{step}'s")


def _check(found: Sequence[tuple[str, bytes]], limit: int, whose: str) -> None:
    size = message_size(found)
    if size > limit:
        sizes = sorted(((len(value), name) for name, value in found), reverse=True)
        largest = ", ".join(f"{name} {count}" for count, name in sizes[:3])
        raise UsageError(
            f"{whose} results need {size} bytes of termination message, of which each of the pod's containers "
            f"has {limit} (largest: {largest}); they would be lost",
            subject="results",
            remedy="write fewer or shorter ones, keep what is large in a file of the workspace, or let Tekton deliver "
            "them by its feature flag results-from: sidecar-logs",
        )


def _steps(directory: str) -> Iterator[tuple[str, int, list[str]]]:
    """Yield the steps that have ended, each with its end (ns since 1970) and the files of its own results."""
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        step, own = os.path.join(directory, name), os.path.join(directory, name, "results")
        try:
            ended = os.stat(os.path.join(step, "exitCode")).st_mtime_ns
            yield name, ended, [os.path.join(own, result) for result in sorted(os.listdir(own))]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _unreadable(error, name) from error


def message_size(results: Iterable[tuple[str, bytes]]) -> int:
    """Return how many bytes Tekton's entrypoint writes for these results, as Go's encoding/json does."""
    entries = [(name, value.decode(errors="surrogateescape"), _RESULT) for name, value in results]
    return len("[]") + len(",") * len(entries) + sum(map(_entry_size, [*entries, _STARTED]))


def _entry_size(entry: tuple[str, str, int]) -> int:
    key, value, kind = entry
    return len('{"key":,"value":,"type":}') + _string_size(key) + _string_size(value) + len(str(kind))


def _string_size(text: str) -> int:
    plain, long = _LONG.subn("", text)
    return len('""') + len(plain.encode()) + len(_SHORT.findall(plain)) + len(r"\u0000") * long


def _read(path: str, name: str, ended: int | None = None) -> tuple[str, bytes] | None:
    """Return a result; None if there is none, or it was written after a step ended."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(error, name) from error
    try:
        is_later = ended is not None and os.fstat(fd).st_mtime_ns > ended
        return None if is_later else (name, os.read(fd, _READ_MAX))
    except OSError as error:
        raise _unreadable(error, name) from error
    finally:
        os.close(fd)


def write_step_result(path: str, result: PushResult) -> None:
    """Write what the push step hands over to Tekton.

    Raises:
        WorkspaceError: it cannot be written.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(push_result.format_result(result))
    except OSError as error:
        raise failed(error, path.encode(), "the step result cannot be written") from error


def _unreadable(error: OSError, name: str) -> WorkspaceError:
    return failed(error, f"result {name}".encode(), "cannot be read")
