"""The remedies of errors, for each place where an error is read.

A user at a laptop has options and `docker login`. The reader of a step's log has the parameters of the wrapping and the
secrets of a service account, but no command line. The author of a task's own image has both: the options of the command
in the image, and the pod's secrets. The reader of a run's status sees the messages of the controller.

A remedy that is the same in all four places is a plain string. All others are in this module.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Place(Enum):
    """The place where an error is read."""

    LAPTOP = "laptop"
    IMAGE = "image"
    STEP = "step"
    CONTROLLER = "controller"


class Remedy(NamedTuple):
    """A remedy for each place, each a clause without a full stop.

    Attributes:
        laptop: for the command line.
        step: for the log of `agent step` in a pod.
        image: for `agent` in a task's own image, None if `laptop` fits there.
        controller: for a run's status and events, None if `step` fits there.
    """

    laptop: str
    step: str
    image: str | None = None
    controller: str | None = None

    def at(self, place: Place) -> str:
        """Return the remedy for a place."""
        if place is Place.LAPTOP:
            return self.laptop
        if place is Place.IMAGE:
            return self.laptop if self.image is None else self.image
        if place is Place.STEP or self.controller is None:
            return self.step
        return self.controller


def log_in(registry: str, notes: str = "") -> Remedy:
    """Return the remedy for a missing or wrong login.

    Args:
        notes: a text about logins that were ignored, appended to the remedy.
    """
    secret = f"a secret of type kubernetes.io/dockerconfigjson for {registry}"
    listed = f"list {secret} under `secrets` of the run's service account"
    return Remedy(
        laptop=f"run docker login {registry} or podman login {registry}{notes}",
        step=f"{listed}{notes}",
        image=f"{listed}, or mount a login and set DOCKER_CONFIG{notes}",
        controller=f"mount {secret} into the controller, and set DOCKER_CONFIG{notes}",
    )


def may_not(registry: str) -> Remedy:
    """Return the remedy for an account without the right to pull or push."""
    return Remedy(
        laptop=f"check what this account may do there, or run docker login {registry} again",
        step=f"give the account in the run's secret for {registry} the right to pull and push there",
        controller=f"give the controller's account the right to pull from {registry}",
    )


def renew_token(registry: str) -> Remedy:
    """Return the remedy for a `registrytoken` that the registry refuses."""
    return Remedy(
        laptop=f"renew the registrytoken in its login, or run docker login {registry}",
        step=f"renew the registrytoken in the run's secret for {registry}, or use a user name and password there",
        controller=f"renew the registrytoken in the controller's secret for {registry}",
    )


def allow_more(limit: str) -> Remedy:
    """Return the remedy for an image that exceeds a limit."""
    unless = "do not use the image unless you trust its author; then allow more"
    return Remedy(
        laptop=f"{unless} with --limit {limit}=N", step=f"{unless} with limits.{limit} in the step's argument"
    )


PLAIN_HTTP = Remedy(
    laptop="use --plain-http if that is meant",
    step="set plain-http to true if that is meant",
)
TLS = Remedy(
    laptop="leave out --plain-http; on localhost, name the authority of its certificate with --ca-file",
    step="do not set plain-http",
)
UNKNOWN_AUTHORITY = Remedy(
    laptop="add its authority with --ca-file, or use --plain-http if it has no TLS",
    step="name a config map with its authority as ca.crt with ca-config-map, or set plain-http if it has no TLS",
    image="add its authority with --ca-file from a mounted config map, or use --plain-http if it has no TLS",
    controller="mount its authority into the controller, and set SSL_CERT_FILE",
)
NO_ZSTD = Remedy(
    laptop="push with --compression gzip, which every registry takes",
    step="use a registry that takes layers of zstd; a Task with steps of its own can set compression to gzip",
)
PERHAPS_NO_ZSTD = Remedy(
    laptop="use another registry, or push with --compression gzip if it is layers of zstd that it does not know",
    step="use another registry; a Task with steps of its own can set compression to gzip",
)
ANNOTATIONS = Remedy(
    laptop="leave out --annotation, or make it shorter",
    step="leave out the annotations, or make them shorter",
)
TOO_LARGE = Remedy(
    laptop="put one layer in place of many with agent squash, or raise the limit there",
    step="raise the limit there, or use a new target for each run",
)
NO_ROOM = Remedy(
    laptop="make room with agent prune and the registry's garbage collection, or raise the quota",
    step="prune old workspaces from a laptop, let the registry collect garbage, or raise the quota",
)
ODD_ANSWER = Remedy(
    laptop="use a registry that answers 201 when a manifest is stored; agent doctor shows more",
    step="use a registry that answers 201 when a manifest is stored",
)
NOT_STORED = Remedy(
    laptop="try again; agent doctor shows what the registry can do",
    step="run the task again; if that repeats, use another registry",
)
OTHER_PLATFORM = Remedy(
    laptop="choose one it has with --platform, or name another image",
    step="name another base, or run the task on a node of that platform",
)
OTHER_BASE = Remedy(
    laptop="name another with --base",
    step="name another with the parameter base",
)
START = Remedy(
    laptop="check the name, or start a workspace there with --create or --base",
    step="check the name, or let a task that pushes run first",
    image="check the name, or start a workspace there with --create or --base",
)
PRUNED = Remedy(
    laptop="try again after the prune; prune with a longer --older-than",
    step="run the task again; use a longer grace time when you prune",
)
DISAGREE = Remedy(
    laptop="let the newest version win with --on-conflict last, or pull with --force and change it again",
    step="let the tasks run after each other (runAfter), write different paths, or set on-conflict to last",
    image="let the tasks run after each other (runAfter), write different paths, or use --on-conflict last",
)
REPLACED = Remedy(
    laptop="a later attempt replaces an earlier one; push with a higher --attempt if this one shall count",
    step="a later attempt of this task has pushed, and its files count; run the task again if these shall count",
)
FOREIGN_HEAD = Remedy(
    laptop="move that image to another tag, then pull with --repair",
    step="choose a target that nothing else is pushed to, or move that image to another tag",
)
READ_ALL = Remedy(
    laptop="pull with --force, which reads all layers",
    step="run the task again, in a new pod",
)
ALL_GONE = Remedy(
    laptop="if that is meant, push with --allow-empty; else pull with --force",
    step="if that is meant, let the task leave one file, such as .keep; else find the step that deletes everything",
)
OLDER_STATE = Remedy(
    laptop="put the newer state back; or push it to another tag, then pull with --force",
    step="run the task again, in a new pod",
)
OLDER_STATE_CHANGED = Remedy(
    laptop="put the newer state back, or copy what you need out of it and pull with --force",
    step="run the task again, in a new pod",
)
UNKNOWN_LAYER = Remedy(
    laptop="see with agent log what there is; a tree as of a squashed change is gone after a prune",
    step="run the whole pipeline again; a prune deleted entries that this task needs",
)
OCCUPIED = Remedy(
    laptop="name an empty directory, or give this one up with --force",
    step="let nothing write into the workspace before the pull: no sidecar, and no files of the image",
)
IN_THE_WAY = Remedy(
    laptop="move them away and pull again, or discard them with --force",
    step="let nothing write into the workspace before the pull, then run the task again",
)
WRITTEN_BY_OTHERS = Remedy(
    laptop="pull with --force, which deletes what others put there",
    step="run the task again in a new pod, and let no sidecar write there before the pull is done",
)
DAMAGED_STATE = Remedy(
    laptop="copy what you need out of it, then pull with --force",
    step="run the task again, in a new pod",
)
LOCAL_CHANGES = Remedy(
    laptop="push them first, or discard them with --force",
    step="run the task again, in a new pod",
)
