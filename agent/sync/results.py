"""A task's results, which travel in each step's termination message: do they still fit, now that steps were added?

Kubernetes gives a pod 12 KiB for the messages of all its containers and cuts each to its share without a word; Tekton
then finds no JSON in it and the results are gone. Every step repeats all results that exist when it ends.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from agent.errors import UsageError, WorkspaceError
from agent.sync.argument import Results
from agent.workspace.failure import failed

# Go escapes what HTML would misread, and every byte that is no UTF-8, as \uXXXX; \b and \f, too, before Go 1.22.
_LONG = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f<>&\u2028\u2029\udc80-\udcff]")
_SHORT = re.compile(r'["\\\n\r\t]')
_READ_MAX = 64 << 10
"""Bytes of one result that are read: none may have as many."""
# What Tekton's entrypoint adds of its own (pkg/entrypoint, Go): its start, at most in this form.
_STARTED = ("StartedAt", "2006-01-02T15:04:05.000+07:00", 3)
_RESULT = 1


def check_results(results: Results) -> None:
    """See that the termination message of this step, with the results that the task wrote, fits.

    Raises:
        UsageError: it would be cut, so that the results would be lost.
        WorkspaceError: a result cannot be read.
    """
    found = [(name, value) for name in results.names if (value := _read(results.directory, name)) is not None]
    size = message_size(found)
    if found and size > results.limit:
        sizes = sorted(((len(value), name) for name, value in found), reverse=True)
        largest = ", ".join(f"{name} {count}" for count, name in sizes[:3])
        raise UsageError(
            f"the task's results need {size} bytes of termination message, of which each of the pod's containers "
            f"has {results.limit} (largest: {largest}); they would be lost",
            subject="results",
            remedy="write fewer or shorter ones, keep what is large in a file of the workspace, or let Tekton deliver "
            "them by its feature flag results-from: sidecar-logs",
        )


def message_size(results: Iterable[tuple[str, bytes]]) -> int:
    """Return how many bytes Tekton's entrypoint writes for so many results, as Go's encoding/json would."""
    entries = [(name, value.decode(errors="surrogateescape"), _RESULT) for name, value in results]
    return len("[]") + len(",") * len(entries) + sum(map(_entry_size, [*entries, _STARTED]))


def _entry_size(entry: tuple[str, str, int]) -> int:
    key, value, kind = entry
    return len('{"key":,"value":,"type":}') + _string_size(key) + _string_size(value) + len(str(kind))


def _string_size(text: str) -> int:
    plain, long = _LONG.subn("", text)
    return len('""') + len(plain.encode()) + len(_SHORT.findall(plain)) + len(r"\u0000") * long


def _read(directory: str, name: str) -> bytes | None:
    try:
        fd = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(error, name) from error
    try:
        return os.read(fd, _READ_MAX)
    except OSError as error:
        raise _unreadable(error, name) from error
    finally:
        os.close(fd)


def _unreadable(error: OSError, name: str) -> WorkspaceError:
    return failed(error, f"result {name}".encode(), "cannot be read")
