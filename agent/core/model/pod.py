"""Pods: one attempt of a task may have several, one after the other (design, "Superseded changes")."""

from __future__ import annotations

from typing import NamedTuple


class Pod(NamedTuple):
    """The pod of a change. Of two, the larger one is the later.

    Kubernetes recreates a lost pod under the same name, so that lane and attempt are the same; only the uid differs.
    Uids have no order, so the time decides: it is a hybrid logical clock, as a change's stamp is.

    Attributes:
        started: ns since 1970; when the pod's containers started, by its node's clock, but later than every change
            that its pull saw.
        uid: `metadata.uid`.
    """

    started: int
    uid: str

    def after(self, stamp: int) -> Pod:
        """Return the pod as one that started after `stamp`, the largest that it saw when it began."""
        return self._replace(started=max(self.started, stamp + 1))
