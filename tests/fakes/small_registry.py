"""A small registry in memory, on loopback, that deletes as real ones do: some as the specification says, some not."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from agent.store.manifest_checks import referenced_digests
from tests.fakes.proxy import Fault, FaultProxy, Seen

Deletes = Literal["whole", "by tag", "late", "in name only", "never"]
"""What becomes of a DELETE.

whole: a digest goes with all its tags (distribution-spec).
by tag: a digest goes alone; its tags live on until they are deleted one by one (go-containerregistry's pkg/registry).
late: as `whole`, but what is gone is shown for `LAG` more looks.
in name only: 202, and nothing goes.
never: 405.
"""
LAG = 3


class SmallRegistry:
    """`address` is `HOST:PORT`. One repository is like another: blobs are shared, manifests and tags are not.

    Args:
        deletes: what becomes of a DELETE.
    """

    def __init__(self, deletes: Deletes = "whole") -> None:
        self.deletes = deletes
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        """By repository and tag or digest, with the media type: as in pkg/registry a tag has a manifest of its own."""
        self.locked: set[str] = set()
        """Tags whose images cannot be deleted."""
        self.http = FaultProxy()
        self.http.add_rule(self._answer)
        self.address = self.http.address
        self._uploads: dict[str, bytes] = {}
        self._numbers = itertools.count()
        self._fading: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        self.http.close()

    def tags(self, repository: str) -> list[str]:
        """Return the tags that are there, whatever is shown."""
        names = [name for place, name in self.manifests if place == repository and (place, name) not in self._fading]
        return sorted(name for name in names if ":" not in name)

    def _answer(self, seen: Seen) -> Fault:
        url = urlsplit(seen.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags)/(.+?)/?", url.path)
        if found is None:
            return Fault(200, body=b"{}") if url.path == "/v2/" else _error(404, "NAME_INVALID")
        repository, kind, name = found.groups()
        with self._lock:
            if kind == "tags":
                tags = [tag for place, tag in sorted(self.manifests) if place == repository and ":" not in tag]
                return Fault(200, body=json.dumps({"name": repository, "tags": tags}).encode())
            if kind == "manifests":
                return self._manifest(seen, repository, name)
            return self._upload(seen, repository, name, query) if name.startswith("uploads") else self._blob(seen, name)

    def _manifest(self, seen: Seen, repository: str, name: str) -> Fault:
        place = (repository, name)
        if seen.method == "PUT":
            there = self.blobs.keys() | {one for place, one in self.manifests if place == repository}
            if not there.issuperset(referenced_digests(seen.body)):
                return _error(404, "MANIFEST_BLOB_UNKNOWN")
            digest = _digest(seen.body)
            for each in ((repository, digest), place):
                self.manifests[each] = (seen.body, seen.headers.get("Content-Type", ""))
                self._fading.pop(each, None)
            return Fault(201, {"Docker-Content-Digest": digest})
        if seen.method == "DELETE":
            return self._delete(repository, name)
        if place in self._fading:
            self._fading[place] -= 1
            if self._fading[place] < 0:
                del self._fading[place], self.manifests[place]
        if place not in self.manifests:
            return _error(404, "MANIFEST_UNKNOWN")
        data, media_type = self.manifests[place]
        return Fault(200, {"Content-Type": media_type, "Docker-Content-Digest": _digest(data)}, data)

    def _delete(self, repository: str, name: str) -> Fault:
        if self.deletes == "never":
            return _error(405, "UNSUPPORTED")
        place = (repository, name)
        if place not in self.manifests or place in self._fading:
            return _error(404, "MANIFEST_UNKNOWN")
        data, _ = self.manifests[place]
        same = [each for each in self.manifests if each[0] == repository and self.manifests[each][0] == data]
        if any(tag in self.locked for _, tag in same):
            return _error(412, "PRECONDITION")
        match self.deletes:
            case "by tag":
                del self.manifests[place]
            case "whole" if ":" in name:
                for each in same:
                    del self.manifests[each]
            case "late" if ":" in name:
                self._fading |= dict.fromkeys(same, LAG)
            case "whole" | "late":
                return _error(400, "DIGEST_INVALID")
        return Fault(202)

    def _blob(self, seen: Seen, digest: str) -> Fault:
        data = self.blobs.get(digest)
        if data is None:
            return _error(404, "BLOB_UNKNOWN")
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.headers.get("Range", ""))
        if asked is None or seen.method == "HEAD":
            return Fault(200, {"Docker-Content-Digest": digest}, data)
        start, end = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        if start >= len(data):
            return _error(416, "RANGE_INVALID")
        return Fault(206, {"Content-Range": f"bytes {start}-{end}/{len(data)}"}, data[start : end + 1])

    def _upload(self, seen: Seen, repository: str, name: str, query: Mapping[str, str]) -> Fault:
        if seen.method == "POST":
            if query.get("mount") in self.blobs:
                return Fault(201, {"Docker-Content-Digest": query["mount"]})
            name = f"uploads/{next(self._numbers)}"
            self._uploads[name] = b""
        elif seen.method == "DELETE":
            self._uploads.pop(name, None)
            return Fault(204)
        elif name not in self._uploads:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        else:
            self._uploads[name] += seen.body
        if seen.method != "PUT":
            return Fault(202, {"Location": f"/v2/{repository}/blobs/{name}"})
        data, digest = self._uploads.pop(name), query["digest"]
        if _digest(data, digest.partition(":")[0]) != digest:
            return _error(400, "DIGEST_INVALID")
        self.blobs[digest] = data
        return Fault(201, {"Docker-Content-Digest": digest})


def _digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def _error(status: int, code: str) -> Fault:
    headers: dict[str, str] = {"Content-Type": "application/json"}
    return Fault(status, headers, json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode())
