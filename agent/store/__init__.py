"""Stores of images: one port (`port.Store`) with two adapters, `registry` (HTTP) and `layout` (directory).

Belongs here: moving blobs, manifests and tags. Never belongs here: the meaning of a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from agent.core.spelling.reference import LayoutReference, Reference
from agent.store.network.retrying import Patience
from agent.store.port import Manifest, Store, Stored, Traffic

__all__ = ["Manifest", "Patience", "Store", "StoreOptions", "Stored", "Traffic", "open_store"]


class StoreOptions(NamedTuple):
    """Options for the connections of a store.

    Attributes:
        plain_http: use HTTP without TLS, whatever the registry's host. Automatic on loopback.
        ca_file: a PEM file of certificates to trust besides the system's.
        environ: the environment, for the files with credentials (`HOME`, `DOCKER_CONFIG`, `REGISTRY_AUTH_FILE`,
            `XDG_RUNTIME_DIR`, `XDG_CONFIG_HOME`) and the helpers on `PATH`.
        patience: the command's, shared by all of its stores; None for one of this store's own.
    """

    plain_http: bool = False
    ca_file: str | None = None
    environ: Mapping[str, str] = MappingProxyType({})
    patience: Patience | None = None


def open_store(reference: Reference, options: StoreOptions) -> Store:
    """Return the repository of `reference`, whose tag and digest are ignored.

    Nothing is sent before the first call. A layout needs no HTTP client, and none is loaded for it.

    Raises:
        UsageError: the layout's path is something else than a layout, or `ca_file` cannot be read.
    """
    if isinstance(reference, LayoutReference):
        from agent.store.layout.layout_store import LayoutStore

        return LayoutStore(reference.path)
    from agent.store.registry.registry_store import RegistryStore

    return RegistryStore(
        reference,
        plain_http=options.plain_http,
        ca_file=options.ca_file,
        environ=options.environ,
        patience=options.patience,
    )
