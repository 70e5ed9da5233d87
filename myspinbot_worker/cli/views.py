"""How a followed job is shown: bars on a terminal, lines into a pipe, JSON lines for programs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Self

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..job_state import Concluded, JobState, NodeState, count_states
from .output import COLOURS, clean, duration, percent, print_line
from .records import concluded_record, node_record

_PRECEDENCE = ("running", "failed", "ready", "waiting", "skipped", "completed")
"""Which nodes are shown first where not all fit."""
_LONGEST_DATA = 200


class JobView:
    """Live bars, one for the job and one for each node of ours. A :class:`.following.View`.

    One view may be told of several visits of a job, one after the other: they are counted.

    Args:
        title: What to call the job; its id by default.
    """

    def __init__(self, console: Console, title: str = "") -> None:
        self.console = console
        self.title = title
        self.visit = 1
        self._job: JobState | None = None
        self._status = ""
        self._data = ""
        self._trouble = ""
        self._over = False
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def message(self, kind: str, value: Any, created: str) -> None:
        if kind == "status":
            self._status = str(value)
        elif kind == "data":
            self._data = shortened(value)
        self._draw()

    def state(self, job: JobState) -> None:
        if self._over and job.phase != "ended":
            self.visit, self._over = self.visit + 1, False
            self._status = self._data = ""
        self._job = job
        self._draw()

    def ended(self, visit: Concluded) -> None:
        self._over = True
        self._status = visit.verdict
        self._draw()

    def trouble(self, what: str) -> None:
        self._trouble = what
        self._draw()

    def _draw(self) -> None:
        if self._job is None:
            return
        rows = max(3, self.console.height - 7)
        parts: list[RenderableType] = [
            render_job(
                self._job,
                title=self.title,
                visit=self.visit,
                status=self._status,
                rows=rows,
                now_ms=round(time.time() * 1000),
            )
        ]
        if self._data and not self._over:
            parts.append(Text(f"data: {self._data}", style="dim", no_wrap=True, overflow="ellipsis"))
        if self._trouble:
            parts.append(Text(f"Redis is away: {clean(self._trouble)}", style="yellow"))
        self._live.update(Group(*parts), refresh=True)


def render_job(
    job: JobState, *, title: str = "", visit: int = 1, status: str = "", rows: int = 20, now_ms: int = 0
) -> RenderableType:
    """The job as bars.

    Args:
        status: What was last heard of the job; its phase by default.
        rows: Most nodes to show; the rest is counted.
        now_ms: The present, since the epoch.
    """
    ours = [node for node in job.nodes if node.ours]
    shown = most_telling(ours, rows)
    table = Table.grid(padding=(0, 1))
    for style, fixed in (("bold", False), ("dim", False), ("", True), ("", True), ("", True), ("dim", False)):
        # Where the terminal is narrow, names and remarks give way, never numbers.
        table.add_column(style=style, no_wrap=fixed)
    told = job.last.verdict if job.last else status or job.phase
    whole = 1.0 if told.startswith("completed") else job.progress or 0.0
    table.add_row(_cell("job"), "", _state_text(told), _bar(whole, told), percent(whole), "")
    for node in shown:
        table.add_row(
            _cell(f"  {clean(node.id)}"),
            _cell(clean(node.service)),
            _state_text(node.state),
            _bar(node.fraction if node.state != "skipped" else 0.0, node.state),
            percent(node.fraction) if node.state in ("running", "completed") else "",
            _cell(_remark(node, now_ms)),
        )
    label = clean(title or job.job) + (f", visit {visit}" if visit > 1 else "")
    parts: list[RenderableType] = [Text(label, style="bold"), table]
    if hidden := len(ours) - len(shown):
        counts = ", ".join(f"{count} {state}" for state, count in sorted(count_states(ours).items()))
        parts.append(Text(f"  … and {hidden} more; of all {len(ours)}: {counts}", style="dim"))
    return Group(*parts)


def _cell(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def most_telling(nodes: Sequence[NodeState], most: int) -> list[NodeState]:
    """At most ``most`` of the nodes, the active ones first chosen, in graph order."""
    if len(nodes) <= most:
        return list(nodes)
    rank = {state: place for place, state in enumerate(_PRECEDENCE)}
    chosen = sorted(nodes, key=lambda node: (rank.get(node.state, len(rank)), node.index))[:most]
    return sorted(chosen, key=lambda node: node.index)


def _bar(fraction: float, state: str) -> ProgressBar:
    done = "red" if state in ("failed", "rejected") else "yellow" if state == "cancelled" else "green"
    return ProgressBar(total=1.0, completed=fraction, width=24, complete_style="cyan", finished_style=done)


def _state_text(state: str) -> Text:
    return Text(state.replace("_", " "), style=COLOURS.get(state, ""))


def _remark(node: NodeState, now_ms: int) -> str:
    parts = []
    if node.attempts > 1:
        parts.append(f"attempt {node.attempts}")
    if node.state == "running":
        if node.worker:
            parts.append(clean(node.worker))
        if node.started_ms is not None:
            parts.append(duration((now_ms - node.started_ms) / 1000))
    elif node.error:
        parts.append(error_text(node))
    return ", ".join(parts)


def error_text(node: NodeState) -> str:
    """A node's error on one line."""
    if not node.error:
        return ""
    return clean(f"{node.error.get('code', 'unknown')}: {node.error.get('message', '')}")


def shortened(value: Any) -> str:
    """A data message's value, short enough for one line."""
    text = clean(str(value))
    return text if len(text) <= _LONGEST_DATA else text[: _LONGEST_DATA - 1] + "…"


class _Changes:
    """Which nodes differ from the last time they were seen."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, ...]] = {}

    def of(self, job: JobState, *fields: str) -> list[NodeState]:
        changed = []
        for node in job.nodes:
            now = tuple(getattr(node, field) for field in fields)
            if node.ours and self._seen.get(node.index) != now:
                self._seen[node.index] = now
                changed.append(node)
        return changed


class PlainView:
    """A line for everything that changed. A :class:`.following.View`.

    Args:
        err: Write to stderr, where stdout is for a result.
    """

    def __init__(self, *, err: bool = False) -> None:
        self._err = err
        self._changes = _Changes()
        self._percent = 0
        self._phase = ""

    def message(self, kind: str, value: Any, created: str) -> None:
        if kind == "status":
            self._say(f"status: {clean(str(value))}")
        elif kind == "data":
            self._say(f"data: {shortened(value)}")

    def state(self, job: JobState) -> None:
        if job.phase != self._phase:
            self._phase = job.phase
            if job.phase in ("waiting", "elsewhere"):
                self._say("not taken up by the farm yet" if job.phase == "waiting" else "not in the farm now")
        for node in self._changes.of(job, "state"):
            if node.state != "waiting":
                remark = _remark(node, round(time.time() * 1000))
                self._say(f"{clean(node.id)}: {node.state}" + (f" ({remark})" if remark else ""))
        reached = int((job.progress or 0.0) * 100)
        if job.phase == "open" and (reached >= self._percent + 5 or (reached == 100 > self._percent)):
            self._percent = reached
            self._say(f"progress: {reached} %")

    def ended(self, visit: Concluded) -> None:
        self._say(ending_text(visit))

    def trouble(self, what: str) -> None:
        self._say(f"Redis is away: {clean(what)}" if what else "Redis is back")

    def _say(self, line: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=self._err)


class JsonView:
    """One JSON object a line. A :class:`.following.View`."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._changes = _Changes()

    def message(self, kind: str, value: Any, created: str) -> None:
        print_line({"event": kind, "jobId": self._job, kind: value, "created": created})

    def state(self, job: JobState) -> None:
        for node in self._changes.of(job, "state", "fraction", "attempts", "worker"):
            print_line({"event": "node", "jobId": self._job, **node_record(node)})

    def ended(self, visit: Concluded) -> None:
        print_line({"event": "ended", "successful": visit.successful, **concluded_record(visit)})

    def trouble(self, what: str) -> None:
        print_line({"event": "redis", "jobId": self._job, "reachable": not what, "reason": what})


def ending_text(visit: Concluded) -> str:
    """How a visit ended, on one line."""
    words = {
        "hand_back": "handed back to the control plane",
        "completed": "completed",
        "completed_with_skips": "completed; some nodes were skipped",
        "failed": "failed",
        "cancelled": "cancelled",
        "rejected": "rejected",
    }
    reason = f": {clean(visit.reason)}" if visit.reason and visit.reason != visit.verdict else ""
    return words.get(visit.verdict, clean(visit.verdict)) + reason
