"""The objects of a bundle, for the error about an object that it does not have."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from agent.core.spelling.reference import parse_reference
from agent.errors import AgentError
from agent.store import Patience, StoreOptions, open_store
from agent.sync.commands.store_bundle import read_bundle
from agent.tekton.requests.bundle_image import Member

TIMEOUT_S = 3
"""Seconds until the error is written without the list of objects."""


async def read_members(place: str, *, plain_http: bool, ca_file: str | None) -> Sequence[Member] | None:
    """Return the objects of a bundle, None if the controller's own credentials cannot read it.

    Tekton's resolver has read the bundle with the run's credentials before, so that the list reveals nothing new.

    Args:
        place: the bundle's reference.
    """
    options = StoreOptions(plain_http, ca_file, os.environ, Patience(TIMEOUT_S))
    try:
        return await asyncio.wait_for(asyncio.to_thread(_members, place, options), TIMEOUT_S)
    except (AgentError, TimeoutError):
        return None


def _members(place: str, options: StoreOptions) -> Sequence[Member]:
    reference = parse_reference(place)
    store = open_store(reference, options)
    try:
        return read_bundle(store, reference).members
    finally:
        store.close()
