import pytest

from agent.core.spelling.digest import Digest
from agent.core.spelling.reference import LayoutReference, RegistryReference, is_tag, parse_reference
from agent.errors import InvalidReferenceError

DIGEST = Digest("sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("reg.example/a:t", RegistryReference("reg.example", "a", "t")),
        ("reg.example/a", RegistryReference("reg.example", "a", "latest")),
        ("localhost/a/b-c__d.e:T_1", RegistryReference("localhost", "a/b-c__d.e", "T_1")),
        ("127.0.0.1:5000/a", RegistryReference("127.0.0.1:5000", "a", "latest")),
        ("[::1]:5000/a", RegistryReference("[::1]:5000", "a", "latest")),
        (f"reg.example/a@{DIGEST}", RegistryReference("reg.example", "a", None, DIGEST)),
        (f"reg.example/a:t@{DIGEST}", RegistryReference("reg.example", "a", "t", DIGEST)),
        ("oci:/tmp/x:t", LayoutReference("/tmp/x", "t")),
        ("oci:x", LayoutReference("x", "latest")),
        ("oci:/a:b/c", LayoutReference("/a:b/c", "latest")),
        ("oci:/a:b/c:t", LayoutReference("/a:b/c", "t")),
        (f"oci:x@{DIGEST}", LayoutReference("x", None, DIGEST)),
        (f"oci:x:t@{DIGEST}", LayoutReference("x", "t", DIGEST)),
    ],
)
def test_references_are_understood_and_spelled_alike(text, reference):
    assert parse_reference(text) == reference
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "ubuntu",
        "library/ubuntu:22.04",
        "reg.example",
        "reg.example/",
        "reg.example/A",
        "reg.example/a//b",
        "reg.example/../b",
        "reg.example/a:",
        "reg.example/a:-t",
        "reg.example/a:t:t",
        "reg.example/a:t\n",
        "reg.example/a:" + "t" * 129,
        "reg.example/" + "a" * 256,
        "reg.example/a@sha256:0",
        "reg.example/a@",
        f"reg.example/a@{DIGEST}@{DIGEST}",
        "reg .example/a",
        "user:password@reg.example/a",
        "https://reg.example/a",
        "-reg.example/a",
        "reg.example:123456/a",
        "oci:",
        "oci::t",
        "oci:a:",
        f"oci:a:@{DIGEST}",
        "oci:a:ü",
        "oci:a\0b",
        "oci:a@b",
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(InvalidReferenceError) as caught:
        parse_reference(text)
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("text", "legal"), [("a", True), ("_a.-", True), ("", False), (".a", False), ("a\n", False)])
def test_tags_have_a_grammar(text, legal):
    assert is_tag(text) is legal
