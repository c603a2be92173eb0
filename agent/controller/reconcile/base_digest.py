"""The digest of the base image: the tag of the image that workspaces start from is resolved once per run."""

from __future__ import annotations

import asyncio
import os

from agent.core.spelling.reference import parse_reference
from agent.errors import UnavailableError, UsageError
from agent.store import Patience, StoreOptions, open_store
from agent.sync.remote.resolved_image import read_image, this_platform

TIMEOUT_S = 20
"""Seconds until the registry counts as unavailable."""

PATIENCE_S = 3.0
"""Seconds of retries within one reconcile. The work queue retries after that."""


async def resolve_digest(image: str, *, plain_http: bool, ca_file: str | None) -> str:
    """Return an image's reference with its digest, resolved with the controller's own credentials.

    If the tag is an index, the digest is that of the manifest for the controller's platform. So all tasks of a run
    start from one tree.

    Raises:
        InvalidReferenceError: `image` is not a reference.
        UsageError: the image does not exist.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    options = StoreOptions(plain_http, ca_file, os.environ, Patience(PATIENCE_S))
    try:
        return await asyncio.wait_for(asyncio.to_thread(_with_digest, image, options), TIMEOUT_S)
    except TimeoutError as error:
        raise UnavailableError(
            f"no answer within {TIMEOUT_S} s", subject=f"base {image}", remedy="see that the registry can be reached"
        ) from error


def _with_digest(image: str, options: StoreOptions) -> str:
    reference = parse_reference(image)
    store = open_store(reference, options)
    try:
        located = read_image(store, str(reference.digest or reference.tag), this_platform(None), image)
    finally:
        store.close()
    if located is None:
        raise UsageError("there is no such image to start from", subject=f"base {image}", remedy="mend the name")
    return str(reference._replace(tag=None, digest=located.digest))
