"""What a campaign plans and foretells follows from its seed, and agrees with the farm's own model."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from typing import Any

import pytest

from myspinbot_worker.graph.document import Document
from myspinbot_worker.graph.machine import Run
from myspinbot_worker.graph.plan import State, make_plan

from .campaign_expected import advance, expect
from .campaign_faults import DEADLY, FREEZES, SHARES, Kind, plan_faults, shared_out
from .campaign_jobs import SHAPES, Job, plan_jobs
from .campaign_values import artifacts, canonical, content_of, digest, output_of

STATUS = {State.COMPLETED: "completed", State.FAILED: "failed", State.SKIPPED: "skipped"}
JOBS = list(plan_jobs(7, 300, deadly=True))


def test_the_same_seed_plans_the_same() -> None:
    again = list(plan_jobs(7, 300, deadly=True))
    assert again == JOBS
    assert list(plan_jobs(8, 300, deadly=True)) != JOBS
    assert plan_faults(7, 40, 500, 3.0, deadly=True) == plan_faults(7, 40, 500, 3.0, deadly=True)
    assert plan_faults(8, 40, 500, 3.0, deadly=True) != plan_faults(7, 40, 500, 3.0, deadly=True)


def test_jobs_are_as_large_and_as_mixed_as_they_should() -> None:
    assert 3.5 < sum(len(job.order) for job in JOBS) / len(JOBS) < 4.5
    assert len({job.shape for job in JOBS}) == len(SHAPES)
    endings = Counter(visit.verdict for job in JOBS for visit in expect(job).visits)
    assert set(endings) == {"completed", "completed_with_skips", "failed", "hand_back"}
    assert max(len(expect(job).visits) for job in JOBS) >= 3
    services = Counter(node["service"] for job in JOBS for node in job.document["nodes"])
    assert {"campaign.die", "campaign.hang", "campaign.keep", "campaign.fetch"} <= set(services)
    tame = [node["service"] for job in plan_jobs(7, 300, deadly=False) for node in job.document["nodes"]]
    assert not {"campaign.die", "campaign.hang"} & set(tame)


@pytest.mark.parametrize("order", range(3))
def test_what_is_foretold_is_what_the_model_does(order: int) -> None:
    """Whatever the order in which nodes run, the states, inputs and visits are the ones foretold."""
    chance = random.Random(order)
    for job in JOBS:
        expected = expect(job)
        document: dict[str, Any] | None = copy.deepcopy(job.document)
        for visit in expected.visits:
            assert document is not None, job.id
            assert _play_visit(job, document, chance) == visit.verdict, job.id
            if visit.handed_back:
                document = advance(document)
        ended = document or {"nodes": []}
        for node in ended["nodes"]:
            assert node["status"] == expected.nodes[node["id"]].status, job.id
            assert canonical(node.get("output")) == expected.nodes[node["id"]].output, job.id


def _play_visit(job: Job, document: dict[str, Any], chance: random.Random) -> str:
    """Run a visit on the farm's model, and write into the document what the farm would."""
    expected = expect(job)
    run = Run.admit(make_plan(Document.parse(json.dumps(document))))
    nodes = document["nodes"]
    while not run.over:
        index = chance.choice([i for i, node in enumerate(run.nodes) if node.state is State.READY])
        foretold = expected.nodes[nodes[index]["id"]]
        assert run.claim(index, run.nodes[index].token + 1, 0, 1) == "ok"
        state = State.COMPLETED if foretold.status == "completed" else State.FAILED
        run.settle(index, run.nodes[index].token, state)
        given: dict[str, Any] = dict(nodes[index].get("input") or {})
        for edge in document["edges"]:
            if edge["to"] == nodes[index]["id"]:
                source = next(node for node in nodes if node["id"] == edge["from"])
                given |= source.get("output") or {}
        assert digest(given) == foretold.digest
        if foretold.output is not None:
            nodes[index]["output"] = foretold.output
    for node, state in zip(nodes, run.states, strict=True):
        node["status"] = STATUS.get(state, node["status"])
    return run.verdict.value


def test_the_control_plane_runs_its_nodes_and_counts_visits() -> None:
    document = {
        "nodes": [
            {"id": "a", "plane": "python", "status": "completed", "output": {"a": 1, "last": "a"}},
            {"id": "c", "plane": "node", "status": "pending", "params": {"salt": "s"}, "input": {"own": 1}},
            {"id": "d", "plane": "node", "status": "pending", "params": {"salt": "t"}},
            {"id": "b", "plane": "python", "status": "pending"},
        ],
        "edges": [{"from": "a", "to": "c"}, {"from": "c", "to": "d"}, {"from": "d", "to": "b"}],
        "context": {"visit": 0},
    }
    sent = advance(document)
    assert sent is not None
    assert [node["status"] for node in sent["nodes"]] == ["completed", "completed", "completed", "pending"]
    assert sent["nodes"][1]["input"] == {"own": 1, "a": 1, "last": "a"}
    assert sent["context"] == {"visit": 1}
    sent["nodes"][3]["status"] = "completed"
    assert advance(sent) is None


def test_faults_are_shared_out() -> None:
    everything = list(SHARES)
    assert sum(SHARES.values()) == 100
    assert Counter(shared_out(100, everything)) == SHARES
    assert set(shared_out(len(everything), everything)) == set(everything)
    assert len(shared_out(4, everything)) == 4
    tame = {fault.kind for fault in plan_faults(1, 200, 100, 3.0, deadly=False)}
    assert tame == set(Kind) - DEADLY


def test_faults_come_in_time_and_freeze_for_longer_than_a_lease() -> None:
    faults = plan_faults(1, 200, 1000, 3.0, deadly=True)
    moments = [fault.after for fault in faults]
    assert moments == sorted(moments)
    assert 0 <= moments[0] < 50
    assert 850 < moments[-1] < 900
    assert all(fault.seconds > 3.0 for fault in faults if fault.kind in FREEZES)


def test_values_do_not_depend_on_the_attempt() -> None:
    first = {
        "bucket": "staged",
        "key": "j/a/1-0/1/x",
        "size_bytes": 3,
        "created_at": "1",
        "content_type": None,
    }
    second = {**first, "key": "j/a/1-0/2/x", "created_at": "2"}
    assert digest({"artifact_a": first, "list": [first]}) == digest({"artifact_a": second, "list": [second]})
    assert digest({"artifact_a": first}) != digest({"artifact_a": {**first, "size_bytes": 4}})
    assert artifacts({"x": [{"y": first}], "z": 1}) == [first]
    assert output_of("a", "s", {"x": 1}) != output_of("a", "s", {"x": 2})
    assert output_of("a", "s", None) == output_of("a", "s", {})
    assert len(content_of("j", "a", 70)) == 70
    assert content_of("j", "a", 70) != content_of("j", "b", 70)
