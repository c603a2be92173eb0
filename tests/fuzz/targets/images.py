"""What stands in manifests: images, indexes, records of changes and squashes."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

from agent.core.image.change_set import unite
from agent.core.image.conflict_record import record_conflicts
from agent.core.image.image import Encoding, Image, Layer
from agent.core.image.manifest import INDEX, PREFIX, load_json, needs_config, parse_image
from agent.core.image.manifest_writer import format_image
from agent.core.image.platform_choice import check_is_image, choose_platform
from agent.core.merge.conflict import Conflict
from agent.core.model.attempts_and_ancestry import Writer
from agent.core.model.pod import Pod
from agent.core.model.record import FOREIGN_LANE, Record, parse_record
from agent.core.model.squash_record import is_squash_text, parse_squash
from agent.core.spelling.canonical import canonical
from agent.core.spelling.digest import digest_of
from agent.errors import IntegrityError, InvalidReferenceError, UnsupportedError
from agent.store.layout.layout_index import REF_NAME, find_tag, parse_index, tags_in, with_tag, without_digest
from agent.store.manifest_checks import digest_for, is_manifest, referenced_digests, verified_manifest
from agent.sync.operation.report import conflict_reports
from tests.core.test_squash_record import TYPE, A, B, C, D, layer, record, squash
from tests.fuzz.mutate import bytewise, dump, jsonwise, spoilt
from tests.fuzz.search import Target

_BETWEEN = b"\n\0\n"
_WORDS = (b"dev.instep.record", b"dev.instep.squash", b"dev.instep.kind", b"dev.instep.view", b"dev.instep.dropped")
_WORDS += (
    b"dev.instep.attempt",
    b"dev.instep.conflicts",
    b"dev.instep.platform",
    b"base",
    b"fixup",
    b"foreign",
    b"layers",
)
_WORDS += (b"manifests", b"annotations", b"sha512:", b"sha256:" + b"0" * 64, b"linux/amd64", b"empty_layer", b"comment")
_json = jsonwise(*_WORDS)


def run_image(data: bytes) -> None:
    """An image that is taken can be merged and written again, and is the same then."""
    manifest, config = _parsed(data)
    needs_config(manifest)
    image = parse_image(manifest, config, "subject")
    assert parse_image(manifest, config, "subject") == image
    union = unite([image])
    _use(image)
    again = parse_image(*_loaded(image), "subject")
    if all(known.kind != "foreign" for known in image.layers):
        assert _said(again) == _said(image), "it is another when it is written again"
    assert unite([image, image]).ids == union.ids


def _use(image: Image) -> None:
    """Do with an image what readers and writers do."""
    union = unite([image])
    frontier = union.frontier
    union.past(frontier).image("main")
    union.before(Writer("lane", 1, Pod(1, "pod")))
    for one in (union.image("main"), image):
        config, manifest = format_image(one)
        json.loads(config), json.loads(manifest)
    conflict_reports(image.conflicts.first)
    assert union.newest_stamp < 1 << 63 and union.superseded <= union.ids


def _loaded(image: Image) -> tuple[dict[str, Any], dict[str, Any]]:
    config, manifest = format_image(image)
    return load_json(manifest, "subject"), load_json(config, "subject")


def _said(image: Image) -> tuple[object, ...]:
    layers = [known._replace(toc=None) for known in image.layers]
    return layers, image.target, image.lane, image.attempt, image.change, image.dropped, image.conflicts


def _parsed(data: bytes) -> tuple[dict[str, Any], dict[str, Any] | None]:
    manifest, between, config = data.partition(_BETWEEN)
    return load_json(manifest, "subject"), load_json(config, "subject") if between else None


def image_seeds() -> list[bytes]:
    """Return images with everything, with and without what descriptors say, and one of someone else."""
    whole, own = _whole(), Image((layer(A), layer(B)), "ws", lane="lane-2", attempt=2, change=B.id)
    found = []
    for image in (own, whole):
        config, manifest = format_image(image)
        found += [manifest, manifest + _BETWEEN + config]
        stripped = json.loads(manifest)
        stripped["annotations"] = {}
        for descriptor in stripped["layers"]:
            del descriptor["annotations"]
        found.append(dump(stripped) + _BETWEEN + config)
    foreign = {"rootfs": {"diff_ids": [digest_of(b"x")]}, "os": "linux", "architecture": "arm64", "variant": "v8"}
    descriptor = {
        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "digest": digest_of(b"y"),
        "size": 5,
    }
    manifest = {"config": {"digest": digest_of(b""), "size": 2}, "layers": [descriptor], "schemaVersion": 2}
    return [*found, dump(manifest) + _BETWEEN + dump(foreign)]


def _whole() -> Image:
    e = record(5, D, attempt=1)
    taken = squash(A, B)
    blob = layer(C)
    encoding = Encoding(blob.digest, blob.diff_id, 500, 100, "ef" * 32)
    base = Layer(TYPE, digest_of(b"base"), 9, digest_of(b"base tar"), "base", base=str(digest_of(b"manifest")))
    fix = Layer(TYPE, digest_of(b"fix"), 9, digest_of(b"fix tar"), "fixup")
    conflicts = [Conflict(b"p\xff", "content", (C.id, D.id), ("lane-3", "lane-4"), D.id)]  # type: ignore[arg-type]
    layers = (base, layer(taken), blob._replace(encoding=encoding, toc=b"toc"), layer(D), layer(e), fix)
    return Image(
        layers, "ws", dropped=(record(7, attempt=0),), conflicts=record_conflicts(conflicts), annotations=(("a", "b"),)
    )


def mutate_image(data: bytes, chance: Random) -> bytes:
    """Change one of the two documents, or both; often with the view put right."""
    manifest, between, config = data.partition(_BETWEEN)
    which = chance.randrange(8)
    if which < 5 or not between:
        manifest = _json(manifest, chance)
    if which > 3 and between:
        config = _json(config, chance)
    if which == 7:
        between, config = b"", b""
    return (_viewed(manifest) if chance.randrange(4) else manifest) + between + config


def _viewed(manifest: bytes) -> bytes:
    try:
        value = json.loads(manifest)
        bare = {key: said for key, said in value["annotations"].items() if key != PREFIX + "view"}
        view = parse_image({**value, "annotations": bare}, None, "").view
        return dump({**value, "annotations": {**bare, PREFIX + "view": view}})
    except (IntegrityError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return manifest


def run_record(data: bytes) -> None:
    """A record that is taken is written again as it stood."""
    text = data.decode(errors="surrogateescape")
    if is_squash_text(text):
        taken = parse_squash(text)
        assert (taken.text, parse_squash(taken.text).id) == (text, taken.id)
        assert 0 < taken.version.stamp < 1 << 63
        return
    found = parse_record(text)
    assert (found.text, parse_record(found.text).id) == (text, found.id)
    canonical([found.lane, found.message, *found.parents])


def record_seeds() -> list[bytes]:
    """Return records of changes and squashes."""
    foreign = Record("ws", (A.id,), FOREIGN_LANE, None, 5, None, digest_of(b"t"), "", foreign=digest_of(b"chain"))
    full = replace(
        B,
        base=str(digest_of(b"b")),
        attempt=3,
        number=2,
        pod=Pod(1, "uid"),
        unpulled=True,
        message="ü\n",
        annotations=(("k", "v"),),
    )
    return [one.text.encode() for one in (A, full, foreign, squash(A, B), squash(A, dropped=(D,), plain=False))]


def run_index(data: bytes) -> None:
    """Whatever an index is, what is found in it is there; what a layout does not understand survives."""
    verified_manifest(data, INDEX, "tag", "subject")
    digest_for(data, "tag", "subject")
    is_manifest(data), referenced_digests(data)
    index = parse_index(data, "subject")
    names = tags_in(index)
    for name in names:
        find_tag(index, name)
    moved = with_tag(index, "moved", {"digest": str(digest_of(b"")), "mediaType": INDEX, "size": 1})
    assert find_tag(parse_index(dump(moved), "subject"), "moved") == (digest_of(b""), INDEX)
    assert tags_in(moved) == names | {"moved"}
    assert tags_in(without_digest(moved, digest_of(b""))) <= names | {"moved"}
    check_is_image(load_json(data, "subject"), "subject")
    choose_platform(load_json(data, "subject"), ("linux", "amd64", ""), "subject")


def index_seeds() -> list[bytes]:
    """Return an index of several platforms, and a layout's."""
    platforms = [{"os": "linux", "architecture": name, "variant": "v8"} for name in ("arm64", "amd64")]
    offers = [{"digest": digest_of(dump(at)), "mediaType": INDEX, "size": 3, "platform": at} for at in platforms]
    tagged = [{**offers[1], "annotations": {REF_NAME: name}} for name in ("main", "host/name:tag", "main")]
    return [
        dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": found}) for found in (offers, [*offers, *tagged])
    ]


def mutate_record(data: bytes, chance: Random) -> bytes:
    """Change a record, mostly in canonical form."""
    try:
        return dump(spoilt(json.loads(data), chance, _WORDS)) if chance.randrange(4) else _json(data, chance)
    except (ValueError, RecursionError):
        return bytewise(*_WORDS)(data, chance)


TARGETS = (
    Target("image", run_image, image_seeds, mutate_image, (IntegrityError,), tries=800),
    Target("record", run_record, record_seeds, mutate_record, (IntegrityError,)),
    Target("index", run_index, index_seeds, _json, (IntegrityError, InvalidReferenceError, UnsupportedError)),
)
