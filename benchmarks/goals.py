"""What the farm is to reach, held against what was measured. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .figures import Figure

Look = Callable[[str, str], Figure]


@dataclass(frozen=True, slots=True)
class Judged:
    """A goal and what was seen.

    Attributes:
        wanted: As people write it: ``<= 3`` or ``>= 2``.
    """

    what: str
    wanted: str
    seen: float

    @property
    def met(self) -> bool:
        relation, bound = self.wanted.split()
        return self.seen <= float(bound) if relation == "<=" else self.seen >= float(bound)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def judge(figures: Sequence[Figure]) -> list[Judged]:
    """Every goal whose figures were measured."""
    known = {(figure.benchmark, figure.name): figure for figure in figures}
    found: list[Judged] = []
    for goal in _GOALS:
        try:
            found += goal(lambda benchmark, name: known[benchmark, name])
        except KeyError:
            continue
    return [*found, *_growth(known)]


def _pickup(of: Look) -> Iterator[Judged]:
    ours = of("pickup", "mark")
    yield Judged("idle pick-up, p50, ms", "<= 3", ours.median)
    yield Judged("idle pick-up, p99, ms", "<= 6", ours.p99 or max(ours.values))


def _pickup_ratio(of: Look) -> Iterator[Judged]:
    yield Judged(
        "idle pick-up: Celery's p50 to ours",
        ">= 1",
        of("celery", "pickup").median / of("pickup", "mark").median,
    )


def _idle(of: Look) -> Iterator[Judged]:
    yield Judged("commands a second, idle ingestor", "<= 3", of("idle", "ingestor").median)
    yield Judged("commands a second, idle worker", "<= 3", of("idle", "worker").median)


def _hop(of: Look) -> Iterator[Judged]:
    yield Judged("chain hop, ms a node", "<= 2", of("chain", "hop").median)


def _hop_celery(of: Look) -> Iterator[Judged]:
    yield Judged(
        "chain hop: Celery's to ours", ">= 2", of("celery", "hop").median / of("chain", "hop").median
    )


def _hop_stock(of: Look) -> Iterator[Judged]:
    yield Judged(
        "chain hop: stock Dramatiq's to ours", ">= 4", of("stock", "hop").median / of("chain", "hop").median
    )


def _rate_celery(of: Look) -> Iterator[Judged]:
    ratio = of("throughput", "fan_2").median / of("celery", "messages_2").median
    yield Judged("nodes a second, two workers: ours to Celery's bare tasks", ">= 2", ratio)


def _rate_stock(of: Look) -> Iterator[Judged]:
    ratio = of("throughput", "fan_2").median / of("stock", "messages_2").median
    yield Judged("nodes a second, two workers: ours to stock Dramatiq's bare messages", ">= 2", ratio)


def _gap(of: Look) -> Iterator[Judged]:
    gaps = of("gap", "busy")
    yield Judged("device idle between two tasks, p50, ms", "<= 3", gaps.median)
    yield Judged("device idle between two tasks, p99, ms", "<= 10", gaps.p99 or max(gaps.values))


def _staging(of: Look) -> Iterator[Judged]:
    yield Judged(
        "device busy with a backlog that fetches and uploads, %", ">= 95", of("staging", "busy_2").median
    )


def _affinity(of: Look) -> Iterator[Judged]:
    told = "three models in random order, {} to that of first come, first served"
    yield Judged(told.format("total time"), "<= 0.5", of("affinity", "total_ratio").median)
    yield Judged(told.format("longest wait"), "<= 3", of("affinity", "wait_ratio").median)


def _transfers(of: Look) -> Iterator[Judged]:
    for way, told in (
        ("download", "download"),
        ("verified_upload", "upload of what the truth gate has seen"),
        ("upload", "upload of anything else"),
    ):
        yield Judged(f"{told}, % of a plain client's rate", ">= 80", of("transfers", f"{way}_share").median)


def _reuse(of: Look) -> Iterator[Judged]:
    yield Judged(
        "time of the device for a job that is repeated, ms", "<= 0", of("reuse", "device_again").median
    )


def _upscaling(of: Look) -> Iterator[Judged]:
    for name, wanted in (("memory", "<= 1.15"), ("pace", "<= 1.05")):
        what = {"memory": "peak memory", "pace": "time a frame"}[name]
        ratio = of("upscaling", f"{name}_ratio_preview").median
        yield Judged(f"upscaling, {what}: a long video to a short one", wanted, ratio)


def _ingest(of: Look) -> Iterator[Judged]:
    yield Judged("graph of 10,000 nodes taken in, s", "<= 1", of("growth", "ingest").median)


def _outputs(of: Look) -> Iterator[Judged]:
    yield Judged("bytes to Redis per byte of outputs", "<= 3", of("outputs", "bytes").median)


def _admission(of: Look) -> Iterator[Judged]:
    yield Judged("single-node jobs admitted a second", ">= 2000", of("admission", "jobs").median)
    # The first rounds may still fill what Python keeps.
    yield Judged("ingestor's memory grows by, a round, MB", "<= 1", of("admission", "memory").values[-1])


def _startup(of: Look) -> Iterator[Judged]:
    for name in ("cli", "ingestor"):
        yield Judged(f"import of the {name}, s", "<= 0.5", of("startup", name).median)


def _growth(known: dict[tuple[str, str], Figure]) -> Iterator[Judged]:
    """The largest graph of each shape beside the smallest."""
    sizes: dict[tuple[str, str], list[int]] = {}
    for benchmark, name in known:
        if benchmark == "growth" and name.count("_") == 2:
            kind, shape, size = name.split("_")
            sizes.setdefault((kind, shape), []).append(int(size))
    for (kind, shape), measured in sizes.items():
        small, large = (known["growth", f"{kind}_{shape}_{size}"] for size in (min(measured), max(measured)))
        what = "time" if kind == "time" else "Redis bytes"
        told = f"{what} a node, {shape}: {max(measured):,} nodes to {min(measured):,}"
        yield Judged(told, "<= 1.3", large.median / small.median)


_GOALS: tuple[Callable[[Look], Iterator[Judged]], ...] = (
    _pickup, _pickup_ratio, _idle, _hop, _hop_celery, _hop_stock, _rate_celery, _rate_stock, _gap, _staging,
    _affinity, _reuse, _ingest, _outputs, _admission, _startup, _transfers, _upscaling,
)  # fmt: skip
