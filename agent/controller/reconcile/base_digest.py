"""The image that workspaces start from: a tag becomes the digest of one platform's manifest, once per run."""

from __future__ import annotations

import asyncio
import os

from agent.core.spelling.reference import parse_reference
from agent.errors import UnavailableError, UsageError
from agent.store import Patience, StoreOptions, open_store
from agent.sync.remote.resolved_image import read_image, this_platform

TIMEOUT_S = 20
PATIENCE_S = 3.0
"""The work queue asks again: a registry that is away is not waited for in one answer."""


async def pin(image: str, *, plain_http: bool, ca_file: str | None) -> str:
    """Return an image by its digest, with the credentials of the controller's own environment.

    An index is followed to the manifest for the controller's platform, so that all tasks start from one tree.

    Raises:
        InvalidReferenceError: it is no reference.
        UsageError: there is no such image.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    options = StoreOptions(plain_http, ca_file, os.environ, Patience(PATIENCE_S))
    try:
        return await asyncio.wait_for(asyncio.to_thread(_pinned, image, options), TIMEOUT_S)
    except TimeoutError as error:
        raise UnavailableError(
            f"no answer within {TIMEOUT_S} s", subject=f"base {image}", remedy="see that the registry can be reached"
        ) from error


def _pinned(image: str, options: StoreOptions) -> str:
    reference = parse_reference(image)
    store = open_store(reference, options)
    try:
        located = read_image(store, str(reference.digest or reference.tag), this_platform(None), image)
    finally:
        store.close()
    if located is None:
        raise UsageError("there is no such image to start from", subject=f"base {image}", remedy="mend the name")
    return str(reference._replace(tag=None, digest=located.digest))
