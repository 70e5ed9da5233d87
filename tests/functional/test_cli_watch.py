"""Watching a job of a real farm: in lines, in JSON and on a terminal, with the exit code of its end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import uuid
from typing import Any

import pytest

from tests.functional.command_line import PROGRAM, Run, child
from tests.functional.command_line import on_farm as on_farm
from tests.functional.harness import Farm, graph, node
from tests.functional.processes import PATIENCE, ROOT


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
