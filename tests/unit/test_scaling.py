"""The simulation of large farms agrees with what can be reckoned by hand."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks.scaling import Costs, advice, background, ceiling, main, read_costs, simulate

PLAIN = Costs(task=1.0, overhead=0.0, redis=0.001, renewals=0.0)


def repairmen(machines: int, think: float, service: float) -> float:
    """Throughput of the machine-repairman model (M/M/1//N): exponential work, one exponential server."""
    ratio, terms = service / think, [1.0]
    for number in range(machines):
        terms.append(terms[-1] * (machines - number) * ratio)
    return (1 - 1 / sum(terms)) / service


@pytest.mark.parametrize("gpus", [1, 10, 100])
def test_far_below_saturation_nobody_waits(gpus: int) -> None:
    costs = Costs(task=10.0, overhead=0.5, redis=0.0001, renewals=0.0)
    seen = simulate(gpus, 1, costs, nodes=2000, spread="fixed")
    assert seen.rate == pytest.approx(gpus / 10.5001, rel=0.03)
    assert seen.gpu == pytest.approx(10 / 10.5001, rel=0.03)
    assert seen.redis == pytest.approx(seen.rate * costs.redis, rel=0.03)


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_far_above_saturation_redis_sets_the_pace(shards: int) -> None:
    seen = simulate(8000, shards, PLAIN, nodes=40_000, spread="fixed")
    assert seen.rate == pytest.approx(shards / PLAIN.redis, rel=0.02)
    assert seen.redis == pytest.approx(1.0, abs=0.02)
    assert seen.gpu == pytest.approx(seen.rate * PLAIN.task / 8000, rel=0.1)


@pytest.mark.parametrize(("gpus", "redis"), [(10, 0.02), (10, 0.1), (50, 0.02), (50, 0.03)])
def test_in_between_it_is_the_machine_repairman(gpus: int, redis: float) -> None:
    costs = Costs(task=1.0, overhead=0.0, redis=redis, renewals=0.0)
    seen = simulate(gpus, 1, costs, nodes=60_000)
    assert seen.rate == pytest.approx(repairmen(gpus, 1.0, redis), rel=0.02)
    # Little's law: every GPU computes, waits or is served.
    assert seen.rate * (1.0 + redis + seen.wait) == pytest.approx(gpus, rel=0.03)


def test_renewals_take_their_share_of_redis() -> None:
    costs = Costs(task=1.0, overhead=0.0, redis=0.001, renewal=0.0001, renewals=5.0)
    assert background(1000, costs) == pytest.approx(0.5)
    assert ceiling(1, 1000, costs) == pytest.approx(500)
    seen = simulate(1000, 1, costs, nodes=20_000, spread="fixed")
    assert seen.rate == pytest.approx(500, rel=0.03)
    assert seen.redis == pytest.approx(1.0, abs=0.02)


def test_the_advice_is_enough() -> None:
    costs = Costs(task=0.1, redis=0.001, renewals=0.0, overhead=0.0)
    tight = simulate(1000, 1, costs)
    said = advice(tight, 1000, 1, costs)
    assert said.startswith("split over ")
    servers = int(said.split()[2])
    assert advice(simulate(1000, servers, costs), 1000, servers, costs) != said
    assert simulate(1000, servers, costs).gpu > 0.95


def test_costs_are_read_from_a_report(tmp_path: Path) -> None:
    figures = [
        ("redis", "us_node", 500.0),
        ("redis", "us_renewal", 20.0),
        ("chain", "hop", 3.0),
        ("idle", "x", 1.0),
    ]
    file = tmp_path / "figures.json"
    file.write_text(
        json.dumps({"figures": [{"benchmark": b, "name": n, "median": m} for b, n, m in figures]})
    )
    costs = read_costs(file, Costs(task=7.0))
    assert (costs.task, costs.redis, costs.renewal, costs.overhead) == pytest.approx((7.0, 5e-4, 2e-5, 3e-3))
    file.write_text("[]")
    with pytest.raises(click.BadParameter, match="no report"):
        read_costs(file, Costs(task=7.0))


def test_the_command_prints_a_line_for_each_farm() -> None:
    done = CliRunner().invoke(main, ["--task", "0.05", "--gpus", "10", "--gpus", "1000", "--nodes", "500"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[1].split()[:3] == ["0.05", "10", "1"]
    assert "split over" in done.output
    assert CliRunner().invoke(main, ["--task", "0"]).exit_code == 2
