"""What a refusal means, and the option that helps where one does."""

from __future__ import annotations

import json

import pytest

from agent.errors import AgentError, AuthError, MissingBlobError, RefusedError, TagRefusedError
from agent.store.network.error_details import parse_error_details
from agent.store.registry.refusals import is_denial, is_manifest_denial, manifest_refusal, refusal

ZSTD = b'{"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd"}]}'
GZIP = ZSTD.replace(b"zstd", b"gzip")


def errors(code: str, message: str, **more: object) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, **more}]}).encode()


def put(status: int, body: bytes, manifest: bytes = ZSTD, *, on_tag: bool = True) -> AgentError:
    details = parse_error_details(status, body)
    if is_manifest_denial(details, on_tag=on_tag):
        return AuthError("denied", subject="x", remedy="log in")
    return manifest_refusal(details, "reg/x:t", manifest, on_tag=on_tag)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, errors("MANIFEST_INVALID", "unsupported layer media type application/vnd.oci.image.layer.v1.tar+zstd")),
        (400, errors("UNSUPPORTED", "unknown media type")),
        (400, errors("MANIFEST_INVALID", "manifest invalid", detail={"message": "mediaType is not allowed"})),
        (400, errors("MANIFEST_INVALID", "manifest invalid")),
        (403, errors("DENIED", "zstd layers are not accepted here")),
        (405, errors("UNSUPPORTED", "layer compression is not supported")),
        (409, b"unknown MIME type in layer 0"),
        (415, b""),
        (422, errors("X", "zstd")),
        (422, b"<html><title>Unsupported media-type</title></html>"),
    ],
)
@pytest.mark.parametrize("on_tag", [True, False])
def test_layers_that_a_registry_does_not_know_name_the_compression(status: int, body: bytes, on_tag: bool) -> None:
    error = put(status, body, on_tag=on_tag)
    assert type(error) is RefusedError
    assert "--compression gzip" in error.remedy
    assert b"zstd" in body or "--compression" not in put(status, body, GZIP, on_tag=on_tag).remedy


def test_a_blob_that_is_refused_for_its_compression_names_it_too() -> None:
    assert (
        "--compression gzip" in refusal(parse_error_details(400, errors("BLOB_UPLOAD_INVALID", "zstd: no")), "x").remedy
    )


def test_annotations_that_are_refused_name_the_option() -> None:
    for body in (errors("MANIFEST_INVALID", "annotations exceed the limit"), b"annotation key not allowed"):
        assert "--annotation" in put(400, body, GZIP).remedy


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (413, b"<html><title>413 Request Entity Too Large</title></html>"),
        (400, errors("SIZE_INVALID", "manifest too big")),
        (400, errors("MANIFEST_INVALID", "manifest is too large")),
        (400, errors("MANIFEST_INVALID", "payload exceeds the maximum size")),
    ],
)
def test_images_that_are_too_large_name_squash(status: int, body: bytes) -> None:
    assert "agent squash" in put(status, body, GZIP).remedy


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, errors("TAG_INVALID", "The image tag 'x' already exists and is immutable")),
        (403, errors("DENIED", "tag is locked")),
        (409, errors("CONFLICT", "immutable tag, zstd or not")),
        (412, errors("PRECONDITION", "configured as immutable")),
        (405, errors("UNSUPPORTED", "overwriting is disallowed")),
        (403, b""),
    ],
)
def test_a_tag_that_cannot_move_is_about_the_tag(status: int, body: bytes) -> None:
    assert type(put(status, body)) is TagRefusedError


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_missing_blob_is_about_the_blob(status: int) -> None:
    body = errors("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
    if status == 403:
        return
    assert type(put(status, body)) is MissingBlobError


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (403, "adding 1.2 GiB of storage resource, which will exceed the configured upper limit of 1 GiB"),
        (403, "project quota exceeded"),
        (507, ""),
        (400, "no space left on device"),
        (422, "storage limit reached"),
    ],
)
def test_a_registry_that_is_full_is_no_matter_of_rights(status: int, text: str) -> None:
    details = parse_error_details(status, errors("DENIED", text))
    assert not is_denial(details)
    error = refusal(details, "x")
    assert "no room" in error.what and "agent prune" in error.remedy
    assert put(status, errors("DENIED" if text else "X", text), on_tag=False).exit_code == 21


def test_a_blocked_request_is_not_a_locked_tag() -> None:
    assert is_manifest_denial(parse_error_details(403, errors("DENIED", "Request blocked by policy")), on_tag=True)


@pytest.mark.parametrize(
    "body",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
        b"<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br /></p>",
    ],
)
def test_a_server_that_wants_tls_is_believed(body: bytes) -> None:
    error = refusal(parse_error_details(400, body), "x")
    assert "speaks TLS" in error.what
    assert "--ca-file" in error.remedy and "--plain-http" in error.remedy


def test_a_proxy_that_wants_a_login_is_named() -> None:
    assert "proxy" in refusal(parse_error_details(407, b""), "x").what
