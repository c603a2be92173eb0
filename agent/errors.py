"""The errors of the agent, as one tree with one exit code for each.

    AgentError                 1   a bug, if raised as itself
    ├── UsageError             2   invalid arguments, or a name that leads to nothing
    │   ├── InvalidReferenceError
    │   ├── UnwrappableError       a Tekton object cannot be wrapped
    │   ├── UnsupportedError       an image is valid, but of a kind that cannot be a workspace
    │   ├── NotInBundleError       a Tekton object is not in the places of a lookup
    │   └── RejectedError          the Kubernetes API rejects an object
    ├── ConflictError         10   concurrent changes disagree, or the head is foreign
    ├── DivergedError         11   not the directory that was pulled, or it has local changes
    ├── MissingTargetError    12   the target holds nothing
    ├── AuthError             20   the registry refuses these credentials
    ├── UnavailableError      21   the registry cannot be reached, or its response is not that of a registry
    │   ├── PatienceError          … for as long as the option --patience allows
    │   ├── RefusedError           the registry refuses a request, or must not get it (TLS, redirects)
    │   ├── TagRefusedError        the registry does not let a tag move
    │   └── MissingBlobError       a manifest names a blob that the registry does not have
    │       └── ForgottenError     the target no longer has the changes that a push builds on
    ├── IntegrityError        30   bytes are not what their digest or description promises
    │   ├── MissingTocError        a layer has no table of contents (archive/toc/trailer.py)
    │   └── VanishedError          content of an image is missing, or was deleted
    │       └── LostLayerError     a change's own layer is gone (sync/remote/target.py)
    ├── UnsafeArchiveError    31   an archive would leave its root, or exceed a limit
    └── WorkspaceError        40   the directory cannot be read or written
        ├── FileChangedError       a file changed while it was read
        └── BusyError              another agent is at work in the directory

Each error says what happened, to what, and what to do in the place where it is read (`agent.remedy`). The exit code,
and whether a retry can help, are attributes of the class.
"""

from __future__ import annotations

from agent.remedy import Place, Remedy


class AgentError(Exception):
    """The root of the tree; a bug if it is raised itself.

    Args:
        what: what happened, a clause without a full stop.
        subject: what it happened to: a reference, a digest, a path. Never a secret.
        remedy: what the user can do, a clause without a full stop; a `Remedy` if that depends on the place.
    """

    exit_code = 1
    retryable = False

    def __init__(self, what: str, *, subject: str, remedy: str | Remedy) -> None:
        super().__init__(what)
        self.what = what
        self.subject = subject
        self.remedies = remedy

    def __str__(self) -> str:
        return self.text(Place.LAPTOP)

    def text(self, place: Place) -> str:
        """Return the error in one sentence, with the remedy for a place."""
        return f"{self.subject}: {self.what}; {self.remedy_at(place)}"

    @property
    def remedy(self) -> str:
        """The remedy for a laptop."""
        return self.remedy_at(Place.LAPTOP)

    def remedy_at(self, place: Place) -> str:
        """Return the remedy for a place."""
        return self.remedies.at(place) if isinstance(self.remedies, Remedy) else self.remedies


class UsageError(AgentError):
    """An argument is invalid, or names an object that does not exist."""

    exit_code = 2


class InvalidReferenceError(UsageError):
    """A text is not an image reference."""


class UnwrappableError(UsageError):
    """A Tekton object cannot be wrapped, or is not a valid Tekton object."""


class UnsupportedError(UsageError):
    """An image is valid but cannot be a workspace or a base: encrypted, for another platform, or not a file system."""


class NotInBundleError(UsageError):
    """A Tekton object is in none of the places where it is looked up."""


class RejectedError(UsageError):
    """The Kubernetes API, or one of its admission policies, rejects an object."""


class ConflictError(AgentError):
    """Concurrent changes disagree, or head is an image that cannot be merged."""

    exit_code = 10


class DivergedError(AgentError):
    """The directory is not the one that was pulled, or has changes that a pull would lose."""

    exit_code = 11


class MissingTargetError(AgentError):
    """The target holds nothing, and the command does not start a workspace there."""

    exit_code = 12


class AuthError(AgentError):
    """The registry refuses these credentials."""

    exit_code = 20


class UnavailableError(AgentError):
    """The registry cannot be reached, or its response is not that of a registry."""

    exit_code = 21
    retryable = True
    after: float | None = None
    """Seconds that the registry asks to wait before a retry, None if it does not ask."""


class PatienceError(UnavailableError):
    """No request made progress for as long as `--patience` allows (agent/store/network/retrying.py)."""


class RefusedError(UnavailableError):
    """The registry refuses a request, or the request must not be sent to it (TLS, redirects)."""

    retryable = False


class TagRefusedError(UnavailableError):
    """The registry does not let this tag move (immutable tags, quota)."""

    retryable = False


class MissingBlobError(UnavailableError):
    """A manifest was refused because a blob that it names is not in the repository."""

    retryable = False


class ForgottenError(MissingBlobError):
    """The target no longer has the changes that a push builds on, and no other source has them."""


class IntegrityError(AgentError):
    """Bytes are not what their digest or their description promises."""

    exit_code = 30


class VanishedError(IntegrityError):
    """Content of an image is missing: the storage is damaged, or the content was pruned after the image was read."""


class UnsafeArchiveError(AgentError):
    """An archive would write outside its root, or exceeds a limit."""

    exit_code = 31


class WorkspaceError(AgentError):
    """The directory cannot be read or written."""

    exit_code = 40


class FileChangedError(WorkspaceError):
    """A file changed while it was read."""

    retryable = True


class BusyError(WorkspaceError):
    """Another agent uses the directory, and did not end while this one waited."""

    retryable = True
