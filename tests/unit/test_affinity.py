"""Taking warm work first: what it saves, and whom it lets wait."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from myspinbot_worker.graph.affinity import HEAD_ONLY, Bounds, choose

WIDE = Bounds(window=32, longest_ms=60_000)


@pytest.mark.parametrize(
    ("services", "passed", "passed_ms", "place"),
    [
        ("bbab", 0, 0, 2),
        ("abab", 0, 0, 0),
        ("bbbb", 0, 0, 0),
        ("", 0, 0, 0),
        ("b" * 31 + "a", 0, 0, 31),
        ("b" * 32 + "a", 0, 0, 0),
        ("bbab", 31, 59_999, 2),
        ("bbab", 32, 0, 0),
        ("bbab", 1, 60_000, 0),
    ],
)
def test_the_choice(services: str, passed: int, passed_ms: int, place: int) -> None:
    assert choose(services, "a", passed, passed_ms, WIDE) == place


@dataclass(frozen=True)
class Day:
    """How a simulated backlog was worked off: seconds until all was done, and the longest wait."""

    total: float
    longest: float


def work_off(
    arrivals: list[tuple[float, str]], workers: int, load: float, compute: float, bounds: Bounds
) -> Day:
    """A discrete-event simulation: whoever is free first takes next."""
    coming = sorted(arrivals)
    queue: list[tuple[float, str]] = []
    free = [(0.0, number) for number in range(workers)]
    warm = [""] * workers
    head: tuple[float, str] | None = None
    passed, since, longest, total = 0, 0.0, 0.0, 0.0
    while coming or queue:
        now, worker = min(free)
        if not queue and coming and coming[0][0] > now:
            now = coming[0][0]
        while coming and coming[0][0] <= now:
            queue.append(coming.pop(0))
        if queue[0] is not head:
            head, passed, since = queue[0], 0, now
        services = [service for _, service in queue]
        place = choose(services, warm[worker], passed, round((now - since) * 1000), bounds)
        if place:
            since, passed = (since if passed else now), passed + 1
        came, service = queue.pop(place)
        longest = max(longest, now - came)
        end = now + compute + (load if warm[worker] != service else 0.0)
        warm[worker], total = service, max(total, end)
        free[free.index(min(free))] = (end, worker)
    return Day(total, longest)


@pytest.mark.parametrize("seed", range(20))
def test_a_backlog_of_three_models_takes_less_than_half_the_time(seed: int) -> None:
    draw = random.Random(seed)
    arrivals = [(number * 1e-6, draw.choice("abc")) for number in range(120)]
    first_come = work_off(arrivals, 2, 1.0, 0.3, HEAD_ONLY)
    affine = work_off(arrivals, 2, 1.0, 0.3, WIDE)
    assert affine.total <= 0.5 * first_come.total
    assert affine.longest <= 3 * first_come.longest


@pytest.mark.parametrize("seed", range(20))
def test_a_steady_stream_lets_nobody_starve(seed: int) -> None:
    """Nine in ten want one model, more than one worker can do: the rare one is still served."""
    draw = random.Random(seed)
    arrivals = [(number * 0.25, "a" if draw.random() < 0.9 else "b") for number in range(400)]
    first_come = work_off(arrivals, 1, 1.0, 0.3, HEAD_ONLY)
    affine = work_off(arrivals, 1, 1.0, 0.3, WIDE)
    assert affine.longest <= 3 * first_come.longest
