"""What a bundle holds, for the message about an object that it lacks."""

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


async def held(place: str, *, plain_http: bool, ca_file: str | None) -> Sequence[Member] | None:
    """Return what a bundle holds, None if it cannot be read with the credentials of the controller's environment.

    Tekton's resolver has read it with the run's before, so that nothing is told to who may not know it.
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
