"""Credentials as users of docker and podman keep them (docs/decisions/credentials.md says why this is our own).

Files, in this order; the first that knows the registry counts:

1. `$DOCKER_CONFIG/config.json`
2. `$REGISTRY_AUTH_FILE`, or without it `$XDG_RUNTIME_DIR/containers/auth.json`
3. `~/.docker/config.json`, unless 1 is set
4. `$XDG_CONFIG_HOME/containers/auth.json` (`~/.config` by default), unless `$REGISTRY_AUTH_FILE` is set
5. `~/.dockercfg`, which has nothing but `auths`, unless `$REGISTRY_AUTH_FILE` is set

In a file: `credHelpers` of the registry, then `credsStore`, then `auths`, whose keys may carry a path
(`host/namespace/repository`, the longest counts) or, as in pull secrets of Kubernetes, `*` in the host. A file is read
as these tools read it: names of fields in any case, line breaks in base64, nothing after the first object. What cannot
be read is passed over and noted, since the registry may well be open to everyone; the note is shown when it is not.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

HELPER_SECONDS = 30.0
_FILE_MAX = 8 << 20
_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HUB_KEY = "https://index.docker.io/v1/"
_OLD = ".dockercfg"
_WILD = re.compile(r"[*?]")
_TOKEN = re.compile(r"[\x21-\x7e]*")
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What to show to a registry; nothing of it for an anonymous user. Secrets are not part of `repr`.

    Attributes:
        username, password: for basic authentication, and for token servers.
        identity_token: an OAuth2 refresh token, for token servers.
        registry_token: a bearer token, for the registry itself.
        notes: what was passed over on the way.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether there is anything to show to a registry."""
        return bool(self.username or self.identity_token or self.registry_token)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode(errors="surrogateescape")
        return "Basic " + base64.b64encode(pair).decode()

    @property
    def secrets(self) -> list[str]:
        """What must never be shown."""
        secrets = (self.password, self.identity_token, self.registry_token, self.basic.partition(" ")[2])
        return [secret for secret in secrets if secret]


def find_credentials(
    environ: Mapping[str, str], registry: str, repository: str, *, helper_seconds: float = HELPER_SECONDS
) -> Credentials:
    """Return the credentials for `registry` (host, with port if any), or empty ones."""
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
            return self._listed(path, config)
        for suffix in (self._helper(config), _value(config, "credsStore")):
            if isinstance(suffix, str) and suffix:
                found = self._ask(suffix)
                if found is not None:
                    return found
        return self._listed(path, _mapping(_value(config, "auths")))

    def _read(self, path: str) -> dict[str, Any]:
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                config = _first(file.read(_FILE_MAX))
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
        helpers = _mapping(_value(config, "credHelpers"))
        for key, suffix in helpers.items():
            if not _WILD.search(key) and self._scope(key) == "":
                return suffix
        return None

    def _listed(self, path: str, auths: dict[str, Any]) -> Credentials | None:
        """The entry with the longest key that covers the repository and holds something; those with `*` come last."""
        fitting = [
            (not _WILD.search(key), len(scope), len(key), key)
            for key in auths
            if (scope := self._scope(key)) is not None
        ]
        for *_, key in sorted(fitting, reverse=True):
            try:
                found = _entry(_mapping(auths[key]))
            except ValueError:
                self.notes.append(f"{path} holds an unreadable entry for {self._registry}")
                continue
            if found.known:
                return found
        return None

    def _scope(self, key: str) -> str | None:
        """The part of the repository that `key` covers, "" for all of the registry, None if it is another's."""
        if self._hub and key == _HUB_KEY:
            return ""
        address = key.removeprefix("https://").removeprefix("http://")
        host, _, scope = address.partition("/")
        if (self._hub and host in _HUB) or host == self._registry or _is_covered(self._registry, host):
            # An address names a registry as a whole, whatever its path.
            if address != key or scope.strip("/") in ("", "v1", "v2"):
                return ""
            if f"{self._repository}/".startswith(scope.rstrip("/") + "/"):
                return scope
        return None

    def _ask(self, suffix: str) -> Credentials | None:
        """Ask docker-credential-SUFFIX (docker's credential helper protocol: host on stdin, JSON on stdout)."""
        name = f"docker-credential-{suffix}"
        program = shutil.which(name, path=self._environ.get("PATH", os.defpath)) if _SUFFIX.fullmatch(suffix) else None
        if program is None:
            self.notes.append(f"{name!r} is not on the PATH")
            return None
        asked = _HUB_KEY if self._hub else self._registry
        try:
            done = subprocess.run(  # noqa: S603 the user's own configuration names it
                [program, "get"],
                input=asked.encode(),
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
        return self._answer(name, done.stdout)

    def _answer(self, name: str, output: bytes) -> Credentials | None:
        try:
            value = _mapping(json.loads(output))
        except (ValueError, RecursionError):
            value = {}
        username, secret = value.get("Username"), value.get("Secret")
        if not isinstance(username, str) or not isinstance(secret, str):
            self.notes.append(f"{name} gave no credentials")
            return None
        if username == "<token>":
            return Credentials(identity_token=secret)
        found = Credentials(username, secret)
        return found if found.known else None


def _entry(value: dict[str, Any]) -> Credentials:
    """Return the credentials of one entry of `auths`.

    Raises:
        ValueError: its `auth` is not base64 of `user:password`.
    """
    username, password = _value(value, "username") or "", _value(value, "password") or ""
    if auth := _value(value, "auth"):
        username, password = _decode(str(auth))
    identity, token = _value(value, "identitytoken") or "", _value(value, "registrytoken") or ""
    if not all(isinstance(text, str) for text in (username, password, identity, token)):
        raise ValueError("not text")
    if not _TOKEN.fullmatch(token):
        raise ValueError("not a token")
    return Credentials(username, password, identity, token)


def _decode(auth: str) -> tuple[str, str]:
    """Return the user and password in base64, with line breaks or without, padded (as docker writes it) or not."""
    text = auth.replace("\r", "").replace("\n", "")
    try:
        pair = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode(errors="surrogateescape")
    except binascii.Error as error:
        raise ValueError("not base64") from error
    username, colon, password = pair.partition(":")
    if not colon:
        raise ValueError("not user:password")
    return username, password.strip("\0")


def _is_covered(registry: str, pattern: str) -> bool:
    """Say whether a host with `*` covers a registry, as the kubelet has it: label by label, with the same port."""
    if not _WILD.search(pattern):
        return False
    host, _, port = registry.partition(":")
    pattern, _, wanted = pattern.partition(":")
    labels, patterns = host.split("."), pattern.split(".")
    return port == wanted and len(labels) == len(patterns) and all(map(fnmatchcase, labels, patterns))


def _first(data: bytes) -> object:
    """Return the first JSON value in a file, as docker does; an empty object if there is nothing in it."""
    text = data.decode(json.detect_encoding(data)).strip()
    return json.JSONDecoder().raw_decode(text)[0] if text else {}


def _value(fields: dict[str, Any], name: str) -> Any:
    """Return a field by its name, in any case if it is not there in this one, as readers written in Go do."""
    if name in fields:
        return fields[name]
    return next((value for key, value in fields.items() if key.lower() == name.lower()), None)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
