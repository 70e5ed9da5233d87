"""What was done although its answer never came: nothing of a recorded result may be undone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from myspinbot_worker.admission import Admission, read_entry
from myspinbot_worker.attempt import Outcome
from myspinbot_worker.completion import Completion
from myspinbot_worker.config import load_settings
from myspinbot_worker.farm import Farm as FarmParts
from myspinbot_worker.graph.ending import Handoff, end_visit
from myspinbot_worker.graph.plan import State
from myspinbot_worker.graph.transitions import Claim
from myspinbot_worker.janitor import Janitor
from myspinbot_worker.keys import NodeRef
from myspinbot_worker.metrics import WorkerMetrics, new_registry
from myspinbot_worker.reports import Reports
from myspinbot_worker.runner_pool import RunnerPool
from myspinbot_worker.running import Running
from myspinbot_worker.task import Task
from tests.unit.inline_lanes import InlineLane

from .harness import graph, node


class Once:
    """A call that is carried out, and whose answer is lost the first time."""

    def __init__(self, real: Callable[..., Any], meanwhile: Callable[[], Any] = lambda: None) -> None:
        self._real = real
        self._meanwhile = meanwhile
        self.calls = 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        answer = self._real(*args, **options)
        self.calls += 1
        if self.calls == 1:
            self._meanwhile()
            raise redis.ConnectionError("the answer is lost")
        return answer


class Visit:
    """One node of one job, claimed by a worker that lives in this process."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.farm = FarmParts(load_settings(env))
        self.store = self.farm.store
        document = graph([node("a", "dummy.dummy_task")])
        self.job = document["workflowId"]
        self.farm.bridge.ensure_group()
        self.farm.bridge.submit(self.job, json.dumps(document))
        (self.entry,) = self.farm.bridge.read("test", 1, 1)
        self.admit(read_entry(self.entry.id, self.entry.fields))
        claim = self.store.claim(NodeRef(self.entry.id, 0, self.job), 1, "worker")
        assert isinstance(claim, Claim)
        self.claim = claim
        self.completion = Completion(self.farm, WorkerMetrics(new_registry()), RunnerPool)
        self.completion._dispatcher = self.farm.dispatcher()
        lane = InlineLane(self.farm.registry, self.farm.storage)
        self.task = Task(claim, folder, self.farm.storage, lane, engines=_none)
        reports = Reports(self.farm, self.completion.metrics, claim)
        reports.uploaded = True
        self.running = Running(claim, None, folder, reports, why_not=None, since=0.0, held=ExitStack())
        (folder / "film.mp4").write_bytes(b"film")
        self.film = self.task.keep(folder / "film.mp4", bucket="output")

    def admit(self, admission: Admission) -> None:
        outcome, _ = self.store.admit(
            self.entry.id, admission.document, admission.plan, "1", admission.fingerprint, keep_going=False
        )
        assert outcome == "ok"

    def record(self, kind: Any = "completed") -> None:
        text = json.dumps({"videoArtifact": self.film.model_dump()} if kind == "completed" else {"code": "x"})
        self.completion._record(self.running, Outcome(kind, text))

    def is_there(self) -> bool:
        return self.film.key in self.farm.storage.list_keys("output", self.job)


def _none() -> Any:
    raise AssertionError("no engine is needed")


@pytest.fixture
def visit(farm_env: dict[str, str], tmp_path: Path) -> Visit:
    (tmp_path / "task").mkdir()
    return Visit(farm_env, tmp_path / "task")


def test_the_answer_of_conclude(visit: Visit) -> None:
    visit.store.conclude = Once(visit.store.conclude)  # type: ignore[method-assign]
    visit.record()
    assert visit.film.key.encode() in (visit.farm.bridge.snapshot(visit.job) or b"")
    assert visit.is_there()


def test_the_answer_of_settle_and_another_concludes_first(visit: Visit) -> None:
    def reconciler() -> None:
        assert visit.farm.dispatcher().conclude(visit.job)

    visit.store.settle = Once(visit.store.settle, reconciler)  # type: ignore[method-assign]
    visit.record()
    assert visit.is_there(), "the run is gone, but it ended with this very result"


def test_a_result_nobody_recorded_leaves_no_object(visit: Visit) -> None:
    """The lease was lost, another start completed the node, the run ended."""
    visit.store.client.hset(visit.store.keys.run(visit.job), "l:0", 0)
    other = visit.store.claim(visit.claim.ref, 1, "another worker")
    assert isinstance(other, Claim)
    visit.store.settle(other.ref, other.token, State.COMPLETED, "{}")
    assert visit.farm.dispatcher().conclude(visit.job)
    visit.record()
    assert not visit.is_there()


def test_a_failed_attempt_leaves_no_object_even_if_the_answer_is_lost(visit: Visit) -> None:
    """The end of the visit notes what may be left, and an ingestor looks through it."""
    visit.store.settle = Once(visit.store.settle)  # type: ignore[method-assign]
    visit.record("failed")
    assert visit.is_there()
    ((member, due),) = visit.store.client.zrange(visit.store.keys.litter, 0, -1, withscores=True)
    assert due > visit.store.now_ms(), "a start that is away may yet upload"
    janitor = Janitor(visit.farm, threading.Event())
    janitor.look()
    assert visit.is_there()
    visit.store.client.zadd(visit.store.keys.litter, {member: 1})
    janitor.look()
    assert not visit.is_there()
    assert not visit.store.client.exists(visit.store.keys.litter)


def test_a_double_of_the_first_visit_that_comes_after_the_second(text_client: Any) -> None:
    """Its reader was slow, or died; the job has been on from there, and must not go back."""
    from myspinbot_worker.graph.messages import Messages
    from myspinbot_worker.graph.store import RunStore

    store = RunStore(text_client, messages=Messages("quiet:progress", "quiet:status", "quiet:data"))
    streams = store.streams
    text_client.xgroup_create(streams.data, streams.group, id="0", mkstream=True)

    def visit_of(first: str, theirs: str, created: str) -> tuple[str, dict[bytes, bytes]]:
        nodes = [
            node("a") | {"status": first}, node("b", "script", "node") | {"status": theirs}, node("c")
        ]  # fmt: skip
        text = json.dumps(graph(nodes, [("a", "b"), ("b", "c")], "job"))
        fields = {"jobId": "job", "created": created, "graph": text}
        entry = text_client.xadd(streams.data, fields)
        text_client.xreadgroup(streams.group, "test", {streams.data: ">"})
        return entry, {name.encode(): value.encode() for name, value in fields.items()}

    def take(entry: str, fields: dict[bytes, bytes]) -> str:
        found = read_entry(entry, fields)
        outcome, _ = store.admit(
            entry, found.document, found.plan, found.created, found.fingerprint, keep_going=False
        )
        return outcome

    def run_and_conclude(entry: str, index: int) -> None:
        store.claim(NodeRef(entry, index, "job"), 1, "worker")
        assert store.settle(NodeRef(entry, index, "job"), 1, State.COMPLETED, "{}").over
        ending = end_visit(
            text_client.get(store.keys.graph("job")),
            text_client.hgetall(store.keys.run("job")),
            text_client.hgetall(store.keys.payload("job")),
            Handoff(),
        )
        assert store.conclude(
            "job", entry, verdict=ending.verdict, graph=ending.graph, hand_back=ending.hand_back,
            last_progress=ending.last_progress, last_status=ending.last_status,
        )  # fmt: skip

    first, double = visit_of("pending", "pending", "1"), visit_of("pending", "pending", "1")
    assert take(*first) == "ok"
    run_and_conclude(first[0], 0)
    second = visit_of("completed", "completed", "2")
    assert take(*second) == "ok"
    assert take(*double) == "busy"
    run_and_conclude(second[0], 2)
    assert take(*double) == "duplicate"
    assert text_client.xlen(streams.control) == 2
