"""What people, registries and Tekton say in words: references, tags, the steps' argument, headers, credentials."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random

from agent.core.spelling.reference import parse_reference
from agent.core.spelling.tags import check_target_tag, checkpoint_ids, entry_ids, entry_tag, pointer_tag, pointers
from agent.errors import AuthError, InvalidReferenceError, RefusedError, UsageError
from agent.store.login.authorizer import Authorizer
from agent.store.login.challenge import format_scopes, parse_challenges
from agent.store.login.credential_files import find_credentials
from agent.store.login.login_entry import Credentials
from agent.store.network.address import origin_of
from agent.store.network.error_details import ErrorDetails, parse_error_details
from agent.store.network.retry_after import is_temporary, requested_delay
from agent.store.network.retrying import Timing
from agent.store.registry.download import parse_range_start
from agent.store.registry.response_links import next_page, own_upload
from agent.sync.task.argument import parse_step
from tests.fuzz.mutate import bytewise, jsonwise
from tests.fuzz.search import Target, own_place
from tests.sync.test_argument import EVERYTHING

_BETWEEN = b"\n\0\n"
GRANTS = frozenset({("repository:x", "pull")})


def run_reference(data: bytes) -> None:
    """A reference that is taken is read again as it is written, and no word that Python adds gets through."""
    text = data.decode(errors="surrogateescape")
    found = parse_reference(text)
    assert parse_reference(str(found)) == found
    assert "\0" not in str(found)
    if found.tag:
        check_target_tag(found.tag)
        derived = [entry_tag(found.tag, "lane", "a" * 64), pointer_tag(found.tag, "lane", 1, 2), text]
        assert entry_ids(found.tag, derived) == {"a" * 26: derived[0]} and pointers(found.tag, derived) == [derived[1]]
        assert checkpoint_ids(found.tag, derived) == {}


def reference_seeds() -> list[bytes]:
    """Return references of every kind."""
    digest = b"sha256:" + b"0" * 64
    return [b"reg.example.com:5000/a_b/c--d:tag", b"localhost/x@" + digest, b"oci:/a/b:tag", b"[::1]:80/x:y@" + digest]


def run_step(data: bytes) -> None:
    """The steps' argument says what they can do, or is refused."""
    argument = parse_step(data.decode(errors="surrogateescape"))
    assert argument.workspaces and argument.volume.startswith("/")
    for workspace in argument.workspaces:
        assert workspace.directory.startswith("/") and workspace.target.tag and workspace.target.digest is None
        assert b".." not in workspace.sub_path.split(b"/") and b".." not in workspace.base_path.split(b"/")
        str(workspace.target).encode()
    if argument.results:
        assert not any("/" in name for name in argument.results.names)


def step_seeds() -> list[bytes]:
    """Return arguments with everything, and with two workspaces."""
    one = {"name": "a", "directory": "/w/a", "target": "oci:/l:{{workspace}}", "fresh": True}
    two = {"volume": "/v", "workspaces": [one, {"name": "b", "directory": "/w/b", "target": "r.io/x:y", "after": []}]}
    return [json.dumps(value).encode() for value in (EVERYTHING, two)]


@dataclass
class Reply:
    """What a token server answers."""

    text: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Date": "Mon, 01 Jan 2024 00:00:00 GMT"})

    def body(self, limit: int) -> bytes:
        return self.text[: limit + 1]

    def error_details(self) -> ErrorDetails:
        return parse_error_details(self.status, self.text)


def run_challenge(data: bytes) -> None:
    """A challenge, and what a token server says to it, end in something to send, or in an error."""
    header, _, text = data.partition(_BETWEEN)
    asked: list[str] = []

    def exchange(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        asked.append(url)
        return Reply(text, 401 if text.startswith(b"no") else 200)

    challenge = header.decode("latin-1")
    assert all(one.scheme for one in parse_challenges(challenge))
    known = Credentials("user", "secret-word")
    authorizer = Authorizer(origin_of("https://r.example.com", "r"), "r", lambda: known, exchange, lambda: 0.0)
    sent = authorizer.answer_challenge({"WWW-Authenticate": challenge}, GRANTS, None)
    assert sent.isascii() and sent.isprintable() and "\n" not in sent
    assert authorizer.header(GRANTS)
    for url in asked:
        assert not url.startswith("http://") or "127.0.0.1" in url or "localhost" in url, (
            "the password goes out in clear"
        )
    format_scopes(GRANTS)


def challenge_seeds() -> list[bytes]:
    """Return challenges with the answers of token servers."""
    bearer = b'Bearer realm="https://auth.example.com/t?a=b",service="reg",scope="repository:x:pull,push"'
    token = {"token": "abc", "access_token": "x", "expires_in": 300, "issued_at": "2024-01-01T00:00:00.123456789Z"}
    return [
        bearer + _BETWEEN + json.dumps(token).encode(),
        b'Basic realm="a\\"b", Bearer realm=https://x/' + _BETWEEN + b'{"token":"x"}',
    ]


def run_header(data: bytes) -> None:
    """A link, a date or a range in a header is understood or passed over, however long it is."""
    text = data.decode("latin-1")
    asked = "https://r.example.com/v2/team/x/tags/list?n=1000"
    following = next_page(text, asked)
    assert following.address is None or following.exists
    assert following.address != asked or "n=1000" in text
    own = own_upload(asked, text, "https://r.example.com/v2/team/x/blobs/uploads/")
    assert own == text or own.startswith("https://r.example.com/v2/team/x/blobs/uploads/")
    timing = Timing(wall=lambda: 0.0)
    for headers in (
        {"Retry-After": text},
        {"ratelimit": text},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": text},
    ):
        waited = requested_delay(headers, timing)
        assert waited is None or waited >= 0
        is_temporary(parse_error_details(403, data), headers)
    parse_range_start(text)


def header_seeds() -> list[bytes]:
    """Return headers."""
    link = b'<https://x/first>; rel=first, </v2/x/tags/list?n=1000&last=a,b>; rel="next"'
    return [
        link,
        b"https://inside:5000/v2/team/x/blobs/uploads/u?_state=a",
        b'"a";r=0;t=30, limit=5, remaining=0, reset=5',
        b"120",
        b"Wed, 21 Oct 2015 07:28:00 GMT",
        b"bytes 5-10/20",
        b"<" * 60000,
        b"<>;" * 20000,
        b" " * 65000 + b"x",
    ]


def run_login(data: bytes) -> None:
    """Whatever a docker configuration holds, it gives credentials or none, and runs nothing that is not there."""
    place = _place()
    with open(os.path.join(place, "config.json"), "wb") as file:
        file.write(data)
    found = find_credentials({"DOCKER_CONFIG": place, "PATH": place}, "r.example.com", "team/x")
    assert all(note.isprintable() or len(note) < 10_000 for note in found.notes)
    if found.is_present:
        found.basic.encode("ascii")
        assert all(isinstance(secret, str) for secret in found.secrets)


@cache
def _place() -> str:
    return str(own_place())


def login_seeds() -> list[bytes]:
    """Return configurations."""
    auths = {"r.example.com": {"auth": "dXNlcjpwYXNz"}, "https://r.example.com/v1/": {"identitytoken": "t"}}
    more = {
        "r.example.com/team": {"username": "u", "password": "p", "auth": ""},
        "r.example.com/team/x": {"auth": "eA=="},
    }
    config = {"auths": {**auths, **more}, "credHelpers": {"r.example.com": "none"}, "credsStore": "../x"}
    return [json.dumps(config).encode(), json.dumps({"auths": auths}).encode()]


def run_problem(data: bytes) -> None:
    """What a registry says when it says no is shown in one short line, without secrets."""
    found = parse_error_details(400, data, ["secret-word"])
    assert found.text == "" or found.text.isprintable()
    assert len(found.text) <= 301 and "secret-word" not in found.text


def problem_seeds() -> list[bytes]:
    """Return refusals of registries and token servers."""
    errors = [{"code": "DENIED", "message": "no secret-word here"}, {"code": "unknown"}]
    return [json.dumps(value).encode() for value in ({"errors": errors}, {"details": "x"}, {"error_description": "y"})]


def _two(one: bytes, other: bytes, data: bytes, chance: Random) -> bytes:
    first, between, second = data.partition(_BETWEEN)
    if chance.randrange(2):
        return (
            bytewise(one, b'="', b"\\", b",", b" " * 60000, b"realm", b"scope", b"Bearer", b"Basic")(first, chance)
            + between
            + second
        )
    return first + between + jsonwise(other, b"token", b"expires_in", b"issued_at")(second, chance)


def mutate_challenge(data: bytes, chance: Random) -> bytes:
    """Change the challenge or the token server's answer."""
    return _two(b"https://[::1", b"9999-99-99", data, chance)


TARGETS = (
    Target(
        "reference",
        run_reference,
        reference_seeds,
        bytewise(b":", b"/", b"@", b"oci:", b"..", b"sha512:", b"\xff", b"\n", b"-", b"_" * 40, b"._c", b"a" * 130),
        (InvalidReferenceError,),
    ),
    Target(
        "step-argument",
        run_step,
        step_seeds,
        jsonwise(b"{{workspace}}", b"$(x)", b"..", b"/", b"oci:/x:y", b"fresh", b"read-only", b"sub-path", b"limit"),
        (UsageError,),
    ),
    Target("challenge", run_challenge, challenge_seeds, mutate_challenge, (AuthError, RefusedError)),
    Target(
        "header", run_header, header_seeds, bytewise(b"<", b">;", b'rel="next"', b",", b"rel=next", b"bytes ", b"\xb2")
    ),
    Target(
        "login",
        run_login,
        login_seeds,
        jsonwise(b"r.example.com", b"auths", b"auth", b"https://", b"dTpw", b"docker.io"),
    ),
    Target(
        "problem", run_problem, problem_seeds, jsonwise(b"errors", b"code", b"message", b"secret-word", b"\x1b[31m")
    ),
)
