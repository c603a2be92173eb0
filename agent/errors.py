"""Every error the agent raises on purpose.

    AgentError                 1   a bug, if raised as itself
    ├── UsageError             2   the command's words are off
    │   ├── InvalidReferenceError
    │   ├── UnwrappableError       a Tekton object cannot carry its workspaces through images
    │   ├── UnsupportedError       an image is sound, and of a kind that cannot be a workspace
    │   ├── NotInBundleError       a Tekton object is not where the run looks objects up
    │   └── RejectedError          the Kubernetes API does not take an object
    ├── ConflictError         10   concurrent changes disagree, or the head is foreign
    ├── DivergedError         11   not the directory that was pulled, or it has local changes
    ├── MissingTargetError    12   the target holds nothing
    ├── AuthError             20   the registry refuses these credentials
    ├── UnavailableError      21   the registry cannot be reached or does not answer as one
    │   ├── PatienceError          … for as long as the command's patience lasts
    │   ├── RefusedError           the registry will not do this, or may not be trusted with it
    │   ├── TagRefusedError        the registry does not let a tag move
    │   └── MissingBlobError       a manifest names what the registry does not have
    │       └── ForgottenError     the target has no longer what a push builds on
    ├── IntegrityError        30   bytes are not what their digest or description promises
    │   ├── MissingTocError        a layer has no table of contents (archive/toc/trailer.py)
    │   └── VanishedError          what an image names is not there, or not any longer
    │       └── LostLayerError     a change's own layer is gone (sync/remote/target.py)
    ├── UnsafeArchiveError    31   an archive would leave its root, or exceed a limit
    └── WorkspaceError        40   the directory cannot be read or written
        ├── FileChangedError       a file changed while it was read
        └── BusyError              another agent is at work in the directory

Each error says what happened, to what, and what to do in the place where it is read (`agent.remedy`). The exit code and
whether trying again can help are attributes of the class, so that they are decided in one place.
"""

from __future__ import annotations

from agent.remedy import Place, Remedy


class AgentError(Exception):
    """Root of the tree.

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
        """Return the whole error in one sentence, as it is read in a place."""
        return f"{self.subject}: {self.what}; {self.remedy_at(place)}"

    @property
    def remedy(self) -> str:
        """What to do at a laptop."""
        return self.remedy_at(Place.LAPTOP)

    def remedy_at(self, place: Place) -> str:
        """Return what to do in a place."""
        return self.remedies.at(place) if isinstance(self.remedies, Remedy) else self.remedies


class UsageError(AgentError):
    """The command's words are off."""

    exit_code = 2


class InvalidReferenceError(UsageError):
    """A text is no image reference."""


class UnwrappableError(UsageError):
    """A Tekton object cannot carry its workspaces through images, or is no such object."""


class UnsupportedError(UsageError):
    """An image is sound, and cannot be a workspace or its base: encrypted, for another platform, or no file system."""


class NotInBundleError(UsageError):
    """A Tekton object is not where it is looked up."""


class RejectedError(UsageError):
    """The Kubernetes API, or one of its admission policies, does not take an object."""


class ConflictError(AgentError):
    """Concurrent changes disagree, or head is an image that cannot be merged."""

    exit_code = 10


class DivergedError(AgentError):
    """The directory is not the one that was pulled, or has changes that a pull would lose."""

    exit_code = 11


class MissingTargetError(AgentError):
    """The target holds nothing, and the command is not one that starts a workspace there."""

    exit_code = 12


class AuthError(AgentError):
    """The registry refuses these credentials."""

    exit_code = 20


class UnavailableError(AgentError):
    """The registry cannot be reached, or does not answer as a registry would."""

    exit_code = 21
    retryable = True
    after: float | None = None
    """Seconds that the registry asks to wait before another try, if it says so."""


class PatienceError(UnavailableError):
    """Nothing moved for as long as the command's patience lasts (agent/store/network/retrying.py)."""


class RefusedError(UnavailableError):
    """The registry answers that it will not do this, or it may not be trusted with it (TLS, redirects)."""

    retryable = False


class TagRefusedError(UnavailableError):
    """The registry does not let this tag move (immutable tags, quota)."""

    retryable = False


class MissingBlobError(UnavailableError):
    """A manifest was refused because something it names is not in the repository."""

    retryable = False


class ForgottenError(MissingBlobError):
    """The target no longer has the changes that a push builds on, nor can they be had elsewhere."""


class IntegrityError(AgentError):
    """Bytes are not what their digest or their description promises."""

    exit_code = 30


class VanishedError(IntegrityError):
    """What an image names is not there: the storage is damaged, or it was pruned and collected since it was read."""


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
    """Another agent is at work in the directory, and did not end while this one waited."""

    retryable = True
