"""The command line against real servers, a real farm, and everything an operator may type wrongly."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from myspinbot_worker.cli import COMMANDS, main
from myspinbot_worker.cli.following import Follower, TookTooLong, UnknownJob
from myspinbot_worker.cli.setup import Setup
from myspinbot_worker.embedded import EmbeddedRedis
from myspinbot_worker.inspection import Inspector
from myspinbot_worker.job_state import Concluded, JobState
from tests.functional.harness import PATIENCE, ROOT, Farm, Process, graph, node, wait_until

PROGRAM = [sys.executable, "-m", "myspinbot_worker"]
Run = Callable[..., Result]


def run_in(env: dict[str, str], *arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner(env={**env, "COLUMNS": "200"}).invoke(main, arguments, input=given)


@pytest.fixture
def cli(farm_env: dict[str, str]) -> Run:
    """Runs a command in this process, on an empty database of its own."""
    return lambda *arguments, **options: run_in(farm_env, *arguments, **options)


@pytest.fixture
def on_farm(running: Farm) -> Run:
    """Runs a command in this process, on the farm that all tests share."""
    return lambda *arguments, **options: run_in(running.env, *arguments, **options)


def child(env: dict[str, str], *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def one_line(result: Result, code: int) -> str:
    """The error on stderr: one line, no traceback, nothing on stdout."""
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    assert result.stdout == ""
    return lines[0].removeprefix("Error: ")


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def written(folder: Path, document: dict[str, Any] | str) -> str:
    file = folder / "graph.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(file)


# Help, and how fast it comes.


def test_help_loads_next_to_nothing() -> None:
    code = """
import sys
from myspinbot_worker.cli import main
main(["--help"], standalone_mode=False)
heavy = {"torch", "fastapi", "minio", "redis", "pydantic", "dramatiq", "rich", "numpy", "av", "uvicorn"}
print("loaded:", sorted(heavy & set(sys.modules)), "myspinbot_worker.actors" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "loaded: [] False"
    assert "Exit codes:" in done.stdout


@pytest.mark.parametrize("module", ["jobs", "about", "doctor", "run"])
def test_no_command_loads_what_it_does_not_need(module: str) -> None:
    code = f"""
import sys, myspinbot_worker.cli.{module}
heavy = {{"torch", "fastapi", "minio", "dramatiq", "numpy", "av", "uvicorn", "mediapipe"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_group_is_imported_in_half_a_second() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import myspinbot_worker.cli"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    (line,) = [line for line in done.stderr.splitlines() if line.endswith(" myspinbot_worker.cli")]
    assert int(line.split("|")[1]) < 500_000, line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert "Example:\n" in result.output
    assert f"myspinbot-worker {name}" in result.output
    if name != "demo":  # It brings its own servers and prints for people.
        assert "--json" in result.output
        assert "--redis-url" in result.output


def test_the_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.startswith("myspinbot-worker, version ")


# Wrong input.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], "No such command 'nope'"),
        (["jobs", "--nope"], "No such option"),
        (["jobs", "--limit", "0"], "--limit"),
        (["jobs", "extra"], "unexpected extra argument"),
        (["watch"], "Missing argument"),
        (["watch", ""], "a job id is not empty"),
        (["watch", "\udcff"], "not valid UTF-8"),
        (["watch", "x", "--timeout", "-1"], "--timeout"),
        (["submit"], "Missing argument"),
        (["submit", "/no/such/file"], "No such file"),
        (["submit", "/"], "directory"),
    ],
)
def test_wrong_usage(cli: Run, arguments: list[str], words: str) -> None:
    result = cli(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output


COMMAND_LINES = (
    ("ingest",),
    ("submit", "-"),
    ("watch", "x"),
    ("jobs",),
    ("show", "x"),
    ("cancel", "x"),
    ("capabilities",),
    ("config",),
    ("doctor",),
)


@pytest.mark.parametrize("command", COMMAND_LINES, ids=lambda command: command[0])
def test_a_wrong_setting_stops_every_command(command: Sequence[str], farm_env: dict[str, str]) -> None:
    env = {**farm_env, "FARM_LEASE_SECONDS": "soon"}
    message = one_line(run_in(env, *command, given=json.dumps(graph([node("a")]))), 2)
    assert message.startswith("farm.lease_seconds (env FARM_LEASE_SECONDS): expected a")


@pytest.mark.parametrize(
    "command", [line for line in COMMAND_LINES if line[0] != "capabilities"], ids=lambda c: c[0]
)
def test_a_wrong_url_is_never_shown(command: Sequence[str], cli: Run) -> None:
    result = cli(*command, "--redis-url", "http://:hunter2@host", given=json.dumps(graph([node("a")])))
    assert one_line(result, 2).startswith("redis.url (command line): expected redis://")
    assert "hunter2" not in result.output


@pytest.mark.parametrize("command", COMMAND_LINES[1:6], ids=lambda command: command[0])
def test_redis_out_of_reach(command: Sequence[str], cli: Run) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"redis://:hunter2@127.0.0.1:{nobody.getsockname()[1]}/0"
        message = one_line(cli(*command, "--redis-url", url, given=json.dumps(graph([node("a")]))), 1)
    assert message.startswith("cannot reach Redis at redis://:***@127.0.0.1:")
    assert "hunter2" not in message


def test_redis_refuses_the_password(cli: Run, redis_server: EmbeddedRedis) -> None:
    url = f"redis://somebody:hunter2@127.0.0.1:{redis_server.port}/0"
    message = one_line(cli("jobs", "--redis-url", url), 1)
    assert "refuses the user name or password" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "graph: not JSON"),
        ("{", "graph: not JSON"),
        ("[]", "graph"),
        ("{}", "graph.schema: Field required"),
        (json.dumps(graph([])), "graph.nodes"),
        (json.dumps(graph([node("a"), node("b")], [("a", "b"), ("b", "a")])), "cycle: "),
        (json.dumps(graph([node("a")], [("a", "z")])), "names 'z', which is no node"),
        (json.dumps(graph([node("a"), node("a")])), "already the id of another node"),
        (json.dumps(graph([node("a", output=float("nan"))])), "NaN is not JSON"),
        (json.dumps(graph([node("a", extra=1)])), "graph.nodes[0].extra"),
        (json.dumps(graph([node("a")], job="a:b")), "contains a colon"),
        (json.dumps(graph([node("a")], job="\ud800")), "graph"),
        (b"\xff\xfe", "graph is not UTF-8"),
        (b"\xef\xbb\xbf{}", "graph: not JSON"),
    ],
)
def test_a_graph_that_the_farm_would_refuse_is_not_sent(
    cli: Run, text_client: redis.Redis, text: str | bytes, words: str
) -> None:
    message = one_line(cli("submit", "-", given=text), 1)
    assert message.startswith("the graph was not sent: ")
    assert words in message
    assert text_client.keys() == []


@pytest.mark.parametrize("job", ["a:b", "", "x" * 2000])
def test_a_job_id_that_the_farm_would_refuse_is_not_sent(
    cli: Run, text_client: redis.Redis, job: str
) -> None:
    result = cli("submit", "-", "--job-id", job, given=json.dumps(graph([node("a")])))
    assert one_line(result, 1).startswith("the graph was not sent: jobId")
    assert text_client.keys() == []


def test_a_graph_beyond_the_limits_is_not_sent(farm_env: dict[str, str]) -> None:
    text = json.dumps(graph([node("a"), node("b")]))
    assert "at most 1 are taken" in one_line(
        run_in({**farm_env, "FARM_MAX_NODES": "1"}, "submit", "-", given=text), 1
    )
    assert "at most 9 are taken" in one_line(
        run_in({**farm_env, "FARM_MAX_ENTRY_BYTES": "9"}, "submit", "-", given=text), 1
    )


def test_a_timeout_goes_with_watching(cli: Run, text_client: redis.Redis) -> None:
    result = cli("submit", "-", "--timeout", "3", given=json.dumps(graph([node("a")])))
    assert result.exit_code == 2
    assert "--timeout goes with --watch" in result.stderr
    assert text_client.keys() == []


@pytest.mark.parametrize("command", ["watch", "show", "cancel"])
def test_an_unknown_job(cli: Run, command: str) -> None:
    assert "job nowhere" in one_line(cli(command, "nowhere"), 3)


# Sending.


def test_the_text_is_sent_as_it_came(cli: Run, text_client: redis.Redis, tmp_path: Path) -> None:
    text = '{"schema": "langgraph.v1",\n "workflowId":"j1", "edges":[],\n'
    text += ' "context": {"n": 1.0, "é": []}, "nodes": ['
    text += '{"id":"a","service":"s","plane":"python","status":"pending"}]}\n'
    before = time.time_ns() // 10**6
    result = cli("submit", written(tmp_path, text))
    assert (result.exit_code, result.output) == (0, "j1\n")
    renamed = cli("submit", "-", "--job-id", "j2", "--json", given=text)
    sent: Any = text_client.xrange("process:data")
    (_, first), (entry, second) = sent
    assert first.pop("created").isdigit()
    assert before <= int(second.pop("created")) <= time.time_ns() // 10**6
    assert first == {"jobId": "j1", "graph": text}
    assert second == {"jobId": "j2", "graph": text.replace('"j1"', '"j2"')}
    assert json.loads(renamed.stdout) == {"jobId": "j2", "entry": entry, "nodes": 1}


def test_streams_are_the_configured_ones(cli: Run, text_client: redis.Redis, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "redis.bridge.json").write_text(
        '{"streams": {"data": "stream:data", "control": "stream:control"}}'
    )
    assert cli("submit", "-", given=json.dumps(graph([node("a")]))).exit_code == 0
    assert text_client.xlen("stream:data") == 1


def test_a_second_visit_while_one_is_open_is_remarked(on_farm: Run, running: Farm) -> None:
    document = graph([node("a", "test.gate")])
    job = running.submit(document)
    running.wait_started(job, "a")
    result = on_farm("submit", "-", given=json.dumps(document))
    assert "has an open run: this repeats its graph" in result.stderr
    result = on_farm("submit", "-", given=json.dumps({**document, "metadata": {}}))
    assert "has an open run: this visit follows it" in result.stderr
    running.open_gate(job, "a")
    running.wait_started(job, "a")
    running.open_gate(job, "a")
    running.wait_back(job, 2)


# Watching.


@pytest.mark.parametrize(
    ("document", "code", "said"),
    [
        (graph([node("a"), node("b")], [("a", "b")]), 0, "completed"),
        (
            graph([node("a"), node("c", "llm.write", "node")], [("a", "c")]),
            0,
            "handed back to the control plane",
        ),
        (graph([node("a", "test.fail")]), 1, "failed: node 'a' failed: internal: told to fail"),
        (graph([node("a", "no.such.service")]), 1, "failed: node 'a' failed: unknown_service"),
        (graph([node("a", "test.fail"), node("b")], [("a", "b", "on_failure")]), 0, "completed"),
        (graph([node("a"), node("b")], [("a", "b", "on_failure")]), 0, "completed; some nodes were skipped"),
    ],
    ids=["completed", "handed back", "failed", "unknown service", "failure handled", "skipped"],
)
def test_submit_and_watch(on_farm: Run, document: dict[str, Any], code: int, said: str) -> None:
    job = str(uuid.uuid4())
    result = on_farm("submit", "-", "--watch", "--timeout", "30", "--job-id", job, given=json.dumps(document))
    assert result.exit_code == code, result.output
    first, *_, last = result.stdout.splitlines()
    assert first == job
    assert said in last
    # And once more, when it is over.
    again = on_farm("watch", job)
    assert (again.exit_code, again.stdout.splitlines()[-1].split(" ", 1)[1]) == (code, last.split(" ", 1)[1])


def test_watching_in_json(running: Farm) -> None:
    job = running.submit(graph([node("a", "test.gate", params={"progress": 0.5}), node("b")], [("a", "b")]))
    running.wait_started(job, "a")
    watching = child(running.env, "watch", job, "--json", "--timeout", "30")
    assert watching.stdout is not None
    lines = []
    for line in watching.stdout:
        lines.append(json.loads(line))
        if lines[-1]["event"] == "node" and lines[-1]["state"] == "running":
            running.open_gate(job, "a")
    _, errors = watching.communicate(timeout=PATIENCE)
    assert (watching.returncode, errors) == (0, "")
    assert all(line["jobId"] == job for line in lines)
    states = [(line["id"], line["state"]) for line in lines if line["event"] == "node"]
    assert ("a", "running") in states
    assert states[-2:] == [("a", "completed"), ("b", "completed")] or {*states[-2:]} >= {("b", "completed")}
    assert [line["status"] for line in lines if line["event"] == "status"][-1] == "completed"
    assert lines[-1]["event"] == "ended"
    assert lines[-1]["verdict"] == "completed"
    assert lines[-1]["successful"] is True
    progress = [line["progress"] for line in lines if line["event"] == "progress"]
    assert progress == sorted(progress)
    assert progress[-1] == 1


def test_watching_gives_up(on_farm: Run, running: Farm) -> None:
    job = running.submit(graph([node("a", "test.gate")]))
    running.wait_started(job, "a")
    result = on_farm("watch", job, "--timeout", "0.3")
    assert result.exit_code == 4
    assert result.stderr == f"Error: job {job} goes on after 0.3 s of watching\n"
    running.open_gate(job, "a")
    running.wait_back(job)


def test_an_interrupt_ends_watching_quietly(running: Farm) -> None:
    job = running.submit(graph([node("a", "test.gate")]))
    running.wait_started(job, "a")
    watching = child(running.env, "watch", job)
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=PATIENCE)
    assert (watching.returncode, errors) == (130, "")
    running.open_gate(job, "a")
    running.wait_back(job)


def test_watching_on_a_terminal_draws_bars(running: Farm) -> None:
    job = running.submit(graph([node("first", "test.gate"), node("then")], [("first", "then")]))
    running.wait_started(job, "first")
    primary, secondary = pty.openpty()
    env = {**os.environ, **running.env, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
    watching = subprocess.Popen(
        [*PROGRAM, "watch", job], cwd=ROOT, env=env, stdin=secondary, stdout=secondary, stderr=secondary
    )
    os.close(secondary)
    shown = b""
    while chunk := _read(primary):
        shown += chunk
        if b"running" in shown and "━".encode() in shown:
            running.open_gate(job, "first")
    assert watching.wait(PATIENCE) == 0
    os.close(primary)
    text = shown.decode()
    assert "first" in text
    assert "then" in text
    assert "100 %" in text
    assert text.rstrip().splitlines()[-1].endswith("completed")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # The other side has closed.
        return b""


class Recorder:
    """A view that remembers, and may act on what it is told."""

    def __init__(self, on_state: Callable[[JobState], object] = lambda job: None) -> None:
        self.told: list[tuple[str, Any]] = []
        self.on_state = on_state

    def message(self, kind: str, value: Any, created: str) -> None:
        self.told.append((kind, value))

    def state(self, job: JobState) -> None:
        self.told.append(("state", job.phase))
        self.on_state(job)

    def ended(self, visit: Concluded) -> None:
        self.told.append(("ended", visit.verdict))

    def trouble(self, what: str) -> None:
        self.told.append(("trouble", bool(what)))

    def values(self, kind: str) -> list[Any]:
        return [value for what, value in self.told if what == kind]


def follower(url: str, job: str, entry: str | None = None) -> Follower:
    setup = Setup(url)
    return Follower(setup.inspector, setup.messages, job, entry)


def test_a_job_that_ends_between_subscribing_and_looking(running: Farm) -> None:
    document = graph([node("a")])
    job = document["workflowId"]
    view = Recorder()
    with follower(running.env["REDIS_URL"], job) as watching:
        running.submit(document)
        running.wait_back(job)
        assert watching.follow(view, 10).verdict == "completed"
    assert view.values("status")[-1] == "completed"
    assert view.values("state") == ["ended"]


def test_one_follower_sees_several_visits(running: Farm) -> None:
    document = graph([node("a"), node("llm", "x.y", "node"), node("b")], [("a", "llm"), ("llm", "b")])
    job = document["workflowId"]
    view = Recorder()
    with follower(running.env["REDIS_URL"], job) as watching:
        running.submit(document)
        wait_until(
            lambda: running.client.exists(f"farm:run:{job}") or running.handed_back.get(job), "a visit"
        )
        assert watching.follow(view, 10).verdict == "hand_back"
        back = running.wait_back(job)
        back["nodes"][1] |= {"status": "completed", "output": {}}
        running.submit(back)
        watching.entry = None
        wait_until(
            lambda: running.client.exists(f"farm:run:{job}") or len(running.handed_back[job]) > 1, "a visit"
        )
        assert watching.follow(view, 10).verdict == "completed"
    assert view.values("ended") == ["hand_back", "completed"]


def test_redis_may_be_away_for_a_while(own_redis: Callable[..., EmbeddedRedis]) -> None:
    server = own_redis()
    with redis.Redis.from_url(server.url) as client:
        entry = client.xadd("process:data", {"jobId": "j", "created": "1", "graph": "{}"})
    restarted: list[bool] = []

    def restart(job: JobState) -> None:
        if not restarted:
            server.restart()
            restarted.append(True)

    view = Recorder(restart)
    with follower(server.url, "j", entry.decode()) as watching, pytest.raises(TookTooLong):
        watching.follow(view, 4)
    assert view.values("trouble") in ([True, False], [])
    assert view.values("state")[-1] == "waiting"
    assert len(view.values("state")) > 1


def test_a_visit_that_redis_has_forgotten(redis_url: str, text_client: redis.Redis) -> None:
    with follower(redis_url, "j", "1-1") as watching, pytest.raises(UnknownJob):
        watching.follow(Recorder(), 4)
    done = {"nodes": [{"id": "a", "plane": "python", "status": "completed"}]}
    text_client.hset("job:j", mapping={"graph": json.dumps(done), "created": "5"})
    with follower(redis_url, "j", "1-1") as watching:
        assert watching.follow(Recorder(), 4).verdict == "completed"


def test_messages_that_do_not_fit_the_contract_are_left_out(own_redis: Callable[..., EmbeddedRedis]) -> None:
    server = own_redis()  # Pub/Sub knows no databases: on the shared server others would hear this.
    view = Recorder()
    with redis.Redis.from_url(server.url) as client, follower(server.url, "j") as watching:
        client.xadd("process:data", {"jobId": "j", "created": "1", "graph": "{}"})
        for text in ("", "{", "[]", "7", '"x"', "{}", '{"progress": 0.5}', "[" * 5000):
            client.publish("channel:progress:j", text)
        client.publish("channel:progress:j", '{"jobId":"j","progress":0.25,"created":"now"}')
        with pytest.raises(TookTooLong):
            watching.follow(view, 1)
    assert view.values("progress") == [0.25]


# Looking.


def test_jobs_show_and_cancel(on_farm: Run, running: Farm) -> None:
    edges = [("a", "b"), ("b", "c")]
    job = running.submit(graph([node("a"), node("b", "test.gate"), node("c")], edges))
    started = running.wait_started(job, "b")

    (listed,) = [run for run in json.loads(on_farm("jobs", "--json").stdout)["open"] if run["jobId"] == job]
    assert (listed["done"], listed["nodes"], listed["running"], listed["ready"]) == (1, 3, 1, 0)
    assert listed["progress"] == pytest.approx(1 / 3)
    assert listed["admittedAt"] <= listed["startedAt"]
    assert f"{job}\t" in on_farm("jobs").stdout

    shown = json.loads(on_farm("show", job, "--json").stdout)
    assert (shown["phase"], shown["entry"]) == ("open", listed["entry"])
    states = {item["id"]: item for item in shown["nodes"]}
    assert [states[name]["state"] for name in "abc"] == ["completed", "running", "waiting"]
    assert states["b"]["worker"].endswith(f":{started['pid']}")
    assert states["b"]["attempts"] == 1
    assert states["b"]["startedAt"] >= listed["admittedAt"]
    plain = on_farm("show", job).stdout
    assert "phase\topen\n" in plain
    assert "\nb\ttest.gate\tpython\trunning\t" in plain

    cancelled = on_farm("cancel", job, "--json")
    assert json.loads(cancelled.stdout) == {"jobId": job, "cancelled": True, "running": 1}
    watched = on_farm("watch", job)
    assert watched.exit_code == 1
    assert watched.stdout.splitlines()[-1].endswith("cancelled")
    assert "no open run" in one_line(on_farm("cancel", job), 3)

    ended = json.loads(on_farm("jobs", "--json", "--limit", "1").stdout)["concluded"]
    assert [(item["jobId"], item["verdict"], item["nodes"]) for item in ended] == [(job, "cancelled", 3)]
    assert f"{job}\tcancelled\t" in on_farm("jobs").stdout
    shown = json.loads(on_farm("show", job, "--json").stdout)
    assert (shown["phase"], shown["last"]["reason"], shown["run"]) == ("ended", "cancelled", None)
    assert "phase\tended" in on_farm("show", job).stdout


def test_a_failing_node_is_shown_with_its_error(on_farm: Run, running: Farm) -> None:
    failing = node("a", "test.fail", params={"message": "out of\npaint"})
    job = running.submit(graph([failing, node("b", "test.gate")]))
    running.wait_started(job, "b")
    wait_until(lambda: running.client.hget(f"farm:run:{job}", "failing") == "1", "the node's failure")
    (run,) = [run for run in json.loads(on_farm("jobs", "--json").stdout)["open"] if run["jobId"] == job]
    assert run["failing"] is True
    shown = json.loads(on_farm("show", job, "--json").stdout)["nodes"][0]
    assert (shown["state"], shown["error"]["message"]) == ("failed", "out of\npaint")
    assert shown["worker"] == shown["error"]["details"]["worker"]
    assert "internal: out of paint" in on_farm("show", job).stdout
    running.open_gate(job, "b")
    running.wait_status(job, "failed")


def test_a_rejected_job_says_why(on_farm: Run, running: Farm) -> None:
    job = running.submit("{}", job=str(uuid.uuid4()))
    running.wait_status(job, "failed")
    watched = on_farm("watch", job)
    assert watched.exit_code == 1
    assert "rejected: graph.schema: Field required" in watched.stdout
    assert json.loads(on_farm("show", job, "--json").stdout)["last"]["verdict"] == "rejected"


def test_a_job_nobody_has_taken_up(cli: Run) -> None:
    assert cli("submit", "-", "--job-id", "j", given=json.dumps(graph([node("a")]))).exit_code == 0
    assert json.loads(cli("show", "j", "--json").stdout)["phase"] == "waiting"
    result = cli("watch", "j", "--timeout", "0.2")
    assert result.exit_code == 4
    assert "not taken up by the farm yet" in result.stdout


def test_a_job_of_the_control_plane_alone(cli: Run, text_client: redis.Redis) -> None:
    text_client.hset("job:j", mapping={"graph": "not a graph", "created": "x"})
    text_client.set("job:j:status", "queued")
    text_client.set("job:j:progress", "0.125")
    shown = json.loads(cli("show", "j", "--json").stdout)
    assert (shown["phase"], shown["status"], shown["progress"]) == ("elsewhere", "queued", 0.125)
    assert "status kept by the control plane\tqueued" in cli("show", "j").stdout


def test_entries_that_others_left_on_the_stream_do_not_count(
    redis_url: str, text_client: redis.Redis
) -> None:
    inspector: Inspector = Setup(redis_url).inspector
    entry = text_client.xadd("process:data", {"jobId": "j", "created": "1", "graph": "{}"})
    assert inspector.job("j").phase == "waiting"
    text_client.xgroup_create("process:data", "workers", id="0")
    assert inspector.job("j").phase == "waiting"
    text_client.xreadgroup("workers", "someone", {"process:data": ">"})
    assert inspector.job("j").phase == "waiting"
    text_client.xack("process:data", "workers", entry)
    assert inspector.job("j").phase == "unknown"


def test_an_empty_farm(cli: Run) -> None:
    assert json.loads(cli("jobs", "--json").stdout) == {"openTotal": 0, "open": [], "concluded": []}
    assert cli("jobs").exit_code == 0


# The farm itself.


def test_capabilities(farm_env: dict[str, str]) -> None:
    def told(*options: str) -> str:
        process = child(farm_env, "capabilities", *options)
        text, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (0, "")
        return text

    short, full = json.loads(told("--json")), json.loads(told("--schema"))
    ids = [item["id"] for item in short["capabilities"]]
    assert {"dummy.dummy_task", "generate.f5_to_tts", "test.echo"} <= set(ids)
    assert [item["id"] for item in full["capabilities"]] == ids
    assert all(item["io"] == {"input": {}, "output": {}} for item in short["capabilities"])
    assert all(item["io"]["output"] for item in full["capabilities"])
    assert "\ngenerate.f5_to_tts\tgpu\tSpeech from text\t" in told()


@pytest.mark.parametrize("command", ["capabilities", "ingest"])
def test_a_module_that_cannot_be_imported(farm_env: dict[str, str], command: str) -> None:
    process = child({**farm_env, "FARM_ACTOR_MODULES": "no_such_module"}, command)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert errors == "Error: farm.actor_modules: No module named 'no_such_module'\n"


def test_config_shows_origins_and_no_secret(farm_env: dict[str, str]) -> None:
    env = {**farm_env, "MINIO_SECRET_KEY": "hunter2", "REDIS_URL": "redis://:hunter3@127.0.0.1:1/0"}
    rows = {row["key"]: row for row in json.loads(run_in(env, "config", "--json").stdout)}
    assert rows["storage.secret_key"]["value"] == "***"
    assert rows["redis.url"]["value"] == "redis://:***@127.0.0.1:1/0"
    assert rows["redis.url"]["origin"] == "env REDIS_URL"
    assert rows["farm.namespace"]["origin"] == "default"
    overridden = run_in(env, "config", "--redis-url", "redis://:hunter4@host/0")
    assert "redis.url\tredis://:***@host/0\tcommand line\n" in overridden.stdout
    meaning = run_in(env, "config", "--meaning").stdout
    assert "farm.namespace\tfarm\tdefault\tPrefix of the farm's own Redis keys.\n" in meaning
    assert "hunter" not in overridden.stdout + meaning + json.dumps(rows)


def ingestor(env: dict[str, str], *options: str) -> Process:
    return Process("ingest", [*PROGRAM, "ingest", *options], env)


def test_ingest_runs_until_told_to_stop(farm: Farm) -> None:
    process = ingestor(farm.env)
    farm.processes.append(process)
    process.wait_for(
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z INFO myspinbot_worker\.ingestor: ingestor .* reads"
    )
    job = farm.submit(graph([node("a", "no.such.service")]))
    farm.wait_status(job, "failed")
    process.wait_for("WARNING myspinbot_worker.dispatcher: node a")
    assert process.stop() == 0
    assert not any(farm.env["MINIO_SECRET_KEY"] in line for line in process.lines)


def test_ingest_takes_the_url_of_its_command_line(farm: Farm) -> None:
    elsewhere = {**farm.env, "REDIS_URL": "redis://127.0.0.1:1/0", "FARM_LOG_LEVEL": "DEBUG"}
    process = ingestor(elsewhere, "--redis-url", farm.env["REDIS_URL"], "--json")
    farm.processes.append(process)
    (line,) = process.wait_for("ingestor .* reads")
    assert {"time", "level", "logger", "message"} == set(json.loads(line))
    job = farm.submit(graph([node("a", "no.such.service")]))
    farm.wait_status(job, "failed")
    assert process.stop() == 0
    assert all(json.loads(line) for line in process.lines)


def test_ingest_on_a_taken_port(farm_env: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = child({**farm_env, "FARM_SERVER_PORT": str(port)}, "ingest")
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith(f"Error: cannot listen on 127.0.0.1:{port}")
    assert "Traceback" not in errors


def test_logs_hold_no_secret(farm_env: dict[str, str]) -> None:
    code = """
import logging, sys
from myspinbot_worker.cli.logs import set_up_logging
set_up_logging("INFO", ("hunter2-secret",), as_json=sys.argv[1] == "json")
logging.getLogger("a").debug("unseen")
logging.getLogger("a").warning("key %s at redis://u:hunter3@host", "hunter2-secret")
try:
    raise ValueError("hunter2-secret")
except ValueError:
    logging.getLogger("a").exception("failed")
"""
    for form in ("plain", "json"):
        done = subprocess.run([sys.executable, "-c", code, form], capture_output=True, text=True, check=True)
        assert "hunter" not in done.stderr
        assert "***" in done.stderr
        assert "ValueError" in done.stderr
        assert "unseen" not in done.stderr
    assert [record["level"] for record in events(done.stderr)] == ["WARNING", "ERROR"]


# The doctor.


def findings(result: Result) -> dict[str, dict[str, str]]:
    return {item["name"]: item for item in json.loads(result.stdout)["findings"]}


def test_a_healthy_farm(on_farm: Run) -> None:
    result = on_farm("doctor", "--json")
    assert result.exit_code == 0, result.stdout
    found = findings(result)
    for name in ("redis", "redis.version", "redis.role", "redis.persistence", "redis.memory", "redis.clock"):
        assert found[name]["level"] == "ok", found[name]
    for name in ("farm.group", "farm.ingestors", "farm.workers", "storage", "scratch"):
        assert found[name]["level"] == "ok", found[name]
    assert "2 running" in found["farm.workers"]["text"]
    assert "1 running" in found["farm.ingestors"]["text"]
    plain = on_farm("doctor").stdout
    assert "✓ storage" in plain
    assert "✗" not in plain


def test_a_farm_that_was_never_started(cli: Run, text_client: redis.Redis) -> None:
    found = findings(cli("doctor", "--json"))
    for name in ("farm.group", "farm.ingestors", "farm.workers"):
        assert found[name]["level"] == "warning", found[name]
    text_client.xadd("process:data", {"a": "b"})
    assert "has no group workers" in findings(cli("doctor", "--json"))["farm.group"]["text"]
    text_client.xadd("farm:dead", {"entry": "1-1", "reason": "no [good]"})
    assert "1; the newest: no [good]" in cli("doctor").stdout
    text_client.delete("process:data")
    text_client.set("process:data", "x")
    result = cli("doctor", "--json")
    assert result.exit_code == 1
    assert findings(result)["farm.group"]["level"] == "error"
    assert set(text_client.keys()) == {"process:data", "farm:dead"}


def test_without_servers(farm_env: dict[str, str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        env = {
            **farm_env,
            "REDIS_URL": f"redis://:hunter2@127.0.0.1:{port}/0",
            "MINIO_ENDPOINT": f"127.0.0.1:{port}",
        }
        result = run_in(env, "doctor")
    assert result.exit_code == 1
    assert "✗ redis " in result.stdout
    assert "✗ storage " in result.stdout
    assert "redis.version" not in result.stdout
    assert "hunter2" not in result.output


def test_a_missing_bucket_and_a_wrong_key(farm_env: dict[str, str]) -> None:
    found = findings(run_in({**farm_env, "MINIO_BUCKETS": "input,nowhere"}, "doctor", "--json"))
    assert "make the missing buckets (nowhere)" in found["storage"]["advice"]
    found = findings(run_in({**farm_env, "MINIO_SECRET_KEY": "wrong-secret"}, "doctor", "--json"))
    assert found["storage"]["level"] == "error"
    assert "wrong-secret" not in json.dumps(found)


def test_a_redis_that_tells_little(own_redis: Callable[..., EmbeddedRedis], farm_env: dict[str, str]) -> None:
    server = own_redis()
    with redis.Redis.from_url(server.url) as client:
        client.xgroup_create("process:data", "workers", id="0", mkstream=True)
        client.execute_command(
            "ACL", "SETUSER", "op", "on", ">pw", "~*", "&*", "+@all", "-config", "-@dangerous", "+info"
        )
        client.execute_command("ACL", "SETUSER", "guest", "on", ">pw", "~*", "+ping")
    url = server.url.replace("redis://", "redis://op:pw@")
    found = findings(run_in(farm_env, "doctor", "--json", "--redis-url", url))
    assert found["redis.persistence"]["text"] == "AOF is on; appendfsync cannot be read (CONFIG is forbidden)"
    assert found["redis.version"]["level"] == "ok"
    url = server.url.replace("redis://", "redis://guest:pw@")
    result = run_in(farm_env, "doctor", "--json", "--redis-url", url)
    assert result.exit_code == 0, result.stdout
    found = findings(result)
    assert found["redis"]["level"] == "ok"
    for name in (
        "redis.version",
        "redis.clock",
        "farm.group",
        "farm.ingestors",
        "farm.workers",
        "farm.dead_letters",
    ):
        assert found[name]["level"] == "warning", found[name]
        assert "not allowed" in found[name]["text"]
