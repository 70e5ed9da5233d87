"""A small fault campaign on every change; ``python -m tests.faults.campaign`` is the large one."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from .campaign_report import command
from .campaign_run import Campaign, Watcher, run

ROOT = Path(__file__).parents[2]


class Log(Watcher):
    """Kept for when it fails."""

    def say(self, text: str) -> None:
        print(text)


def test_nothing_is_lost_done_twice_or_left_behind(tmp_path: Path) -> None:
    campaign = Campaign(jobs=400, faults=45)
    result = run(campaign, tmp_path, Log())
    assert not result.violations[:10], f"again: {command(campaign)}"
    assert result.faults.total() == campaign.faults
    assert result.restarts > 10


def test_nothing_is_left_running_when_it_is_interrupted(tmp_path: Path) -> None:
    """Whatever is frozen or just starting at that moment."""
    arguments = ("--jobs", "100", "--faults", "30", "--verbose", "--folder", str(tmp_path / "campaign"))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.campaign", *arguments],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as campaign:  # fmt: skip
        assert campaign.stderr is not None
        for line in campaign.stderr:
            if re.search("frozen for", line):
                break
        assert _of(tmp_path)
        campaign.send_signal(signal.SIGINT)
        assert campaign.wait(60) == 130
    assert not _of(tmp_path)


def _of(folder: Path) -> list[str]:
    """Processes that work in a folder, by what was said to them when they were started."""
    found = []
    for process in psutil.process_iter():
        try:
            said = [*process.cmdline(), process.environ().get("WORKER_HOME", "")]
            if process.status() != psutil.STATUS_ZOMBIE and process.pid != psutil.Process().pid:
                found += [" ".join(said)] if any(str(folder) in part for part in said) else []
        except psutil.Error:
            continue
    return found
