"""What a registry says when it says no."""

from __future__ import annotations

import pytest

from agent.store.network.error_details import parse_error_details


@pytest.mark.parametrize(
    ("body", "codes", "text"),
    [
        (b"", set(), ""),
        (b"plain\ntext", set(), "plain text"),
        (b"\xff\x00\x1b[2J", set(), "\ufffd [2J"),
        (b'{"errors":[{"code":"denied","message":"no"},{"code":"X"}]}', {"DENIED", "X"}, "no"),
        (b'{"errors":[{"code":"X"}]}', {"X"}, "X"),
        (b'{"errors":{}}', set(), '{"errors":{}}'),
        (b'{"details":"wrong password"}', set(), "wrong password"),
        (b'{"error":"invalid_grant","error_description":"too old"}', set(), "too old"),
        (b"[" * 60_000, set(), "[" * 300 + "\u2026"),
    ],
)
def test_problem_is_read(body: bytes, codes: set[str], text: str) -> None:
    details = parse_error_details(400, body)
    assert (details.codes, details.text) == (codes, text)


def test_secrets_are_taken_out_longest_first() -> None:
    details = parse_error_details(400, b"token abcdefgh and abcd and xyz", ["abcd", "abcdefgh", "xyz"])
    assert details.text == "token *** and *** and xyz"
