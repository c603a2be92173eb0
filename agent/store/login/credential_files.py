"""Finds the credentials that docker or podman stored (docs/decisions/credentials.md gives the reasons for own code).

The first of these files with credentials for the registry counts:

1. `$DOCKER_CONFIG/config.json`
2. `$REGISTRY_AUTH_FILE`, or without it `$XDG_RUNTIME_DIR/containers/auth.json`
3. `~/.docker/config.json`, unless 1 is set
4. `$XDG_CONFIG_HOME/containers/auth.json` (`~/.config` by default), unless `$REGISTRY_AUTH_FILE` is set
5. `~/.dockercfg`, which contains only `auths`, unless `$REGISTRY_AUTH_FILE` is set

Within a file: `credHelpers` of the registry, then `credsStore`, then `auths`. Keys of `auths` may contain a path
(`host/namespace/repository`, the longest counts) or, as in pull secrets of Kubernetes, `*` in the host. A file is read
as docker and podman read it: names of fields in any case, line breaks in base64, only the first object. Unreadable
files are skipped and noted, since the registry may allow anonymous access; the notes are shown if it does not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from agent.store.login.login_entry import WILDCARD, Credentials, covers, field_of, first_json, object_of, parse_entry

HELPER_SECONDS = 30.0
_FILE_MAX = 8 << 20
_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HUB_KEY = "https://index.docker.io/v1/"
_OLD = ".dockercfg"
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


def find_credentials(
    environ: Mapping[str, str], registry: str, repository: str, *, helper_seconds: float = HELPER_SECONDS
) -> Credentials:
    """Return the credentials for a repository; empty ones if there are none.

    Args:
        environ: the environment.
        registry: the host, with a port if it has one.
        repository: the name in that registry.
        helper_seconds: the time that a credential helper may take.
    """
    search = _Search(environ, registry, repository, helper_seconds)
    for path in _files(environ):
        found = search.in_file(path)
        if found is not None:
            return replace(found, notes=tuple(search.notes))
    return Credentials(notes=tuple(search.notes))


def _files(environ: Mapping[str, str]) -> Iterator[str]:
    home = environ.get("HOME", "")
    if environ.get("DOCKER_CONFIG"):
        yield os.path.join(environ["DOCKER_CONFIG"], "config.json")
    if environ.get("REGISTRY_AUTH_FILE"):
        yield environ["REGISTRY_AUTH_FILE"]
    elif environ.get("XDG_RUNTIME_DIR"):
        yield os.path.join(environ["XDG_RUNTIME_DIR"], "containers", "auth.json")
    if home and not environ.get("DOCKER_CONFIG"):
        yield os.path.join(home, ".docker", "config.json")
    if not environ.get("REGISTRY_AUTH_FILE"):
        if environ.get("XDG_CONFIG_HOME"):
            yield os.path.join(environ["XDG_CONFIG_HOME"], "containers", "auth.json")
        elif home:
            yield os.path.join(home, ".config", "containers", "auth.json")
        if home:
            yield os.path.join(home, _OLD)


class _Search:
    def __init__(self, environ: Mapping[str, str], registry: str, repository: str, helper_seconds: float) -> None:
        self._environ = environ
        self._hub = registry in _HUB
        self._registry = "docker.io" if self._hub else registry
        self._repository = repository
        self._seconds = helper_seconds
        self.notes: list[str] = []

    def in_file(self, path: str) -> Credentials | None:
        config = self._read(path)
        if os.path.basename(path) == _OLD:
            return self._in_auths(path, config)
        for suffix in (self._helper(config), field_of(config, "credsStore")):
            if isinstance(suffix, str) and suffix:
                found = self._run_helper(suffix)
                if found is not None:
                    return found
        return self._in_auths(path, object_of(field_of(config, "auths")))

    def _read(self, path: str) -> dict[str, Any]:
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                config = first_json(file.read(_FILE_MAX))
            if isinstance(config, dict):
                return config
            self.notes.append(f"{path} is not a configuration")
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            self.notes.append(f"{path} cannot be read ({error.strerror})")
        except (ValueError, RecursionError):
            self.notes.append(f"{path} is not JSON")
        return {}

    def _helper(self, config: dict[str, Any]) -> object:
        helpers = object_of(field_of(config, "credHelpers"))
        for key, suffix in helpers.items():
            if not WILDCARD.search(key) and self._scope(key) == "":
                return suffix
        return None

    def _in_auths(self, path: str, auths: dict[str, Any]) -> Credentials | None:
        """Return the entry with the longest key that matches the repository; keys with wildcards come last."""
        fitting = [
            (not WILDCARD.search(key), len(scope), len(key), key)
            for key in auths
            if (scope := self._scope(key)) is not None
        ]
        for *_, key in sorted(fitting, reverse=True):
            try:
                found = parse_entry(object_of(auths[key]))
            except ValueError:
                self.notes.append(f"{path} holds an unreadable entry for {self._registry}")
                continue
            if found.is_present:
                return found
        return None

    def _scope(self, key: str) -> str | None:
        """Return the part of the repository's path in `key`, "" for the whole registry, None for another registry."""
        if self._hub and key == _HUB_KEY:
            return ""
        address = key.removeprefix("https://").removeprefix("http://")
        host, _, scope = address.partition("/")
        if (self._hub and host in _HUB) or host == self._registry or covers(self._registry, host):
            # An address means the whole registry, whatever its path.
            if address != key or scope.strip("/") in ("", "v1", "v2"):
                return ""
            if f"{self._repository}/".startswith(scope.rstrip("/") + "/"):
                return scope
        return None

    def _run_helper(self, suffix: str) -> Credentials | None:
        """Run docker-credential-SUFFIX (docker's credential helper protocol: host on stdin, JSON on stdout)."""
        name = f"docker-credential-{suffix}"
        program = shutil.which(name, path=self._environ.get("PATH", os.defpath)) if _SUFFIX.fullmatch(suffix) else None
        if program is None:
            self.notes.append(f"{name!r} is not on the PATH")
            return None
        server = _HUB_KEY if self._hub else self._registry
        try:
            done = subprocess.run(  # noqa: S603 the user's own configuration names it
                [program, "get"],
                input=server.encode(),
                capture_output=True,
                timeout=self._seconds,
                env=dict(self._environ),
                check=False,
            )
        except subprocess.TimeoutExpired:
            self.notes.append(f"{name} gave no answer within {self._seconds:g} s")
            return None
        except OSError as error:
            self.notes.append(f"{name} cannot be run ({error.strerror})")
            return None
        if done.returncode:
            if b"credentials not found" not in done.stdout + done.stderr:
                self.notes.append(f"{name} failed with exit code {done.returncode}")
            return None
        return self._parse_output(name, done.stdout)

    def _parse_output(self, name: str, output: bytes) -> Credentials | None:
        try:
            value = object_of(json.loads(output))
        except (ValueError, RecursionError):
            value = {}
        username, secret = value.get("Username"), value.get("Secret")
        if not isinstance(username, str) or not isinstance(secret, str):
            self.notes.append(f"{name} gave no credentials")
            return None
        if username == "<token>":
            return Credentials(identity_token=secret)
        found = Credentials(username, secret)
        return found if found.is_present else None
