import json

import pytest

from agent.core.image.conflict_record import record_conflicts
from agent.core.image.manifest import CONFIG, MANIFEST, PREFIX, damaged, load_json, needs_config, parse_image
from agent.core.image.manifest_writer import INLINE_MAX, INLINE_TOTAL_MAX, format_image
from agent.core.merge.conflict import Conflict, ConflictKind
from agent.core.spelling.digest import digest_of
from agent.errors import IntegrityError
from tests.core.made import ZSTD, base_layer, digest, fixup_layer, image_of, layer_of, record_of

SECOND = 10**9
LATER = record_of(2, stamp=2 * SECOND)
IMAGE = image_of(
    base_layer(1, digest(9)),
    layer_of(1, (digest(9),), stamp=SECOND, base=digest(9), toc=b"toc"),
    fixup_layer(1),
    lane="a",
    attempt=2,
    change="f" * 64,
    dropped=(LATER,),
    annotations=(("org.example", "x"),),
    conflicts=record_conflicts(
        [
            Conflict(b"a/\xff", ConflictKind.CONTENT, (digest(9), LATER.id), (None, "a"), LATER.id),
            Conflict(b"b", ConflictKind.HIDDEN, (digest(9), LATER.id), (None, "a")),
        ]
    ),
)


def loaded(image):
    config, manifest = format_image(image)
    return json.loads(config), json.loads(manifest)


def test_a_manifest_is_what_the_image_spec_asks_for():
    config, manifest = format_image(IMAGE)
    value = json.loads(manifest)
    assert (value["schemaVersion"], value["mediaType"]) == (2, MANIFEST)
    assert value["config"] == {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)}
    assert [(d["digest"], d["size"], d["mediaType"]) for d in value["layers"]] == [
        (layer.digest, 30, ZSTD) for layer in IMAGE.layers
    ]


def test_a_config_is_what_the_image_spec_asks_for():
    config, _ = loaded(IMAGE)
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    assert "variant" not in config
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer.diff_id for layer in IMAGE.layers]}
    assert [bool(item.get("empty_layer")) for item in config["history"]] == [False, False, False, True]
    assert config["history"][1]["created"] == "1970-01-01T00:00:01Z"
    assert config["created"] == "1970-01-01T00:00:02Z"
    config, _ = loaded(IMAGE._replace(platform=("linux", "arm64", "v8")))
    assert (config["architecture"], config["variant"]) == ("arm64", "v8")


def test_what_an_image_says_of_itself_stands_in_annotations():
    _, manifest = loaded(IMAGE)
    own = {key: value for key, value in manifest["annotations"].items() if key != PREFIX + "dropped"}
    assert json.loads(own.pop(PREFIX + "conflicts"))["count"] == 2
    assert own == {
        "org.example": "x",
        "dev.instep.format": "1",
        "dev.instep.view": IMAGE.view,
        "dev.instep.target": "main",
        "dev.instep.lane": "a",
        "dev.instep.attempt": "2",
        "dev.instep.change": "f" * 64,
        "dev.instep.platform": "linux/amd64",
    }


def test_annotations_of_users_do_not_pass_for_our_own():
    image = IMAGE._replace(attempt=None, annotations=(("dev.instep.attempt", "7"), ("dev.instep.view", "x")))
    config, manifest = loaded(image)
    parsed = parse_image(manifest, config, "x")
    assert (parsed.attempt, parsed.view, parsed.annotations) == (None, image.view, ())


def test_tables_of_contents_are_inlined_newest_first_until_there_is_no_room():
    fitting = INLINE_TOTAL_MAX // INLINE_MAX
    layers = [layer_of(number, toc=bytes(INLINE_MAX)) for number in range(1, fitting + 6)]
    layers[10] = layers[10]._replace(toc=bytes(INLINE_MAX + 1))
    _, manifest = loaded(image_of(*layers))
    inline = [layer.toc is not None for layer in parse_image(manifest, None, "x").layers]
    assert inline == [False] * 4 + [True] * 6 + [False] + [True] * (fitting - 6)


def test_an_inline_table_of_contents_of_another_blob_is_void():
    _, manifest = loaded(IMAGE)
    manifest["layers"][1]["digest"] = digest(77)
    layer = parse_image(manifest, None, "x").layers[1]
    assert (layer.record, layer.encoding, layer.toc) == (IMAGE.layers[1].record, None, None)


def test_a_record_of_another_layer_is_void():
    config, manifest = loaded(image_of(layer_of(1)))
    del manifest["annotations"]
    config["rootfs"]["diff_ids"] = [digest(77)]
    layer = parse_image(manifest, config, "x").layers[0]
    assert (layer.kind, layer.record) == ("foreign", None)


def test_a_layer_that_calls_itself_a_change_and_has_no_record_is_foreign():
    config, manifest = loaded(image_of(layer_of(1)))
    del manifest["annotations"], manifest["layers"][0]["annotations"]
    config["history"] = [{"comment": '{"format":1,"kind":"change"}'}]
    assert [layer.kind for layer in parse_image(manifest, config, "x").layers] == ["foreign"]


def test_an_image_of_someone_else_has_foreign_layers():
    manifest = {
        "schemaVersion": 2,
        "config": {"digest": digest(1), "size": 2, "mediaType": CONFIG},
        "layers": [{"digest": digest(2), "size": 3, "mediaType": ZSTD}],
    }
    config = {
        "os": "linux",
        "architecture": "arm64",
        "rootfs": {"type": "layers", "diff_ids": [digest(3)]},
        "history": [{"created_by": "RUN x", "comment": "buildkit.dockerfile.v0"}, {"empty_layer": True}],
    }
    assert needs_config(manifest)
    image = parse_image(manifest, config, "x")
    assert [(layer.kind, layer.diff_id) for layer in image.layers] == [("foreign", digest(3))]
    assert (image.format, image.target, image.platform) == (0, "", ("linux", "arm64", ""))


def test_layers_put_on_top_of_ours_are_foreign():
    config, manifest = loaded(IMAGE)
    del manifest["annotations"]
    for descriptor in manifest["layers"]:
        del descriptor["annotations"]
    manifest["layers"].append({"digest": digest(2), "size": 3, "mediaType": ZSTD})
    config["rootfs"]["diff_ids"].append(digest(3))
    config["history"].append({"created_by": "buildah commit"})
    image = parse_image(manifest, config, "x")
    assert [layer.kind for layer in image.layers] == ["base", "change", "fixup", "foreign"]
    assert image.records == IMAGE.records


def _edited(edit):
    config, manifest = loaded(IMAGE)
    edit(manifest, config)
    return manifest, config


def _set(*keys, value):
    def edit(manifest, config):
        thing = {"manifest": manifest, "config": config}
        for key in keys[:-1]:
            thing = thing[key]
        thing[keys[-1]] = value

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        _set("manifest", "layers", value=5),
        _set("manifest", "layers", value=None),
        _set("manifest", "layers", 0, value="x"),
        _set("manifest", "layers", value={}),
        _set("manifest", "config", value=None),
        _set("manifest", "manifests", value=[]),
        _set("manifest", "annotations", value=["x"]),
        _set("manifest", "annotations", value={"k": 1}),
        _set("manifest", "annotations", "dev.instep.view", value="0" * 64),
        _set("manifest", "annotations", "dev.instep.attempt", value="x"),
        _set("manifest", "annotations", "dev.instep.format", value="x"),
        _set("manifest", "annotations", "dev.instep.dropped", value="5"),
        _set("manifest", "annotations", "dev.instep.dropped", value='["x"]'),
        _set("manifest", "annotations", "dev.instep.dropped", value="[" * 100_000),
        _set("manifest", "annotations", "dev.instep.conflicts", value='{"count":0}'),
        _set("manifest", "layers", 1, "digest", value="sha256:../x"),
        _set("manifest", "layers", 1, "digest", value=["x"]),
        _set("manifest", "layers", 1, "size", value=-1),
        _set("manifest", "layers", 1, "size", value=True),
        _set("manifest", "layers", 1, "size", value="3"),
        _set("manifest", "layers", 1, "annotations", "dev.instep.record", value="{}"),
        _set("manifest", "layers", 1, "annotations", "dev.instep.encoding", value="{}"),
        _set("manifest", "layers", 1, "annotations", "dev.instep.encoding", value="[" * 100_000),
        _set("manifest", "layers", 1, "annotations", "dev.instep.toc", value="***"),
        _set("manifest", "layers", 0, "annotations", "dev.instep.base", value="x"),
        _set("config", "rootfs", value=None),
        _set("config", "rootfs", "diff_ids", value=[]),
        _set("config", "rootfs", "diff_ids", value={"a": 1, "b": 2, "c": 3}),
        _set("config", "rootfs", "diff_ids", value=["sha256:x"] * 3),
        _set("config", "history", value=5),
        _set("config", "history", value=[5]),
    ],
)
def test_a_damaged_image_is_refused_and_named(edit):
    manifest, config = _edited(edit)
    needs_config(manifest)
    with pytest.raises(IntegrityError) as caught:
        parse_image(manifest, config, "reg.example/a:t")
    assert caught.value.exit_code == 30
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "manifest", [{}, {"layers": 5}, {"layers": [5]}, {"annotations": 5}, {"annotations": {"dev.instep.view": "x"}}]
)
def test_whether_a_config_is_needed_can_be_asked_of_anything(manifest):
    assert needs_config(manifest)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000, b'{"a":1}{}'], ids=lambda d: repr(d)[:20]
)
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(IntegrityError):
        load_json(data, "x")


def test_damage_names_its_subject():
    assert str(damaged("reg.example/a:t", "is odd")).startswith("reg.example/a:t: is odd;")


def _put_on_top(config, manifest, kept):
    """Do as builders do: hand annotations of the manifest on, and those of no layer."""
    layers = [{key: item[key] for key in ("digest", "size", "mediaType")} for item in manifest["layers"][:kept]]
    layers.append({"digest": digest(70), "size": 30, "mediaType": ZSTD})
    diff_ids = [*config["rootfs"]["diff_ids"][:kept], digest(71)]
    history = [item for item in config["history"] if not item.get("empty_layer")][:kept]
    config = {**config, "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": [*history, {"created_by": "x"}]}
    return {**manifest, "layers": layers}, config


def test_an_image_that_was_built_on_ours_is_no_edited_one():
    config, manifest = loaded(IMAGE)
    manifest, config = _put_on_top(config, manifest, 3)
    parsed = parse_image(manifest, config, "x")
    assert [layer.kind for layer in parsed.layers] == ["base", "change", "fixup", "foreign"]
    assert parsed.records == IMAGE.records


def test_an_image_that_was_made_one_layer_of_ours_is_no_edited_one():
    config, manifest = loaded(IMAGE)
    manifest, config = _put_on_top(config, manifest, 0)
    assert [layer.kind for layer in parse_image(manifest, config, "x").layers] == ["foreign"]


@pytest.mark.parametrize("kept", [1, 2])
def test_an_image_that_was_built_on_a_part_of_ours_is_refused(kept):
    config, manifest = loaded(IMAGE)
    manifest, config = _put_on_top(config, manifest, kept)
    with pytest.raises(IntegrityError, match="view"):
        parse_image(manifest, config, "x")
