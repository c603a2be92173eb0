"""`agent step pull` and `agent step push` as a task's pod runs them: real processes, a real registry, any user."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli.step import write_message
from agent.cli.terminal.failure import LINE_MAX, Failure
from agent.sync.task.argument import parse_step
from tests.cli.conftest import Agent
from tests.fakes.contents import CASES, ROOT_ONLY, write
from tests.fakes.secrets import secret
from tests.fakes.stranger import Stranger
from tests.fakes.trees import snapshot, unlike

ROOT = os.geteuid() == 0
TOP = Path(__file__).parent.parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]


class Pod:
    """The volumes of one task's pod, and the argument of its steps; every user can reach them."""

    def __init__(self, address: str, repository: str, name: str, **argument: Any) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="pod-"))
        self.volume = self.place / "instep"
        self.target = f"{address}/{repository}:ws"
        for path in (self.place, self.volume):
            path.mkdir(exist_ok=True)
            path.chmod(0o777)
        self.argument: dict[str, Any] = {"volume": str(self.volume), "pod": f"{name}-pod", "workspaces": [], **argument}

    def mount(self, name: str = "source", **fields: Any) -> Path:
        """Add a workspace and return its directory."""
        directory = self.place / name
        directory.mkdir()
        directory.chmod(0o777)
        lane = self.argument["pod"].partition("-pod")[0]
        said = {"name": name, "directory": str(directory), "target": self.target, "lane": f"run/{lane}"}
        self.argument["workspaces"].append({**said, **fields})
        return directory

    @property
    def text(self) -> str:
        return json.dumps(self.argument)

    def report(self) -> dict[str, Any]:
        value = json.loads((self.volume / "report.json").read_text())
        assert isinstance(value, dict)
        return value

    def close(self) -> None:
        shutil.rmtree(self.place)


@pytest.fixture
def pods(registry: str, tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    """Make pods whose workspaces are kept in one repository."""
    made: list[Pod] = []

    def make(name: str, **argument: Any) -> Pod:
        repository = f"step/{tmp_path.name.replace('_', '-').lower()}"
        made.append(Pod(registry, repository, name, **argument))
        return made[-1]

    yield make
    for pod in made:
        pod.close()


@pytest.fixture
def strangers() -> Iterator[list[Stranger]]:
    made = [Stranger(0), Stranger(1)] if ROOT else []
    yield made
    for stranger in made:
        stranger.close()


needs_root = pytest.mark.skipif(not ROOT, reason="needs root, to become another user")
# What a pod template may say, meant for other images.
PASSWORD = secret("password")
HOSTILE = {
    "HOME": "/nowhere",
    "TMPDIR": "/nowhere",
    "DOCKER_CONFIG": "/nowhere",
    "REGISTRY_AUTH_FILE": "/nowhere",
    "XDG_STATE_HOME": "/nowhere",
    "INSTEP_STATE": "/nowhere",
    "SSL_CERT_FILE": "/etc/passwd",
    "REQUESTS_CA_BUNDLE": "/etc/passwd",
    "PATH": "/nowhere",
}


def test_a_task_hands_its_workspace_to_the_next(agent: Agent, pods: Callable[..., Pod]) -> None:
    first, second = pods("clone"), pods("build")
    one, two = first.mount(), second.mount(after=["run/clone"])
    agent("step", "pull", first.text, env=HOSTILE)
    for name in CASES:
        CASES[name](os.fsencode(one))
    said = agent("step", "push", first.text, env=HOSTILE)
    assert said.stdout == ""
    assert "agent: workspace source at" in said.stderr and "agent: pushed" in said.stderr
    agent("step", "pull", second.text, env=HOSTILE)
    assert unlike(snapshot(one), snapshot(two)) == {}
    report = first.report()
    assert (report["attempt"], report["error"]) == (0, None)
    assert [item["name"] for item in report["workspaces"]] == ["source"]
    assert report["workspaces"][0]["push"]["written"] > 10
    assert not (agent.place / "home").exists() and not (agent.place / "state").exists()


def test_a_pod_made_anew_under_its_name_replaces_what_the_lost_one_pushed(
    agent: Agent, pods: Callable[..., Pod]
) -> None:
    """Kubernetes lost the pod after its push, and Tekton made it anew: lane and attempt are the same."""
    clone = pods("clone")
    (clone.mount() / "marker").write_text("cloned\n")
    agent("step", "pull", clone.text)
    agent("step", "push", clone.text)
    for uid, only in (("b7e4", "by-the-lost"), ("1c0d", "by-the-new")):
        pod = pods("build", **{"pod-uid": uid})
        work = pod.mount(after=["run/clone"])
        agent("step", "pull", pod.text)
        with (work / "marker").open("a") as file:
            file.write("built\n")
        (work / only).write_text("x")
        agent("step", "push", pod.text)
    after = pods("test")
    seen = after.mount(after=["run/build"])
    agent("step", "pull", after.text)
    assert (seen / "marker").read_text() == "cloned\nbuilt\n"
    assert sorted(os.listdir(seen)) == ["by-the-new", "marker"]
    log = json.loads(agent("log", after.target, "--json").stdout)["changes"]
    assert [(entry["lane"], entry["superseded"]) for entry in log] == [
        ("run/build", False),
        ("run/build", True),
        ("run/clone", False),
    ]


@needs_root
def test_the_pod_that_started_first_is_replaced_though_it_pushes_last(agent: Agent, pods: Callable[..., Pod]) -> None:
    """A run's first task has no pull step: when its containers started tells which pod is the later one."""
    both = [pods("clone", **{"pod-uid": uid}) for uid in ("zz", "aa")]
    works = [pod.mount(fresh=True) for pod in both]
    steps = []
    for pod, work in zip(both, works, strict=True):
        (work / "marker").write_text(pod.argument["pod-uid"])
        # As in a pod: the first process of the container waits until the step's turn comes.
        command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", 'read turn; exec "$@"', "sh"]
        words = [*command, sys.executable, "-m", "agent", "step", "push", pod.text]
        steps.append(subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=TOP))
        time.sleep(0.3)
    for step in reversed(steps):
        _, said = step.communicate("go\n", timeout=60)
        assert step.returncode == 0, said
    after = pods("test")
    seen = after.mount(after=["run/clone"])
    agent("step", "pull", after.text)
    assert (seen / "marker").read_text() == "aa"


@needs_root
def test_any_user_with_no_home_can_run_it(pods: Callable[..., Pod], strangers: list[Stranger]) -> None:
    first, second = pods("clone"), pods("build")
    one, two = first.mount(), second.mount()
    strangers[0].agent("step", "pull", first.text)
    for name in sorted(CASES.keys() - ROOT_ONLY):
        CASES[name](os.fsencode(one))
    os.unlink(one / "modes" / "0")  # nobody but root could read that
    strangers[0].own(one)
    strangers[0].agent("step", "push", first.text)
    strangers[0].agent("step", "pull", second.text)
    assert unlike(snapshot(one, owners=False), snapshot(two, owners=False)) == {}
    assert not strangers[0].state.exists()


@pytest.mark.sweep(3)
@needs_root
@pytest.mark.parametrize("users", [(0, 1), (0, None), (None, 0)])
def test_the_two_steps_may_run_as_two_users(
    agent: Agent, pods: Callable[..., Pod], strangers: list[Stranger], users: tuple[int | None, int | None]
) -> None:
    runs: list[Run] = [agent if user is None else strangers[user].agent for user in users]
    seed = pods("seed")
    write(os.fsencode(seed.mount()), b"d/kept", b"kept", 0o664)
    agent("step", "pull", seed.text)
    agent("step", "push", seed.text)
    pod = pods("task")
    work = pod.mount(base="127.0.0.1:9/never:asked")
    runs[0]("step", "pull", pod.text)
    write(os.fsencode(work), b"new", b"new")
    runs[1]("step", "push", pod.text)
    (report,) = pod.report()["workspaces"]
    counts = report["push"]
    assert (counts["written"], counts["deleted"], counts["touched"]) == (1, 0, 0)
    # And a second push of the same state, by the first user again.
    runs[0]("step", "push", pod.text)
    assert agent("ls", pod.target).stdout.splitlines() == ["d/", "d/kept", "new"]


def test_what_a_sidecar_writes_before_and_during_the_pull_is_pushed(agent: Agent, pods: Callable[..., Pod]) -> None:
    seed = pods("seed")
    top = seed.mount()
    for number in range(300):
        write(os.fsencode(top), b"d/%03d" % number, b"of the workspace")
    agent("step", "pull", seed.text)
    agent("step", "push", seed.text)
    pod = pods("task")
    work = pod.mount()
    write(os.fsencode(work), b"before", b"before")
    write(os.fsencode(work), b"d/150", b"before")
    done = threading.Event()

    def sidecar() -> None:
        number = 0
        while not done.is_set():
            write(os.fsencode(work), b"log/%d" % number, b"%d" % number)
            write(os.fsencode(work), b"d/299", b"by the sidecar")
            number += 1
            time.sleep(0.001)

    writer = threading.Thread(target=sidecar)
    writer.start()
    try:
        agent("step", "pull", pod.text)
    finally:
        done.set()
        writer.join()
    agent("step", "push", pod.text)
    assert agent("cat", pod.target, "d/150").stdout == "before"
    assert agent("cat", pod.target, "before").stdout == "before"
    assert agent("cat", pod.target, "d/299").stdout == "by the sidecar"
    assert agent("cat", pod.target, "d/000").stdout == "of the workspace"
    logs = sorted(path.name for path in (work / "log").iterdir())
    assert logs and agent("ls", pod.target, "log/*").stdout.split() == [f"log/{name}" for name in logs]
    fresh = pods("fresh")
    there = fresh.mount()
    agent("step", "pull", fresh.text)
    assert unlike(snapshot(work, directory_mtimes=False), snapshot(there, directory_mtimes=False)) == {}


def test_a_sub_path_alone_is_pulled_and_pushed_and_keeps_its_inode(agent: Agent, pods: Callable[..., Pod]) -> None:
    seed = pods("seed")
    top = seed.mount()
    write(os.fsencode(top), b"dir/in*er/file", b"file")
    write(os.fsencode(top), b"dir/inner/other", b"other")
    agent("step", "pull", seed.text)
    agent("step", "push", seed.text)
    pod = pods("task")
    work = pod.mount(**{"sub-path": "/dir/in*er/"})
    (work / "dir" / "in*er").mkdir(parents=True)
    inode = (work / "dir" / "in*er").stat().st_ino
    agent("step", "pull", pod.text)
    assert (work / "dir" / "in*er").stat().st_ino == inode
    assert sorted(snapshot(work)) == [b"dir", b"dir/in*er", b"dir/in*er/file"]
    (work / "dir" / "in*er" / "file").unlink()
    write(os.fsencode(work), b"dir/in*er/new", b"new")
    write(os.fsencode(work), b"outside", b"not the task's")
    agent("step", "push", pod.text)
    listed = agent("ls", pod.target).stdout.split()
    assert listed == ["dir/", "dir/in*er/", "dir/in*er/new", "dir/inner/", "dir/inner/other"]


def test_a_base_and_a_directory_of_it(agent: Agent, pods: Callable[..., Pod]) -> None:
    seed = pods("seed")
    base = f"{seed.target}-base"
    write(os.fsencode(seed.mount(target=base)), b"usr/share/x/file", b"file")
    agent("step", "pull", seed.text)
    agent("step", "push", seed.text)
    pod = pods("task")
    work = pod.mount(**{"base": base, "base-path": "usr/share/x"})
    agent("step", "pull", pod.text)
    assert sorted(snapshot(work)) == [b"file"]
    agent("step", "push", pod.text)
    assert agent("ls", pod.target).stdout.split() == ["file"]


def test_a_read_only_workspace_is_pulled_and_not_pushed(agent: Agent, pods: Callable[..., Pod]) -> None:
    pod = pods("task")
    work = pod.mount(**{"read-only": True})
    agent("step", "pull", pod.text)
    write(os.fsencode(work), b"x", b"x")
    agent("step", "push", pod.text)
    assert pod.report()["workspaces"] == []
    agent("log", pod.target, exits=12)


def test_a_retry_replaces_what_the_attempt_before_it_pushed(agent: Agent, pods: Callable[..., Pod]) -> None:
    for retry, name in (("", b"half"), ("-retry1", b"whole")):
        pod = pods("task")
        pod.argument["pod"] += retry
        work = pod.mount(lane="run/task")
        agent("step", "pull", pod.text)
        assert os.listdir(work) == []
        write(os.fsencode(work), name, b"")
        agent("step", "push", pod.text)
    assert agent("ls", pod.target).stdout.split() == ["whole"]
    assert pod.report()["attempt"] == 1


def test_a_task_may_remove_everything(agent: Agent, pods: Callable[..., Pod]) -> None:
    for action in (lambda work: write(os.fsencode(work), b"x", b"x"), lambda work: os.unlink(work / "x")):
        pod = pods("task")
        work = pod.mount()
        agent("step", "pull", pod.text)
        action(work)
        agent("step", "push", pod.text)
    assert agent("ls", pod.target).stdout == ""


def test_several_workspaces_and_what_the_report_says_of_them(agent: Agent, pods: Callable[..., Pod]) -> None:
    pod = pods("task", message="both")
    places = [pod.mount(name, target=f"{pod.target}-{{{{workspace}}}}") for name in ("one", "two")]
    agent("step", "pull", pod.text)
    for place in places:
        write(os.fsencode(place), b"in", place.name.encode())
    agent("step", "push", pod.text)
    assert [item["push"]["target"] for item in pod.report()["workspaces"]] == [f"{pod.target}-one", f"{pod.target}-two"]
    assert agent("cat", f"{pod.target}-two", "in").stdout == "two"
    assert agent.json("log", f"{pod.target}-one")["changes"][0]["message"] == "both"


def test_a_push_without_a_pull_is_refused_for_all_workspaces(agent: Agent, pods: Callable[..., Pod]) -> None:
    pod = pods("task")
    work = pod.mount("one")
    agent("step", "pull", pod.text)
    pod.mount("two", target=f"{pod.target}-two")
    write(os.fsencode(work), b"x", b"x")
    said = agent("step", "push", pod.text, exits=11).stderr
    assert "workspace two at" in said and "nothing was pulled" in said
    agent("log", pod.target, exits=12)


def test_a_fresh_workspace_needs_no_pull_and_is_merged_with_what_others_pushed(
    agent: Agent, pods: Callable[..., Pod]
) -> None:
    """Two first tasks of a run at once: nothing was there for either, and each finds the other's push."""
    for name in (b"one", b"two"):
        pod = pods(name.decode())
        work = pod.mount(fresh=True)
        write(os.fsencode(work), name, name)
        agent("step", "push", pod.text)
    assert agent("ls", pod.target).stdout.split() == ["one", "two"]
    retried = pods("one")
    retried.argument["pod"] += "-retry1"
    write(os.fsencode(retried.mount(fresh=True)), b"three", b"")
    agent("step", "push", retried.text)
    assert agent("ls", pod.target).stdout.split() == ["three", "two"]


def test_a_fresh_workspace_is_not_pulled_even_if_something_is_there(agent: Agent, pods: Callable[..., Pod]) -> None:
    first = pods("first")
    write(os.fsencode(first.mount(fresh=True)), b"one", b"")
    agent("step", "push", first.text)
    second = pods("second")
    work = second.mount(fresh=True)
    agent("step", "pull", second.text)
    assert os.listdir(work) == []


def test_a_push_for_another_target_than_was_pulled_is_refused(agent: Agent, pods: Callable[..., Pod]) -> None:
    pod = pods("task")
    pod.mount()
    agent("step", "pull", pod.text)
    pod.argument["workspaces"][0]["target"] += "-other"
    assert "was pulled from" in agent("step", "push", pod.text, exits=11).stderr


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda pod: pod.argument.update(colour=1), "unknown field 'colour'"),
        (lambda pod: pod.argument["workspaces"][1].update(directory="/missing"), "no such directory"),
        (lambda pod: pod.argument["workspaces"][1].update(target="{{run}}"), "{{run}}"),
        (lambda pod: pod.argument.update({"ca-file": "/missing"}), "no such file"),
        (lambda pod: pod.argument.update({"ca-file": "/etc/passwd"}), "certificate"),
        (lambda pod: pod.argument.update(volume="/missing"), "no such directory"),
        (lambda pod: pod.argument.update(volume=str(pod.place / "one" / "v")), "outside of every workspace"),
    ],
)
@pytest.mark.parametrize("word", ["pull", "push"])
def test_bad_input_is_one_line_and_nothing_happens(
    agent: Agent, pods: Callable[..., Pod], word: str, spoil: Callable[[Pod], object], said: str
) -> None:
    pod = pods("task")
    one = pod.mount("one")
    pod.mount("two", target=f"{pod.target}-two")
    if word == "push":
        agent("step", "pull", pod.text)
    (one / "v").mkdir()
    spoil(pod)
    done = agent("step", word, pod.text, exits=2)
    assert len(done.stderr.splitlines()) == 1 and said in done.stderr
    assert not (pod.volume / "report.json").exists()
    agent("log", pod.target, exits=12)


@needs_root
@pytest.mark.parametrize("word", ["pull", "push"])
def test_a_directory_that_cannot_be_written_is_bad_input(
    pods: Callable[..., Pod], strangers: list[Stranger], word: str
) -> None:
    pod = pods("task")
    work = pod.mount()
    if word == "push":
        strangers[0].agent("step", "pull", pod.text)
    work.chmod(0o755)
    assert "cannot write there" in strangers[0].agent("step", word, pod.text, exits=2).stderr


def test_results_that_would_be_lost_stop_the_push_before_anything_is_published(
    agent: Agent, pods: Callable[..., Pod], tmp_path: Path
) -> None:
    pod = pods("task", results={"directory": str(tmp_path), "names": ["long", "none"], "limit": 2457})
    work = pod.mount()
    agent("step", "pull", pod.text)
    write(os.fsencode(work), b"x", b"x")
    (tmp_path / "long").write_text("x" * 2400)
    said = agent("step", "push", pod.text, exits=2).stderr
    assert "2457" in said and "sidecar-logs" in said and "long 2400" in said
    agent("log", pod.target, exits=12)
    (tmp_path / "long").write_text("x" * 2300)
    agent("step", "push", pod.text)


def step_result(pod: Pod) -> Path:
    """Have the pod's push step write a step result, and return where."""
    place = pod.place / "published"
    pod.argument["step-result"] = str(place)
    return place


def test_conflicts_and_the_change_are_in_the_step_result(agent: Agent, pods: Callable[..., Pod]) -> None:
    left, right = pods("left"), pods("right")
    results = [step_result(pod) for pod in (left, right)]
    names = ("same", "other", "quiet")
    places = [[pod.mount(name, target=f"{pod.target}-{name}") for name in names] for pod in (left, right)]
    for pod in (left, right):
        agent("step", "pull", pod.text)
    for pod, (same, other, quiet) in zip((left, right), places, strict=True):
        name = pod.argument["pod"]
        for path in (same / "f", same / "g", other / "f", quiet / name):
            path.write_text(name)
        agent("step", "push", pod.text)
    found = [json.loads(place.read_text()) for place in results]
    pushes = [[item["push"] for item in pod.report()["workspaces"]] for pod in (left, right)]
    assert found[0] == {"change": pushes[0][0]["id"][:12], "conflicts": 0, "workspace": 0}
    paths = found[1].pop("paths")
    assert found[1] == {"change": pushes[1][0]["id"][:12], "conflicts": 3, "workspace": 0}
    assert re.fullmatch("[0-9a-f]{8}", paths)
    assert found[1]["change"] in agent("log", f"{right.target}-same").stdout


def test_a_push_of_nothing_and_one_that_is_repeated_write_a_step_result_too(
    agent: Agent, pods: Callable[..., Pod]
) -> None:
    pod = pods("task")
    work, place = pod.mount(), step_result(pod)
    del pod.argument["pod"]  # without attempts, a push of nothing publishes nothing
    agent("step", "pull", pod.text)
    agent("step", "push", pod.text)
    assert json.loads(place.read_text()) == {"conflicts": 0}
    (work / "f").write_text("x")
    agent("step", "push", pod.text)
    assert json.loads(place.read_text()).keys() == {"change", "conflicts", "workspace"}
    assert len(place.read_bytes()) <= 120


def test_a_push_that_fails_writes_no_step_result(agent: Agent, pods: Callable[..., Pod]) -> None:
    pod = spoilt_by_a_parallel_task(pods, agent)
    place = step_result(pod)
    agent("step", "push", pod.text, exits=10)
    assert not place.exists()


def test_a_step_result_that_cannot_be_written_stops_the_push_before_anything_is_published(
    agent: Agent, pods: Callable[..., Pod]
) -> None:
    pod = pods("task")
    work = pod.mount()
    pod.argument["step-result"] = str(pod.place / "missing" / "published")
    agent("step", "pull", pod.text)  # Tekton makes the directory for the push step alone
    (work / "f").write_text("x")
    assert "step-result" in agent("step", "push", pod.text, exits=2).stderr
    agent("log", pod.target, exits=12)
    (pod.place / "missing" / "published").mkdir(parents=True)
    assert "the step result cannot be written" in agent("step", "push", pod.text, exits=40).stderr


def test_the_step_result_takes_part_of_the_room_for_results(
    agent: Agent, pods: Callable[..., Pod], tmp_path: Path
) -> None:
    (tmp_path / "long").write_text("x" * 2350)
    pod = pods("task", results={"directory": str(tmp_path), "names": ["long"], "limit": 2457})
    pod.mount()
    agent("step", "pull", pod.text)
    step_result(pod)
    said = agent("step", "push", pod.text, exits=2).stderr
    assert "long 2350" in said and "published" in said
    del pod.argument["step-result"]
    agent("step", "push", pod.text)


def test_a_failed_pull_ends_with_one_line_that_kubernetes_keeps(agent: Agent, pods: Callable[..., Pod]) -> None:
    pod = pods("task")
    pod.mount(base=f"{pod.target}-missing")
    done = agent("step", "pull", pod.text, exits=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"agent: error: workspace source at {pod.target}, {pod.target}-missing: there is no such")
    assert len(last.encode()) < LINE_MAX


def spoilt_by_a_parallel_task(pods: Callable[..., Pod], agent: Agent) -> Pod:
    both = [pods(name, **{"on-conflict": "fail"}) for name in ("other", "task")]
    for pod in both:
        write(os.fsencode(pod.mount()), b"f", b"0")
        agent("step", "pull", pod.text)
    for pod in both:
        write(os.fsencode(pod.place / "source"), b"f", pod.argument["pod"].encode())
    agent("step", "push", both[0].text)
    return both[1]


def spoilt_by_a_missing_pull(pods: Callable[..., Pod], _: Agent) -> Pod:
    pod = pods("task")
    pod.mount()
    return pod


def spoilt_by_a_registry_that_is_away(pods: Callable[..., Pod], agent: Agent) -> Pod:
    pod = pods("task")
    pod.argument["patience"] = "1s"
    write(os.fsencode(pod.mount(fresh=True)), b"f", b"1")
    agent("step", "pull", pod.text)
    pod.target = pod.argument["workspaces"][0]["target"] = "127.0.0.1:1/nobody/listens:ws"
    return pod


def spoilt_by_results(pods: Callable[..., Pod], agent: Agent) -> Pod:
    pod = pods("task")
    pod.argument["results"] = {"directory": str(pod.place), "names": ["long"], "limit": 100}
    pod.mount(fresh=True)
    (pod.place / "long").write_text("x" * 200)
    return pod


@pytest.mark.parametrize(
    ("spoilt", "code", "said"),
    [
        (spoilt_by_a_parallel_task, 10, "workspace source at {target}: parallel changes disagree about f"),
        (spoilt_by_a_missing_pull, 11, "workspace source at {target}, {directory}: nothing was pulled for it"),
        (spoilt_by_a_registry_that_is_away, 21, "workspace source at {target}, 127.0.0.1:1: nothing listens there"),
        (spoilt_by_results, 2, "results: the task's results need "),
    ],
)
def test_the_last_line_of_a_failed_step_stands_alone(
    agent: Agent,
    pods: Callable[..., Pod],
    spoilt: Callable[[Callable[..., Pod], Agent], Pod],
    code: int,
    said: str,
) -> None:
    """People read it with `kubectl logs --tail 1`: what it happened to, what happened, what to do."""
    pod = spoilt(pods, agent)
    last = agent("step", "push", pod.text, exits=code).stderr.splitlines()[-1]
    begins = "agent: error: " + said.format(target=pod.target, directory=pod.place / "source")
    assert last.startswith(begins)
    what, semicolon, remedy = last.removeprefix(begins).rpartition("; ")
    assert semicolon and len(remedy) > 10 and not what.endswith(".")


@pytest.mark.parametrize("long", ["subject", "what", "remedy"])
def test_an_error_is_never_longer_than_what_kubernetes_keeps(long: str) -> None:
    parts = {"subject": "workspace source", "what": "it failed", "remedy": "mend it", long: "é" * 5000}
    text = Failure("UsageError", exit_code=2, **parts).text()
    assert len(text.encode()) < LINE_MAX
    assert text.startswith("agent: error: ") and (long != "what" or text.endswith("; mend it"))


def test_the_reason_is_left_where_kubernetes_looks_if_that_is_there(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    write_message(str(log), "why")
    assert not log.exists()
    log.write_text("something longer than that")
    write_message(str(log), "why")
    assert log.read_text() == "why\n"
    write_message(str(tmp_path), "why")


@needs_root
def test_a_failed_step_writes_the_termination_log_of_its_container(agent: Agent, pods: Callable[..., Pod]) -> None:
    pod = pods("task")
    pod.mount(base=f"{pod.target}-missing")
    script = (
        "mount -t tmpfs none /dev && touch /dev/termination-log && mknod -m 666 /dev/null c 1 3 && "
        'mknod -m 666 /dev/urandom c 1 9 || exit 99; "$@"; cat /dev/termination-log'
    )
    words = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "agent", "step", "pull", pod.text]
    done = subprocess.run(words, env=agent.environ, capture_output=True, text=True, timeout=60)
    if done.returncode in (1, 99):
        pytest.skip("this system lets nobody mount a /dev of its own")
    assert done.stdout == done.stderr.splitlines()[-1] + "\n"
    assert f"workspace source at {pod.target}" in done.stdout


def test_the_arguments_that_the_page_shows_are_understood() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "steps.md").read_text()
    shown = re.findall(r"'({.*})'", page)
    assert len(shown) == 4
    for text in shown:
        text = text.replace("$(credentials.path)", "/tekton/creds").replace("$(step.results.published.path)", "/r")
        text = text.replace("$(INSTEP_POD)", "x-pod-retry1")
        assert parse_step(re.sub(r"\$\([a-zA-Z_.]+\)", "x", text)).workspaces


def test_credentials_come_from_the_argument_alone(agent: Agent, pods: Callable[..., Pod], tmp_path: Path) -> None:
    from tests.fakes.docker_registry import DockerRegistry

    users = subprocess.run(["htpasswd", "-nbB", "user", PASSWORD], capture_output=True, text=True, check=True).stdout
    (tmp_path / "users").write_text(users)
    guarded = DockerRegistry(tmp_path, auth={"htpasswd": {"realm": "test", "path": str(tmp_path / "users")}})
    try:
        config = {"auths": {guarded.address: {"username": "user", "password": PASSWORD}}}
        for directory in (tmp_path / "creds" / ".docker", tmp_path / "other"):
            directory.mkdir(parents=True)
            (directory / "config.json").write_text(json.dumps(config))
        elsewhere = {
            "DOCKER_CONFIG": str(tmp_path / "other"),
            "REGISTRY_AUTH_FILE": str(tmp_path / "other/config.json"),
        }
        pod = pods("task")
        pod.mount(target=f"{guarded.address}/team/ws:main")
        agent("step", "pull", pod.text, exits=20, env=elsewhere)
        pod.argument["credentials"] = str(tmp_path / "missing")
        agent("step", "pull", pod.text, exits=20, env=elsewhere)
        pod.argument["credentials"] = str(tmp_path / "creds")
        agent("step", "pull", pod.text, env=HOSTILE)
        agent("step", "push", pod.text, env=HOSTILE)
    finally:
        guarded.close()


def test_everything_the_steps_keep_lies_in_their_volume_and_is_open_to_both(
    agent: Agent, pods: Callable[..., Pod]
) -> None:
    pod = pods("task")
    pod.mount()
    agent("step", "pull", pod.text)
    agent("step", "push", pod.text)
    assert sorted(os.listdir(pod.volume)) == ["cache", "home", "report.json", "state", "tmp"]
    for directory, _, files in os.walk(pod.volume):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o777
        for name in files:
            assert stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) == 0o666
