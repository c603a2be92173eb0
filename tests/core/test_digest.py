import pytest

from agent.core.spelling.digest import digest_of, parse_digest
from agent.errors import IntegrityError


def test_the_digest_of_nothing_is_well_known():
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("text", ["sha256:" + "0a" * 32, "sha512:" + "0a" * 64])
def test_registered_algorithms_are_accepted(text):
    assert parse_digest(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "0" * 128,
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 64 + "\n",
        "sha256:../../" + "0" * 58,
        "md5:" + "0" * 32,
        "0" * 64,
        None,
        b"sha256:" + b"0" * 64,
        ["sha256:" + "0" * 64],
    ],
    ids=repr,
)
def test_everything_else_is_refused(text):
    with pytest.raises(IntegrityError) as caught:
        parse_digest(text)
    assert len(str(caught.value)) < 300


def test_a_value_too_deep_to_print_is_refused_all_the_same():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(IntegrityError):
        parse_digest(value)
    while value:
        value = value.pop()
