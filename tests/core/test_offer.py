"""Which image of an index is taken, and what is no image at all."""

import pytest

from agent.core.image.manifest import CONFIG, DOCKER_CONFIG
from agent.core.image.platform_choice import check_is_image, choose_platform
from agent.errors import IntegrityError, UnsupportedError
from tests.core.made import digest


def _index(*offers):
    return {
        "manifests": [
            {"digest": digest(number), "platform": dict(zip(("os", "architecture", "variant"), offer, strict=False))}
            for number, offer in enumerate(offers)
        ]
    }


@pytest.mark.parametrize(
    ("offers", "wanted", "chosen"),
    [
        ([("linux", "amd64"), ("linux", "arm64", "v8")], ("linux", "amd64", ""), 0),
        ([("linux", "amd64"), ("linux", "arm64", "v8")], ("linux", "arm64", ""), 1),
        ([("linux", "amd64"), ("linux", "arm64", "v8")], ("linux", "arm64", "v8"), 1),
        ([("linux", "arm", "v6"), ("linux", "arm", "v7")], ("linux", "arm", "v7"), 1),
        ([("linux", "arm"), ("linux", "arm", "v7")], ("linux", "arm", "v7"), 1),
        ([("linux", "arm", "v6"), ("linux", "arm")], ("linux", "arm", "v7"), 1),
        ([("linux", "arm", "v6"), ("linux", "arm", "v7")], ("linux", "arm", ""), 0),
        ([("windows", "amd64"), ("unknown", "unknown"), ("linux", "amd64")], ("linux", "amd64", ""), 2),
    ],
)
def test_the_platform_that_fits_best_is_chosen(offers, wanted, chosen):
    assert choose_platform(_index(*offers), wanted, "x") == digest(chosen)


def test_the_only_manifest_of_an_index_without_platforms_is_chosen():
    assert choose_platform({"manifests": [{"digest": digest(1)}]}, ("linux", "arm64", ""), "x") == digest(1)


@pytest.mark.parametrize(
    ("index", "named"),
    [
        (_index(("linux", "arm64", "v8"), ("windows", "amd64")), "linux/arm64/v8, windows/amd64"),
        (_index(("linux", "arm", "v6")), "linux/arm/v6"),
        (_index(("unknown", "unknown")), "unknown/unknown"),
    ],
)
def test_an_index_for_other_platforms_is_a_fault_of_the_words_and_says_what_it_has(index, named):
    wanted = ("linux", "arm", "v7") if index == _index(("linux", "arm", "v6")) else ("linux", "amd64", "")
    with pytest.raises(UnsupportedError, match=named) as caught:
        choose_platform(index, wanted, "x")
    assert caught.value.exit_code == 2
    assert "--platform" in caught.value.remedy


@pytest.mark.parametrize(
    ("index", "named"),
    [
        ({"manifests": []}, "none"),
        ({}, "none"),
        ({"manifests": 5}, "none"),
        ({"manifests": [5, {"platform": 5}, {"platform": {"os": 5}}]}, "none"),
        ({"manifests": [{"digest": digest(1)}, {"digest": digest(2)}]}, "none"),
        ({"manifests": [{"digest": "x", "platform": {"os": "linux", "architecture": "amd64"}}]}, "digest"),
    ],
)
def test_an_index_without_any_image_is_damaged(index, named):
    with pytest.raises(IntegrityError, match=named):
        choose_platform(index, ("linux", "amd64", ""), "x")


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.cncf.helm.config.v1+json",
        "application/vnd.oci.empty.v1+json",
        "application/vnd.cncf.flux.config.v1+json",
        "application/vnd.wasm.config.v1+json",
    ],
)
def test_what_says_that_it_is_something_else_is_no_image(kind):
    with pytest.raises(UnsupportedError, match=kind.replace("+", ".")) as caught:
        check_is_image({"config": {"mediaType": kind}}, "reg/x:1")
    assert caught.value.exit_code == 2


def test_the_type_of_an_artifact_says_more_than_that_of_its_empty_config():
    manifest = {"artifactType": "application/spdx+json", "config": {"mediaType": "application/vnd.oci.empty.v1+json"}}
    with pytest.raises(UnsupportedError, match="spdx"):
        check_is_image(manifest, "x")


@pytest.mark.parametrize(
    "config", [CONFIG, DOCKER_CONFIG, "application/octet-stream", "application/json", "text/html", "", None, 5]
)
def test_configs_that_old_tools_wrote_are_of_images(config):
    check_is_image({"config": {"mediaType": config}}, "x")
    check_is_image({"config": config}, "x")
