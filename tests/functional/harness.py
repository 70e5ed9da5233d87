"""Real processes of the farm under test, and what a test needs to drive and watch them."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import redis

from myspinbot_worker.config import load_settings
from myspinbot_worker.farm import storage_of
from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.keys import Keys
from myspinbot_worker.litter import BUCKETS
from myspinbot_worker.scratch import sweep

from .processes import PATIENCE, Process


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Poll a condition that no event announces; its first true value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)
    return value


def node(node_id: str, service: str = "test.echo", plane: str = "python", **fields: Any) -> dict[str, Any]:
    return {"id": node_id, "service": service, "plane": plane, "status": "pending", **fields}


def graph(
    nodes: list[dict[str, Any]], edges: Iterable[tuple[str, ...]] = (), job: str | None = None
) -> dict[str, Any]:
    """A graph with a fresh job id; an edge is (source, target) or (source, target, kind)."""
    return {
        "schema": "langgraph.v1",
        "workflowId": job or str(uuid.uuid4()),
        "nodes": nodes,
        "edges": [
            {"from": edge[0], "to": edge[1], **({"kind": edge[2]} if len(edge) > 2 else {})} for edge in edges
        ],
    }


class Farm:
    """A farm under test on one Redis database: starts processes, plays the control plane, checks for leaks."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        # Dead letters may hold bytes that are no text.
        self.client: Any = redis.Redis.from_url(
            env["REDIS_URL"], decode_responses=True, encoding_errors="replace"
        )
        self.keys = Keys(env.get("FARM_NAMESPACE", "farm"))
        self.processes: list[Process] = []
        self.submitted: set[str] = set()
        self.statuses: dict[str, list[str]] = {}
        self.progress: dict[str, list[float]] = {}
        self.data: dict[str, list[str]] = {}
        self.handed_back: dict[str, list[dict[str, Any]]] = {}
        self.raw_hand_backs: dict[str, list[str]] = {}
        self._marks: dict[str, list[str]] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._last_control = "0"
        self._threads = [
            threading.Thread(target=self._listen, name="listener", daemon=True),
            threading.Thread(target=self._take_back, name="control-plane", daemon=True),
        ]
        self._subscribed = threading.Event()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        assert self._subscribed.wait(PATIENCE)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and self.processes:
                self.wait_quiet()
        finally:
            try:
                self.stop_all()
            finally:
                self._stop_listening()
        if kind is None:
            self.check_leaks()
        self.client.close()

    def _stop_listening(self) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    # Processes.

    @staticmethod
    def python() -> list[str]:
        return [sys.executable]

    @staticmethod
    def start_command(*arguments: str) -> list[str]:
        """The command line of ``myspinbot-worker`` with these arguments."""
        return [sys.executable, "-m", "myspinbot_worker", *arguments]

    def start_ingestor(self, **env: str) -> Process:
        process = self.begin_ingestor(**env)
        process.wait_for(r"ingestor .* reads")
        return process

    def begin_ingestor(self, **env: str) -> Process:
        """Start one without waiting until it is up."""
        process = Process("ingestor", self.start_command("ingest"), {**self.env, **env})
        self.processes.append(process)
        return process

    def start_worker(self, *options: str, count: int = 1, threads: int = 1, **env: str) -> Process:
        process = self.begin_worker(*options, count=count, threads=threads, **env)
        process.wait_for("Worker process is ready for action", count)
        return process

    def begin_worker(self, *options: str, count: int = 1, threads: int = 1, **env: str) -> Process:
        """Start one without waiting until it is up."""
        process = Process(
            "worker",
            [
                sys.executable,
                "-m",
                "dramatiq",
                "myspinbot_worker.actors",
                "-p",
                str(count),
                "-t",
                str(threads),
                *options,
            ],
            {**self.env, **env},
        )
        self.processes.append(process)
        return process

    @property
    def scratch_folder(self) -> Path:
        """A folder of this test's."""
        folder = Path(self.env["WORKER_HOME"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def stop_all(self) -> None:
        running = [process for process in self.processes if process.returncode is None]
        for process in running:
            process.signal(signal.SIGCONT)
            if not process.told_to_stop:
                process.signal(signal.SIGTERM)
        for process in running:
            process.stop()
        self.processes.clear()

    # The control plane's part.

    def submit(self, document: dict[str, Any] | str, job: str | None = None) -> str:
        text = document if isinstance(document, str) else json.dumps(document)
        job = job or str(json.loads(text)["workflowId"])
        self.submitted.add(job)
        self.client.xadd(
            "process:data", {"jobId": job, "created": str(time.time_ns() // 10**6), "graph": text}
        )
        return job

    def wait_back(self, job: str, count: int = 1) -> dict[str, Any]:
        """The graph as it came back on ``process:control`` for the ``count``-th time."""
        with self._changed:
            done = self._changed.wait_for(lambda: len(self.handed_back.get(job, ())) >= count, PATIENCE)
        assert done, f"job {job} did not come back: {self.describe(job)}"
        self.sync()
        return self.handed_back[job][count - 1]

    def sync(self) -> None:
        """Until every message published so far has been heard."""
        mark = uuid.uuid4().hex
        self.client.publish(f"channel:mark:{mark}", json.dumps({"jobId": mark, "mark": mark}))
        with self._changed:
            assert self._changed.wait_for(lambda: mark in self._marks, PATIENCE)

    def wait_status(self, job: str, status: str) -> None:
        with self._changed:
            done = self._changed.wait_for(lambda: status in self.statuses.get(job, ()), PATIENCE)
        assert done, f"job {job} never was {status}: {self.describe(job)}"

    def wait_started(self, job: str, node_id: str) -> dict[str, Any]:
        """Wait for a ``test.gate`` (or ``test.hold_gil``) to start; what it said."""
        said = self.client.blpop([f"test:started:{job}:{node_id}"], timeout=int(PATIENCE))
        assert said, f"node {node_id} never started: {self.describe(job)}"
        return dict(json.loads(said[1]))

    def open_gate(self, job: str, node_id: str) -> None:
        self.client.rpush(f"test:open:{job}:{node_id}", "1")

    def snapshot(self, job: str) -> dict[str, Any]:
        """The graph in ``job:<id>``."""
        return dict(json.loads(self.client.hget(f"job:{job}", "graph") or "{}"))

    def dead_letters(self) -> list[dict[str, str]]:
        return [fields for _, fields in self.client.xrange(self.keys.dead)]

    def describe(self, job: str) -> str:
        state = {
            "statuses": self.statuses.get(job),
            "progress": self.progress.get(job),
            "run": self.client.hgetall(self.keys.run(job)),
            "logs": [line for process in self.processes for line in process.lines[-15:]],
        }
        return json.dumps(state, indent=1)

    def _listen(self) -> None:
        with (
            redis.Redis.from_url(self.env["REDIS_URL"], decode_responses=True) as client,
            client.pubsub() as pubsub,
        ):
            while not self._closing.is_set():
                try:
                    pubsub.psubscribe("channel:*")
                    while not self._closing.is_set():
                        self._hear(pubsub.get_message(timeout=0.2))
                except redis.ConnectionError:
                    self._closing.wait(0.05)

    def _hear(self, message: dict[str, Any] | None) -> None:
        if message is None or message["type"] == "psubscribe":
            self._subscribed.set()
            return
        _, kind, job = message["channel"].split(":")
        value = json.loads(message["data"])
        assert value["jobId"] == job
        kept: dict[str, Any] = {
            "status": self.statuses,
            "progress": self.progress,
            "data": self.data,
            "mark": self._marks,
        }
        with self._changed:
            kept[kind].setdefault(job, []).append(value[kind])
            self._changed.notify_all()

    def _take_back(self) -> None:
        with redis.Redis.from_url(self.env["REDIS_URL"], decode_responses=True) as client:
            while not self._closing.is_set():
                try:
                    found = client.xread({"process:control": self._last_control}, block=200)
                except (redis.ConnectionError, redis.ResponseError):
                    self._closing.wait(0.05)
                    continue
                for _, entries in found or []:
                    for entry, fields in entries:
                        self._last_control = entry
                        with self._changed:
                            self.handed_back.setdefault(fields["jobId"], []).append(
                                json.loads(fields["graph"])
                            )
                            self.raw_hand_backs.setdefault(fields["jobId"], []).append(fields["graph"])
                            self._changed.notify_all()

    # What must be true at the end of every test.

    def wait_idle(self) -> None:
        """Until no run is open and no entry is pending."""
        wait_until(lambda: not self.client.exists(self.keys.runs), "all runs concluded")
        wait_until(lambda: self.client.xlen("process:data") == 0, "all entries taken")
        self.sync()

    def wait_quiet(self) -> None:
        """Until Dramatiq holds no message: what a killed worker had in hand comes back after its heartbeat."""
        pattern = re.compile(re.escape(self.keys.broker) + ":(?!__heartbeats__$)")
        wait_until(
            lambda: not [key for key in self.client.scan_iter() if pattern.match(key)], "no message is left"
        )
        if any(process.name == "ingestor" and process.returncode is None for process in self.processes):
            self.wait_clean()

    def wait_clean(self) -> None:
        """Until what attempts without a result left in storage has been looked through."""
        wait_until(lambda: not self.client.exists(self.keys.litter), "no litter is left")

    def check_progress(self) -> None:
        for job, values in self.progress.items():
            assert values == sorted(values), f"progress of {job} fell: {values}"
            assert all(0 <= value <= 1 for value in values)

    def check_books(self) -> None:
        """Every entry that came in was ended by one terminal act, and every run was concluded."""
        books = RunStore(self.client, self.keys).balance()
        if books.added is not None and books.before is not None:
            ended = (books.concluded or 0) + (books.rejected or 0)
            assert (books.unread, books.pending, books.open) == (0, 0, 0), books
            assert books.added - books.before == ended, books
            assert books.admitted == books.concluded, books

    def check_objects(self) -> None:
        """Whatever the jobs of this farm left in storage, a graph of theirs names."""
        if not self.submitted or not self.env.get("MINIO_SECRET_KEY"):
            return
        storage = storage_of(load_settings(self.env))
        graphs = {job: str(self.client.hget(f"job:{job}", "graph")) for job in self.submitted}
        left = [
            f"{bucket}/{key}"
            for bucket in sorted(BUCKETS)
            for key in storage.list_keys(bucket)
            if (job := unquote(key.split("/")[0])) in graphs and json.dumps(key) not in graphs[job]
        ]
        assert not left, f"objects left behind: {left}"

    def check_leaks(self) -> None:
        """Nothing of a run is left in Redis, on disk or in storage."""
        self.check_progress()
        allowed = re.compile(
            r"process:(data|control)|job:.*|test:.*|"
            + re.escape(self.keys.namespace)
            + r":(seen:.*|reuse(:.*)?|history|dead|handled|counters|comfy:times|offers|offer:.*"
            + r"|dramatiq:__heartbeats__)"
        )
        left = [key for key in self.client.scan_iter() if not allowed.fullmatch(key)]
        assert not left, f"keys left behind: {left}"
        self.check_books()
        self.check_objects()
        if self.client.exists("process:data"):
            assert self.client.xlen("process:data") == 0
            for group in self.client.xinfo_groups("process:data"):
                assert group["pending"] == 0
        scratch = Path(self.env["FARM_SCRATCH_DIR"])
        sweep(scratch) if scratch.exists() else None
        assert not list(scratch.glob("worker-*"))
