"""Everything an operator may type or set wrongly, and a Redis that does not answer: one line each, no secret."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence

import pytest

from myspinbot_worker.embedded import EmbeddedRedis
from tests.functional.command_line import Run, child, one_line, run_in
from tests.functional.command_line import cli as cli
from tests.functional.harness import graph, node
from tests.functional.processes import PATIENCE


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
        (["explain"], "Missing argument"),
        (["explain", ""], "a job id is not empty"),
        (["retry"], "Missing argument"),
        (["retry", "\udcff"], "not valid UTF-8"),
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
    ("explain", "x"),
    ("retry", "x"),
    ("dead", "list"),
    ("dead", "show", "1-1"),
    ("dead", "retry", "1-1"),
    ("dead", "drop", "1-1"),
    ("audit",),
    ("capabilities",),
    ("config",),
    ("doctor",),
)


@pytest.mark.parametrize("command", COMMAND_LINES, ids=" ".join)
def test_a_wrong_setting_stops_every_command(command: Sequence[str], farm_env: dict[str, str]) -> None:
    env = {**farm_env, "FARM_LEASE_SECONDS": "soon"}
    message = one_line(run_in(env, *command, given=json.dumps(graph([node("a")]))), 2)
    assert message.startswith("farm.lease_seconds (env FARM_LEASE_SECONDS): expected a")


@pytest.mark.parametrize(
    "command", [line for line in COMMAND_LINES if line[0] != "capabilities"], ids=" ".join
)
def test_a_wrong_url_is_never_shown(command: Sequence[str], cli: Run) -> None:
    result = cli(*command, "--redis-url", "http://:hunter2@host", given=json.dumps(graph([node("a")])))
    assert one_line(result, 2).startswith("redis.url (command line): expected redis://")
    assert "hunter2" not in result.output


@pytest.mark.parametrize("command", COMMAND_LINES[1:-3], ids=" ".join)
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


@pytest.mark.parametrize("command", ["watch", "show", "cancel", "explain", "retry"])
def test_an_unknown_job(cli: Run, command: str) -> None:
    assert "job nowhere" in one_line(cli(command, "nowhere"), 3)


@pytest.mark.parametrize("command", ["capabilities", "ingest"])
def test_a_module_that_cannot_be_imported(farm_env: dict[str, str], command: str) -> None:
    process = child({**farm_env, "FARM_ACTOR_MODULES": "no_such_module"}, command)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert errors == "Error: farm.actor_modules: No module named 'no_such_module'\n"
