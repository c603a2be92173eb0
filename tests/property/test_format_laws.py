"""What is formatted is parsed again; what is damaged is refused by the declared error and no other."""

import base64
import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from agent.core.image.image import DEFAULT_PLATFORM
from agent.core.image.manifest import PREFIX, load_json, needs_config, parse_image
from agent.core.image.manifest_writer import INLINE_MAX, INLINE_TOTAL_MAX, format_image
from agent.core.image.platform_choice import choose_platform
from agent.core.model.record import parse_record
from agent.core.spelling.canonical import canonical, name_from_json, name_to_json
from agent.core.spelling.digest import digest_of, parse_digest
from agent.core.spelling.reference import LayoutReference, RegistryReference, parse_reference
from agent.core.spelling.rfc3339 import format_time
from agent.errors import AgentError, IntegrityError, InvalidReferenceError, UnsupportedError
from tests.core.made import image_of, layer_of
from tests.property.edits import laws
from tests.property.images import damaged, deep, digests, images, json_values, records

_finite = json_values.filter(lambda value: "NaN" not in json.dumps(value) and "Infinity" not in json.dumps(value))


# Canonical JSON and names.


@laws
@given(_finite)
def test_canonical_json_reads_back(value):
    try:
        data = canonical(value)
    except UnicodeEncodeError:
        assume(False)
    assert json.loads(data) == value
    assert canonical(json.loads(data)) == data


@laws
@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), st.integers()), st.randoms())
def test_canonical_json_does_not_know_in_which_order_keys_came(value, random):
    keys = list(value)
    random.shuffle(keys)
    assert canonical({key: value[key] for key in keys}) == canonical(value)
    keys = list(json.loads(canonical(value)))
    assert keys == sorted(keys, key=str.encode)


@laws
@given(st.binary())
@example(b"\xff")
@example(b"a\nb")
def test_names_survive_json(name):
    assert name_from_json(json.loads(canonical(name_to_json(name)))) == name


@laws
@given(json_values | st.dictionaries(st.just("b64"), st.text(max_size=8) | st.binary().map(base64.b64encode)))
@example({"b64": "/x=="})
@example({"b64": "YQ=="})
@example("\ud800")
def test_a_name_has_one_spelling_and_others_are_refused(value):
    try:
        name = name_from_json(value)
    except ValueError:
        return
    assert name_to_json(name) == value


# Digests.


@laws
@given(st.binary())
def test_digests_parse(data):
    assert parse_digest(digest_of(data)) == digest_of(data)


@laws
@given(json_values | st.from_regex(r"sha(256|512):[0-9a-fA-F]{60,66}\n?"))
def test_what_is_no_digest_is_refused(value):
    try:
        assert parse_digest(value) == value
    except IntegrityError:
        return
    algorithm, _, digits = value.partition(":")
    assert len(digits) == {"sha256": 64, "sha512": 128}[algorithm]
    assert digits == digits.strip().lower()


# Records.


@laws
@given(records)
def test_records_read_back(record):
    assert parse_record(record.text) == record
    assert parse_record(record.text).id == record.id


@laws
@given(records, st.data())
def test_a_damaged_record_is_refused_or_another_record(record, data):
    changed = json.dumps(data.draw(damaged(json.loads(record.text))), ensure_ascii=False, separators=(",", ":"))
    try:
        parsed = parse_record(changed)
    except IntegrityError:
        return
    assert parsed.text == changed
    assert (parsed.id == record.id) == (changed == record.text)


@laws
@given(st.text() | records.map(lambda record: record.text.replace("lane", "\ud800")) | st.just(deep().decode()))
@example('{"stamp": ' + "9" * 5000 + "}")
def test_text_that_is_no_record_is_refused(text):
    with pytest.raises(IntegrityError):
        parse_record(text)


@laws
@given(records, st.sampled_from(("target", "lane", "message")))
def test_a_lone_surrogate_in_a_record_is_refused(record, key):
    value = json.loads(record.text) | {key: "\ud800"}
    with pytest.raises(IntegrityError):
        parse_record(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


# Images.


def loaded(image):
    config, manifest = format_image(image)
    return load_json(config, "config"), load_json(manifest, "manifest")


def unencoded(image):
    """An image without what stands on descriptors alone."""
    return image._replace(layers=tuple(layer._replace(encoding=None, toc=None) for layer in image.layers))


@laws
@given(images)
def test_images_read_back_from_the_manifest_alone(image):
    _, manifest = loaded(image)
    assert not needs_config(manifest)
    assert parse_image(manifest, None, "x") == image


@laws
@given(images)
def test_images_read_back_with_the_config_too(image):
    config, manifest = loaded(image)
    assert parse_image(manifest, config, "x") == image


@laws
@given(images)
def test_equal_images_give_equal_bytes(image):
    config, manifest = format_image(image)
    again = parse_image(load_json(manifest, "x"), load_json(config, "x"), "x")
    assert format_image(again) == (config, manifest)
    assert format_image(image._replace(annotations=image.annotations[::-1])) == (config, manifest)


@laws
@given(images)
def test_history_suffices_where_descriptors_lost_their_annotations(image):
    config, manifest = loaded(image)
    for descriptor in manifest["layers"]:
        del descriptor["annotations"]
    assert needs_config(manifest) == bool(image.layers)
    assert parse_image(manifest, config, "x") == unencoded(image)


@laws
@given(images)
def test_history_suffices_for_every_change_where_all_annotations_are_lost(image):
    config, manifest = loaded(image)
    del manifest["annotations"]
    for descriptor in manifest["layers"]:
        del descriptor["annotations"]
    assert needs_config(manifest)
    parsed = parse_image(manifest, config, "x")
    assert (parsed.layers, parsed.dropped) == (unencoded(image).layers, image.dropped)
    assert (parsed.records, parsed.base, parsed.platform) == (image.records, image.base, image.platform)
    assert parsed.view == image.view
    assert parsed.format == 0


@laws
@given(images)
def test_annotations_suffice_where_the_history_is_lost(image):
    config, manifest = loaded(image)
    config["history"] = []
    assert parse_image(manifest, config, "x") == image


@laws
@given(images, digests)
def test_layers_of_another_encoding_keep_their_meaning_and_lose_their_encoding(image, digest):
    config, manifest = loaded(image)
    for descriptor in manifest["layers"]:
        descriptor["digest"] = digest
    parsed = parse_image(manifest, config, "x")
    assert parsed.records == image.records
    assert all(layer.encoding is None or layer.encoding.digest == digest for layer in parsed.layers)


@laws
@given(images.filter(lambda image: image.layers), st.data())
def test_an_edited_stack_of_layers_is_refused_by_its_view(image, data):
    _, manifest = loaded(image)
    at = data.draw(st.integers(0, len(image.layers) - 1))
    how = data.draw(st.sampled_from(("drop", "twice", "diff-id", "swap")))
    descriptors = manifest["layers"]
    if how == "drop":
        del descriptors[at]
    elif how == "twice":
        descriptors.insert(at, descriptors[at])
    elif how == "diff-id":
        other = digest_of(image.layers[at].diff_id.encode())
        descriptors[at]["annotations"][PREFIX + "diff-id"] = other
    else:
        descriptors[0], descriptors[at] = descriptors[at], descriptors[0]
        assume(image.layers[0].diff_id != image.layers[at].diff_id)
    with pytest.raises(IntegrityError):
        parse_image(manifest, None, "x")


@laws
@given(images.filter(lambda image: image.records), st.data())
def test_an_edited_record_is_refused_by_the_view(image, data):
    _, manifest = loaded(image)
    records = [d["annotations"] for d in manifest["layers"] if PREFIX + "record" in d["annotations"]]
    assume(records)
    annotations = data.draw(st.sampled_from(records))
    record = parse_record(annotations[PREFIX + "record"])
    annotations[PREFIX + "record"] = replace(record, message=record.message + "!").text
    with pytest.raises(IntegrityError):
        parse_image(manifest, None, "x")


@laws
@given(images, st.data())
def test_a_damaged_image_is_refused_or_an_image(image, data):
    config, manifest = loaded(image)
    if data.draw(st.booleans()):
        manifest = data.draw(damaged(manifest))
    else:
        config = data.draw(damaged(config))
    assume(isinstance(manifest, dict) and isinstance(config, dict))
    needs_config(manifest)
    try:
        parsed = parse_image(manifest, config, "x")
    except IntegrityError:
        return
    assert all(layer.record is not None for layer in parsed.layers if layer.kind == "change")
    assert all((layer.base is not None) == (layer.kind == "base") for layer in parsed.layers)


@laws
@given(st.dictionaries(st.sampled_from(("layers", "config", "annotations", "manifests")), json_values), json_values)
def test_what_is_no_image_is_refused(manifest, config):
    assert needs_config(manifest) in (True, False)
    try:
        parse_image(manifest, config if isinstance(config, dict) else None, "x")
    except IntegrityError:
        return
    assert manifest["layers"] in ([], {}, "")


@laws
@given(st.binary() | st.just(deep()) | json_values.map(lambda value: json.dumps(value).encode()))
@example(b'{"a": ' + b"9" * 5000 + b"}")
@example(b"\xff\xfe")
def test_what_is_no_json_object_is_refused(data):
    with suppress(IntegrityError):
        assert isinstance(load_json(data, "x"), dict)


@laws
@given(st.lists(st.integers(0, INLINE_MAX + 10), max_size=6), st.integers(0, 300))
def test_tables_of_contents_are_inlined_within_their_limits(sizes, more):
    image = _with_tocs([*sizes, *[INLINE_MAX] * more])
    _, manifest = loaded(image)
    inline = [len(layer.toc) for layer in parse_image(manifest, None, "x").layers if layer.toc is not None]
    assert all(size <= INLINE_MAX for size in inline)
    assert sum(inline) <= INLINE_TOTAL_MAX
    if sum(sizes) + more * INLINE_MAX <= INLINE_TOTAL_MAX:
        assert inline == [size for size in (*sizes, *[INLINE_MAX] * more) if size <= INLINE_MAX]


def _with_tocs(sizes):
    return image_of(*(layer_of(number, toc=bytes(size)) for number, size in enumerate(sizes, start=1)))


@laws
@given(json_values.map(lambda value: {"manifests": value}), st.sampled_from((DEFAULT_PLATFORM, ("linux", "arm", "v7"))))
@example({"manifests": [{"platform": {"os": "linux", "architecture": "amd64"}}]}, DEFAULT_PLATFORM)
@example({"manifests": [{"platform": 5}]}, DEFAULT_PLATFORM)
@example({"manifests": [{"platform": {"os": ["x"], "architecture": {}}}]}, DEFAULT_PLATFORM)
@example({"manifests": 5}, DEFAULT_PLATFORM)
def test_an_index_without_a_usable_manifest_is_refused(index, wanted):
    with pytest.raises((IntegrityError, UnsupportedError)):
        choose_platform(index, wanted, "x")


@laws
@given(st.integers(0, 253_402_300_799 * 10**9 + 999_999_999))
@example(0)
@example(951_782_400 * 10**9)
@example(951_868_799_999_999_999)
def test_times_are_rfc_3339(stamp):
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=stamp // 10**9)
    assert format_time(stamp) == expected.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    assert datetime.fromisoformat(format_time(stamp)) == expected


# References.


@laws
@given(
    st.text(max_size=40) | st.text("a1.:/@-_[]%", max_size=30) | st.text("oci:/a@.", max_size=12).map("oci:".__add__)
)
def test_text_is_a_reference_that_reads_back_or_refused(text):
    try:
        reference = parse_reference(text)
    except InvalidReferenceError as error:
        assert isinstance(error, AgentError)
        assert error.exit_code == 2
        return
    assert parse_reference(str(reference)) == reference
    assert reference.tag or reference.digest


_component = st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)?", fullmatch=True)
_tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@laws
@given(
    st.sampled_from(("localhost", "localhost:5000", "127.0.0.1:1", "reg.example", "[::1]:5000")),
    st.lists(_component, min_size=1, max_size=3).map("/".join),
    st.none() | _tag,
    st.none() | digests,
)
def test_registry_references_read_back(registry, repository, tag, digest):
    assume(tag or digest)
    reference = RegistryReference(registry, repository, tag, digest)
    assert parse_reference(str(reference)) == reference


@laws
@given(st.from_regex(r"/?[a-z.]+(/[a-z. ]+)*", fullmatch=True), st.none() | _tag, st.none() | digests)
def test_layout_references_read_back(path, tag, digest):
    assume(tag or digest)
    reference = LayoutReference(path, tag, digest)
    assert parse_reference(str(reference)) == reference
