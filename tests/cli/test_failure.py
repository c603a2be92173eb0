"""What errors look like, and what they never show."""

from __future__ import annotations

import io
import json

import click
import pytest

from agent import errors
from agent.cli.terminal.failure import describe, redact, write_failure
from agent.errors import AgentError, AuthError, IntegrityError


def _all_errors(root: type[AgentError]) -> list[type[AgentError]]:
    return [root, *(below for child in root.__subclasses__() for below in _all_errors(child))]


@pytest.mark.parametrize("kind", _all_errors(AgentError))
def test_every_error_gets_its_own_code_and_one_line(kind: type[AgentError]) -> None:
    failure = describe(kind("it broke", subject="reg.io/x:t", remedy="mend it"))
    assert failure.text() == "agent: error: reg.io/x:t: it broke; mend it"
    assert failure.exit_code == kind.exit_code
    assert failure.kind == kind.__name__


def test_exit_codes_are_those_of_the_table() -> None:
    codes = {name: kind.exit_code for name, kind in vars(errors).items() if name.endswith("Error")}
    assert codes["UsageError"] == 2
    assert (codes["ConflictError"], codes["DivergedError"]) == (10, 11)
    assert (codes["AuthError"], codes["UnavailableError"]) == (20, 21)
    assert (codes["IntegrityError"], codes["UnsafeArchiveError"], codes["WorkspaceError"]) == (30, 31, 40)


def test_a_bug_asks_for_a_report_and_shows_no_traceback() -> None:
    failure = describe(KeyError("x"))
    assert failure.exit_code == 1
    assert "bug" in failure.remedy
    assert "--debug" in failure.remedy
    assert "\n" not in failure.text()


def test_wrong_words_point_to_the_help() -> None:
    failure = describe(click.UsageError("No such option: --x"))
    assert failure.exit_code == 2
    assert "--help" in failure.text()


def test_control_characters_do_not_reach_the_terminal() -> None:
    failure = describe(IntegrityError("bad\n\x1b[31m", subject="a\rb\x07", remedy="c\u202ed\udcff"))
    assert failure.text().isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "http://user:hunter2@reg.io/v2/",
        "https://hunter2@reg.io/v2/",
        "'user:hunter2@reg.io/x:t'",
        "user:hun/hunter2@reg.io/x:t",
        "Authorization: Basic hunter2",
        '{"Authorization": "Bearer hunter2"}',
        "Bearer hunter2hunter2hunter2.x",
        "https://reg.io/token?account=me&password=hunter2&scope=x",
        '{"identitytoken": "hunter2"}',
        "/blob?X-Amz-Credential=hunter2&X-Amz-Signature=hunter2&X-Amz-Security-Token=hunter2",
        "/blob?sv=2024&sig=hunter2",
    ],
)
def test_credentials_are_not_shown(text: str) -> None:
    for shown in (redact(text), describe(AuthError(text, subject=text, remedy=text)).text()):
        assert "hunter2" not in shown
        assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "reg.io:5000/team/ws:main@sha256:" + "0" * 64,
        "oci:/home/me@corp/layout:ws",
        "the token server wants basic authentication, a bearer token was refused",
        "run/task:one lane me@host",
        "http://127.0.0.1:5000/v2/x/manifests/ws",
        "src/main.c:12",
    ],
)
def test_what_is_no_credential_stays_readable(text: str) -> None:
    assert redact(text) == text


def test_machines_get_one_object() -> None:
    stream = io.StringIO()
    write_failure(describe(AuthError("no", subject="reg.io", remedy="log in")), stream, as_json=True)
    assert json.loads(stream.getvalue()) == {
        "error": {"kind": "AuthError", "subject": "reg.io", "what": "no", "remedy": "log in", "exit_code": 20}
    }
