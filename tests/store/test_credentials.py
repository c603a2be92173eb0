"""Where credentials are found, in files and by helpers."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.store.login.credential_files import find_credentials
from agent.store.login.login_entry import Credentials
from tests.fakes.secrets import holds_secret, secret

REGISTRY = "registry.example:5000"
TOP, REFRESH = secret("top"), secret("refresh")


def auth(user: str, password: str = "pass") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, **config: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))
    return path


def find(repository: str = "team/app", registry: str = REGISTRY, seconds: float = 10, **environ: Any) -> Credentials:
    variables = {key: str(value) for key, value in environ.items()}
    return find_credentials(variables, registry, repository, helper_seconds=seconds)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def helper(tmp_path: Path) -> Callable[[str, str], str]:
    """Puts a shell script as docker-credential-NAME on a PATH of its own; returns that PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()

    def make(name: str, script: str) -> str:
        path = directory / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return f"{directory}:{os.defpath}"

    return make


def answer(user: str, secret: str) -> str:
    return f"""cat > "$0.asked"; echo "$1" > "$0.verb"; echo '{json.dumps({"Username": user, "Secret": secret})}'"""


def test_no_file_means_nobody(home: Path) -> None:
    for environ in ({}, {"HOME": home}, {"HOME": "/nowhere"}):
        assert find(**environ) == Credentials()


def test_every_usual_place_is_looked_at_in_order(home: Path, tmp_path: Path) -> None:
    environ = {
        "DOCKER_CONFIG": tmp_path / "docker",
        "REGISTRY_AUTH_FILE": tmp_path / "auth.json",
        "HOME": home,
    }
    write(tmp_path / "docker" / "config.json", auths={REGISTRY: auth("docker-config")})
    write(tmp_path / "auth.json", auths={REGISTRY: auth("auth-file")})
    write(tmp_path / "run" / "containers" / "auth.json", auths={REGISTRY: auth("runtime")})
    write(home / ".docker" / "config.json", auths={REGISTRY: auth("docker-home")})
    write(home / ".config" / "containers" / "auth.json", auths={REGISTRY: auth("config-home")})
    write(tmp_path / "xdg" / "containers" / "auth.json", auths={REGISTRY: auth("xdg-config")})
    assert find(**environ).username == "docker-config"
    del environ["DOCKER_CONFIG"]
    assert find(**environ).username == "auth-file"
    del environ["REGISTRY_AUTH_FILE"]
    assert find(**environ, XDG_RUNTIME_DIR=tmp_path / "run").username == "runtime"
    assert find(**environ).username == "docker-home"
    (home / ".docker" / "config.json").unlink()
    assert find(**environ).username == "config-home"
    assert find(**environ, XDG_CONFIG_HOME=tmp_path / "xdg").username == "xdg-config"


def test_file_that_does_not_know_the_registry_is_passed_over(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "docker" / "config.json", auths={"other.example": auth("other")}, HttpHeaders={})
    write(tmp_path / "auth.json", auths={REGISTRY: auth("right")})
    found = find(DOCKER_CONFIG=tmp_path / "docker", REGISTRY_AUTH_FILE=tmp_path / "auth.json")
    assert found == Credentials("right", "pass")


def test_the_old_file_is_read_last(home: Path, tmp_path: Path) -> None:
    write(home / ".dockercfg", **{REGISTRY: {**auth("old"), "email": "a@b"}, "auths": auth("a registry of that name")})
    assert find(HOME=home).username == "old"
    write(home / ".config" / "containers" / "auth.json", auths={REGISTRY: auth("new")})
    assert find(HOME=home).username == "new"
    assert not find(HOME=home, REGISTRY_AUTH_FILE=tmp_path / "none").is_present


def test_docker_config_replaces_the_one_at_home(home: Path, tmp_path: Path) -> None:
    write(home / ".docker" / "config.json", auths={REGISTRY: auth("home")})
    assert not find(HOME=home, DOCKER_CONFIG=tmp_path / "elsewhere").is_present


@pytest.mark.parametrize(
    "key",
    [
        REGISTRY,
        f"https://{REGISTRY}",
        f"http://{REGISTRY}/",
        f"https://{REGISTRY}/v1/",
        f"https://{REGISTRY}/v1",
        f"https://{REGISTRY}/v2/",
        f"{REGISTRY}/v1/",
        f"https://{REGISTRY}/v2/_catalog",
        f"http://{REGISTRY}/elsewhere",
    ],
)
def test_registry_may_be_spelled_as_an_address(home: Path, key: str) -> None:
    write(home / ".docker" / "config.json", auths={key: auth("user")})
    assert find(HOME=home).username == "user"


@pytest.mark.parametrize(
    "key",
    [
        "registry.example", f"x{REGISTRY}", f"{REGISTRY}0", f"{REGISTRY}/other", "", "registry.example:50*0",
        "*.example", "*.example:5001", "*.*.example:5000", "*:5000", "*", "registry.*.x:5000", "?egistry.example",
        "*.example:5000/other", "ftp://registry.example:5000",
    ],
)  # fmt: skip
def test_another_registry_is_not_taken_for_this_one(home: Path, key: str) -> None:
    write(home / ".docker" / "config.json", auths={key: auth("user")})
    assert not find(HOME=home).is_present


@pytest.mark.parametrize(
    ("repository", "user"),
    [("team/app", "app"), ("team/app/sub", "app"), ("team/apple", "team"), ("team", "team"), ("teams/x", "all")],
)
def test_longest_path_counts(home: Path, repository: str, user: str) -> None:
    write(
        home / ".config" / "containers" / "auth.json",
        auths={REGISTRY: auth("all"), f"{REGISTRY}/team": auth("team"), f"{REGISTRY}/team/app": auth("app")},
    )
    assert find(repository, HOME=home).username == user


@pytest.mark.parametrize("registry", ["docker.io", "index.docker.io"])
@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io/v1/"])
def test_docker_hub_has_several_names(home: Path, registry: str, key: str) -> None:
    write(home / ".docker" / "config.json", auths={key: auth("hub")})
    assert find(registry=registry, HOME=home).username == "hub"
    assert not find(HOME=home).is_present


def test_password_may_hold_colons_and_any_letter(home: Path) -> None:
    write(home / ".docker" / "config.json", auths={REGISTRY: auth("user", "a:b:ü€")})
    assert find(HOME=home).password == "a:b:ü€"


@pytest.mark.parametrize(
    "write_out",
    [
        base64.encodebytes,
        lambda pair: base64.encodebytes(pair).replace(b"\n", b"\r\n"),
        lambda pair: base64.b64encode(pair) + b"\n",
        lambda pair: b"\n" + base64.b64encode(pair),
        lambda pair: base64.b64encode(pair).rstrip(b"="),
        lambda pair: base64.encodebytes(pair).rstrip(b"=\n"),
        base64.b64encode,
    ],
)
@pytest.mark.parametrize("password", ["p", "pw", "pas", "p" * 90, "\u00fc" * 50])
def test_base64_is_read_as_docker_podman_and_the_kubelet_read_it(home: Path, write_out: Any, password: str) -> None:
    text = write_out(f"user:{password}".encode()).decode()
    write(home / ".docker" / "config.json", auths={REGISTRY: {"auth": text}})
    assert find(HOME=home) == Credentials("user", password)


@pytest.mark.parametrize("text", ["dXNlcjpwYXN z", "dXNlcjp-_w==", "d"])
def test_base64_that_none_of_them_reads_is_noted(home: Path, text: str) -> None:
    write(home / ".docker" / "config.json", auths={REGISTRY: {"auth": text}})
    found = find(HOME=home)
    assert not found.is_present
    assert "unreadable entry" in found.notes[0]


def test_a_password_of_any_bytes_reaches_the_registry_as_it_is(home: Path) -> None:
    pair = base64.b64encode(b"user:\xff\xfe").decode()
    write(home / ".docker" / "config.json", auths={REGISTRY: {"auth": pair}})
    assert find(HOME=home).basic == f"Basic {pair}"


def test_bytes_after_a_password_that_old_tools_left_are_no_part_of_it(home: Path) -> None:
    pair = base64.b64encode(b"user:pass\0\0").decode()
    write(home / ".docker" / "config.json", auths={REGISTRY: {"auth": pair}})
    assert find(HOME=home).password == "pass"


def test_names_of_fields_may_have_any_case(home: Path) -> None:
    config = {"Auths": {REGISTRY: {"AUTH": auth("user")["auth"]}}, "CREDHELPERS": {"other": "x"}, "credsstore": ""}
    write(home / ".docker" / "config.json", **config)
    assert find(HOME=home) == Credentials("user", "pass")


@pytest.mark.parametrize("before", ["", " \n\t", "\ufeff"])
@pytest.mark.parametrize("after", ["", "\n", "\n}", " {}"])
def test_what_stands_around_the_first_object_is_passed_over(home: Path, before: str, after: str) -> None:
    path = write(home / ".docker" / "config.json")
    path.write_text(before + json.dumps({"auths": {REGISTRY: auth("user")}}) + after)
    assert find(HOME=home) == Credentials("user", "pass")


def test_an_empty_file_is_no_fault(home: Path) -> None:
    write(home / ".docker" / "config.json").write_text("\n")
    assert find(HOME=home) == Credentials()


def test_a_trailing_comma_is_one(home: Path) -> None:
    write(home / ".docker" / "config.json").write_text('{"auths": {},}')
    assert "is not JSON" in find(HOME=home).notes[0]


# Pull secrets of Kubernetes


@pytest.mark.parametrize(
    "key",
    ["*.example:5000", "reg*.example:5000", "registry.*:5000", "https://*.example:5000/v1/", "*.example:5000/team"],
)
def test_a_key_with_stars_covers_hosts_label_by_label(home: Path, key: str) -> None:
    write(home / ".docker" / "config.json", auths={key: auth("user")})
    assert find(HOME=home).username == "user"


def test_a_key_without_stars_goes_first(home: Path) -> None:
    stars = {"*.example:5000": auth("stars"), "*.example:5000/team/app": auth("stars and path")}
    write(home / ".docker" / "config.json", auths={**stars, REGISTRY: auth("exact")})
    assert find(HOME=home).username == "exact"
    write(home / ".docker" / "config.json", auths={**stars, REGISTRY: {}})
    assert find(HOME=home).username == "stars and path"
    assert find("other/x", HOME=home).username == "stars"


def test_a_helper_is_for_one_registry(home: Path, helper: Callable[[str, str], str]) -> None:
    path = helper("mine", answer("helped", "secret"))
    write(home / ".docker" / "config.json", credHelpers={"*.example:5000": "mine"})
    assert not find(HOME=home, PATH=path).is_present


def test_registry_token_is_taken(home: Path) -> None:
    write(home / ".docker" / "config.json", auths={REGISTRY: {"registrytoken": TOP}})
    found = find(HOME=home)
    assert found.registry_token == TOP and found.is_present and TOP in found.secrets
    write(home / ".docker" / "config.json", auths={REGISTRY: {"registrytoken": "a\r\nX: y"}})
    assert "unreadable entry" in find(HOME=home).notes[0]


def test_identity_token_is_taken(home: Path) -> None:
    write(home / ".docker" / "config.json", auths={REGISTRY: {**auth("0000", ""), "identitytoken": "refresh"}})
    assert find(HOME=home).identity_token == "refresh"


def test_user_and_password_may_stand_in_the_clear(home: Path) -> None:
    write(home / ".docker" / "config.json", auths={REGISTRY: {"username": "user", "password": "pass"}})
    assert find(HOME=home) == Credentials("user", "pass")


@pytest.mark.parametrize("value", [{"auth": "%%%"}, {"auth": "bm9jb2xvbg=="}, {"auth": "/w=="}, {"username": 7}])
def test_unreadable_entry_is_noted(home: Path, value: Any) -> None:
    write(home / ".docker" / "config.json", auths={REGISTRY: value})
    found = find(HOME=home)
    assert not found.is_present
    assert "unreadable entry" in found.notes[0]


@pytest.mark.parametrize("value", [{}, None, [], "text", {"auth": ""}, {"email": "a@b"}])
def test_empty_entry_is_nobody(home: Path, value: Any) -> None:
    write(home / ".docker" / "config.json", auths={REGISTRY: value})
    assert find(HOME=home) == Credentials()


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\0\1", '{"auths": 5, "credHelpers": [], "credsStore": {}}'])
def test_damaged_file_does_not_stop_anonymous_users(home: Path, text: str) -> None:
    path = write(home / ".docker" / "config.json")
    path.write_text(text)
    assert not find(HOME=home).is_present


def test_damaged_file_is_noted_by_name(home: Path) -> None:
    path = write(home / ".docker" / "config.json")
    path.write_text("{")
    assert find(HOME=home).notes == (f"{path} is not JSON",)


def test_directory_in_place_of_a_file_is_noted(home: Path) -> None:
    (home / ".docker" / "config.json").mkdir(parents=True)
    assert "cannot be read" in find(HOME=home).notes[0]


# Helpers


def test_helper_of_the_registry_is_asked(home: Path, helper: Callable[[str, str], str]) -> None:
    path = helper("mine", answer("helped", "secret"))
    write(
        home / ".docker" / "config.json",
        auths={REGISTRY: auth("listed")},
        credHelpers={"other.example": "wrong", REGISTRY: "mine"},
        credsStore="store",
    )
    assert find(HOME=home, PATH=path) == Credentials("helped", "secret")
    program = path.partition(":")[0] + "/docker-credential-mine"
    assert Path(program + ".asked").read_text().strip() == REGISTRY
    assert Path(program + ".verb").read_text().strip() == "get"


def test_store_is_asked_for_every_registry(home: Path, helper: Callable[[str, str], str]) -> None:
    path = helper("store", answer("stored", "secret"))
    write(home / ".docker" / "config.json", auths={REGISTRY: {}}, credsStore="store")
    assert find(HOME=home, PATH=path).username == "stored"


def test_helper_is_asked_for_docker_hub_by_its_old_address(home: Path, helper: Callable[[str, str], str]) -> None:
    path = helper("store", answer("hub", "secret"))
    write(home / ".docker" / "config.json", credsStore="store")
    assert find(registry="docker.io", HOME=home, PATH=path).username == "hub"
    asked = Path(path.partition(":")[0] + "/docker-credential-store.asked")
    assert asked.read_text().strip() == "https://index.docker.io/v1/"


def test_helper_may_give_an_identity_token(home: Path, helper: Callable[[str, str], str]) -> None:
    path = helper("store", answer("<token>", "refresh"))
    write(home / ".docker" / "config.json", credsStore="store")
    assert find(HOME=home, PATH=path) == Credentials(identity_token="refresh")


def test_helper_that_has_nothing_gives_way_to_the_file(home: Path, helper: Callable[[str, str], str]) -> None:
    path = helper("store", "echo 'credentials not found in native keychain'; exit 1")
    write(home / ".docker" / "config.json", auths={REGISTRY: auth("listed")}, credsStore="store")
    assert find(HOME=home, PATH=path) == Credentials("listed", "pass")


@pytest.mark.parametrize(
    ("script", "note"),
    [
        (f"echo {TOP} >&2; exit 3", "exit code 3"),
        (f"echo {TOP}", "no credentials"),
        (f'echo \'{{"Username": 5, "Secret": "{TOP}"}}\'', "no credentials"),
        ("sleep 60", "no answer within"),
    ],
    ids=["fails", "no JSON", "no user", "hangs"],
)
def test_helper_that_fails_is_noted_without_what_it_said(
    home: Path, helper: Callable[[str, str], str], script: str, note: str
) -> None:
    path = helper("store", f"exec {script}" if script.startswith("sleep") else script)
    write(home / ".docker" / "config.json", credsStore="store")
    found = find(HOME=home, PATH=path, seconds=0.3)
    assert not found.is_present
    assert note in found.notes[0]
    assert TOP not in str(found)


@pytest.mark.parametrize("suffix", ["../evil", "a/b", "-x", "a b", "absent"])
def test_helper_is_found_on_the_path_only(home: Path, helper: Callable[[str, str], str], suffix: str) -> None:
    path = helper("store", answer("x", "y"))
    write(home / ".docker" / "config.json", credsStore=suffix)
    found = find(HOME=home, PATH=path)
    assert not found.is_present
    assert "not on the PATH" in found.notes[0]


def test_secrets_are_not_part_of_what_is_printed() -> None:
    found = Credentials("user", TOP, REFRESH, secret("registry"))
    assert not holds_secret(repr(found))
    assert secret("registry") in found.secrets
    assert {TOP, REFRESH} < set(found.secrets)
