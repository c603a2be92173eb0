"""Reading challenges, and logging in to ECR by the machine's identity."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent.errors import AuthError
from agent.store.login import ecr
from agent.store.login.challenge import Challenge, format_scopes, parse_challenges


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b"', [("basic", {"realm": "a, b"})]),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:x/y:pull,push"',
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x/y:pull,push"})],
        ),
        ("bearer REALM=https://a/t , Service = s", [("bearer", {"realm": "https://a/t", "service": "s"})]),
        (
            'Negotiate, Basic realm="x", Bearer realm="y",error="insufficient_scope"',
            [("negotiate", {}), ("basic", {"realm": "x"}), ("bearer", {"realm": "y", "error": "insufficient_scope"})],
        ),
        ('Bearer realm="a\\"b\\\\c"', [("bearer", {"realm": 'a"b\\c'})]),
        ('Bearer realm="unfinished', [("bearer", {})]),
        ("=,;", []),
    ],
)
def test_challenges_are_read(header: str, challenges: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(header) == [Challenge(scheme, parameters) for scheme, parameters in challenges]


def test_hostile_challenge_is_read_in_bounded_time() -> None:
    for header in ("a" * 100_000, "a=" * 50_000, 'Bearer realm="' + "\\" * 99_999, ", " * 50_000, "Basic " * 20_000):
        parse_challenges(header)


def test_scopes_are_one_for_each_resource() -> None:
    grants = frozenset({("repository:b", "push"), ("repository:b", "pull"), ("repository:a", "pull")})
    assert format_scopes(grants) == ["repository:a:pull", "repository:b:pull,push"]


HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
BOTO3 = """
class Client:
    def get_authorization_token(self):
        {0}
def client(name, region_name):
    assert (name, region_name) == ("ecr", "eu-west-1")
    return Client()
"""


@pytest.fixture
def parameters() -> dict[str, str]:
    return {"realm": f"https://{HOST}/", "service": "ecr.amazonaws.com"}


@pytest.fixture
def boto3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package boto3 that is found first, in place of Amazon's."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "boto3", raising=False)
    return tmp_path / "boto3.py"


def test_ecr_gets_the_token_that_aws_gives(boto3: Path, parameters: dict[str, str]) -> None:
    boto3.write_text(BOTO3.format('return {"authorizationData": [{"authorizationToken": "QVdTOng="}]}'))
    assert ecr.authorization(HOST, parameters) == "Basic QVdTOng="


def test_failure_of_aws_is_an_auth_error(boto3: Path, parameters: dict[str, str]) -> None:
    boto3.write_text(BOTO3.format('raise RuntimeError("with a secret")'))
    with pytest.raises(AuthError, match="AWS gives no token") as caught:
        ecr.authorization(HOST, parameters)
    assert "secret" not in str(caught.value)


def test_missing_boto3_says_what_to_install(boto3: Path, parameters: dict[str, str]) -> None:
    boto3.write_text("raise ImportError('not here')")
    with pytest.raises(AuthError, match="docker-credential-ecr-login"):
        ecr.authorization(HOST, parameters)


@pytest.mark.parametrize("host", ["registry.example", f"{HOST}.evil.example", "evil.dkr.ecr.eu-west-1.amazonaws.com"])
def test_no_other_registry_gets_an_aws_token(host: str, parameters: dict[str, str]) -> None:
    assert ecr.authorization(host, parameters) == ""
    assert ecr.authorization(HOST, {"realm": f"https://{host}/"}) == ""
