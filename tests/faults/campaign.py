"""Many jobs, many faults, one question: was anything lost, done twice, or left behind?

``python -m tests.faults.campaign`` starts a farm of real processes and servers, sends it jobs of which it knows
beforehand how they must end, and meanwhile kills, freezes, cuts and doubles what there is to. Then it compares.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .campaign_report import figures, show
from .campaign_run import Campaign, Watcher, run
from .campaign_stage import Size

USUAL, USUAL_SIZE = Campaign(), Size()


class Screen(Watcher):
    """A progress bar on a terminal, and a log of what happens if that is asked for."""

    def __init__(self, progress: Progress, campaign: Campaign, *, verbose: bool) -> None:
        self._progress = progress
        self._verbose = verbose
        self._jobs = progress.add_task("jobs", total=campaign.jobs)
        self._faults = progress.add_task("faults", total=campaign.faults)

    def say(self, text: str) -> None:
        if self._verbose:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def went_on(self, ended: int, struck: int) -> None:
        self._progress.update(self._jobs, completed=ended)
        self._progress.update(self._faults, completed=struck)


@click.command()
@click.option(
    "--jobs", default=USUAL.jobs, show_default=True, help="How many jobs, of four nodes on average."
)
@click.option("--faults", default=USUAL.faults, show_default=True, help="How many faults.")
@click.option("--seed", default=USUAL.seed, show_default=True, help="Of the jobs and the faults.")
@click.option("--at-once", default=USUAL.at_once, show_default=True, help="Most jobs open at a time.")
@click.option("--lease", default=USUAL_SIZE.lease, show_default=True, help="Seconds.")
@click.option("--workers", default=USUAL_SIZE.workers, show_default=True, help="Worker commands.")
@click.option("--processes", default=USUAL_SIZE.processes, show_default=True, help="Of all of them.")
@click.option("--threads", default=USUAL_SIZE.threads, show_default=True, help="Of each process.")
@click.option(
    "--deadly/--no-deadly", default=USUAL.deadly, show_default=True,
    help="Whether there are tasks that hang, exit or kill their process.",
)  # fmt: skip
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Keep logs and data here.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write figures.")
@click.option("--verbose", is_flag=True, help="Print every fault when it happens.")
def main(
    jobs: int,
    faults: int,
    seed: int,
    at_once: int,
    lease: float,
    workers: int,
    processes: int,
    threads: int,
    deadly: bool,
    folder: Path | None,
    json_file: Path | None,
    verbose: bool,
) -> None:
    """Let faults befall a farm at work, and see that nothing is lost, done twice or left behind.

    Exits with 1 if anything was, with 130 when interrupted; no process is left.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    errors = Console(stderr=True)
    size = Size(workers, processes, threads, lease)
    campaign = Campaign(jobs, faults, seed, at_once, deadly, size)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    try:
        with TemporaryDirectory(prefix="farm-campaign-") as temporary:
            place = Path(temporary) if folder is None else folder
            place.mkdir(parents=True, exist_ok=True)
            # Where there is no terminal there is no bar, but what is said is said.
            with Progress(*columns, console=errors) as progress:
                result = run(campaign, place, Screen(progress, campaign, verbose=verbose))
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(130)
    show(result, Console() if sys.stdout.isatty() else Console(width=150))
    if json_file is not None:
        json_file.write_text(json.dumps(figures(result), indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if result.violations else 0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(prog_name="python -m tests.faults.campaign")
