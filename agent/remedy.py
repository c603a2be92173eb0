"""What to do about an error, in the words of the place where it is read.

A person at a laptop has options and `docker login`. The reader of a step's log has parameters of the wrapping and the
secrets of a service account, and can type nothing into the pod. The author of a task's own image has both halves:
options in the image's command line, and the pod's secrets. The reader of a run's status sees what the controller says.

A remedy that is the same for all four is a plain string. Every other one is here.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Place(Enum):
    """Where an error is read."""

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


def log_in(registry: str) -> Remedy:
    """Return the remedy for a registry that wants a login, or another one."""
    secret = f"a secret of type kubernetes.io/dockerconfigjson for {registry}"
    return Remedy(
        laptop=f"run docker login {registry}",
        step=f"list {secret} under `secrets` of the run's service account",
        image=f"list {secret} under `secrets` of the run's service account, or mount a login and set DOCKER_CONFIG",
        controller=f"mount {secret} into the controller and set DOCKER_CONFIG",
    )


def may_not(registry: str) -> Remedy:
    """Return the remedy for an account that lacks a right."""
    return Remedy(
        laptop=f"check what this account may do there, or run docker login {registry} again",
        step=f"give the account of the run's secret for {registry} the right to pull and push there",
        controller=f"give the controller's account the right to pull from {registry}",
    )


NO_TLS = Remedy(
    laptop="use --plain-http if that is meant",
    step="set plain-http to true if that is meant",
)
UNKNOWN_AUTHORITY = Remedy(
    laptop="add its authority with --ca-file, or use --plain-http if it has no TLS",
    step="name a ConfigMap with its authority as ca.crt with ca-config-map, or set plain-http if it has no TLS",
    image="add its authority with --ca-file from a mounted ConfigMap, or use --plain-http if it has no TLS",
    controller="mount its authority into the controller and set SSL_CERT_FILE",
)
DISCARD = Remedy(
    laptop="push them first, or discard them with --force",
    step="run the task again, in a new pod",
)
ALL_GONE = Remedy(
    laptop="if that is meant, push with --allow-empty; else pull with --force",
    step="if that is meant, let the task leave one file, such as .keep; else find the step that deletes everything",
    image="if that is meant, leave one file, such as .keep; else find the command that deletes everything",
)
DISAGREE = Remedy(
    laptop="let the newest version win with --on-conflict last, or pull with --force and change it again",
    step="let the tasks run after each other (runAfter), write different paths, or set on-conflict to last",
    image="let the tasks run after each other (runAfter), write different paths, or use --on-conflict last",
)
STRANGER = Remedy(
    laptop="pull it into an empty directory, or push to another tag",
    step="give the run a target of its own, or let a pull step run before the task",
    image="pull it into an empty directory first, or push to another tag",
)
FOREIGN_HEAD = Remedy(
    laptop="move that image to another tag, then pull with --repair",
    step="choose a target that nothing else is pushed to, or move that image to another tag",
)
OTHER_BASE = Remedy(
    laptop="name another with --base",
    step="name another with the parameter base",
)
LIMIT = Remedy(
    laptop="do not use the image unless you trust its author; then raise the limit with --limit",
    step="do not use the image unless you trust its author; then raise it with `limits` in the step's argument",
)
NO_ZSTD = Remedy(
    laptop="push with --compression gzip",
    step="set compression to gzip",
)
