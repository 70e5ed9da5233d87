"""The benchmarks run as a command, report what they say they report, and leave no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "benchmarks", "--quick", "--only", "chain"]


def test_one_benchmark_writes_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [*COMMAND, "--json", str(file)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "chain of 20" in done.stdout
    report = json.loads(file.read_text())
    assert report["quick"] is True
    assert set(report) == {"created", "quick", "machine", "versions", "figures", "goals"}
    assert report["machine"]["cpus"] >= 1
    (figure,) = report["figures"]
    assert (figure["benchmark"], figure["name"], figure["unit"]) == ("chain", "hop", "ms/node")
    assert figure["count"] == len(figure["values"]) > 0
    assert 0 < figure["min"] <= figure["median"] <= figure["max"]


def test_an_unknown_benchmark_is_refused() -> None:
    done = subprocess.run(
        [*COMMAND, "--only", "everything"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "throughput" in done.stderr


def test_an_interrupted_run_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    running = subprocess.Popen(
        COMMAND, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert running.stderr is not None
    try:
        started: list[psutil.Process] = []
        deadline = time.monotonic() + 30
        while not any("dramatiq" in " ".join(_command(process)) for process in started):
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.02)
            started = psutil.Process(running.pid).children(recursive=True)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
        assert "interrupted" in running.stderr.read()
    finally:
        running.kill()
        running.wait()
        running.stderr.close()
    _, left = psutil.wait_procs(started, timeout=10)
    assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]
    assert not list(tmp_path.glob("farm-benchmarks-*"))


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
