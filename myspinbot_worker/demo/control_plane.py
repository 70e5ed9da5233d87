"""A small stand-in for the platform's control plane: enough of it to send a job through the farm.

It reads ``process:control`` as the real one does (its own consumer group, acknowledged before the next hop),
completes the node-plane nodes of a graph (here: one, which "writes" the given script), and passes the graph
on to ``process:data``. A graph whose every node is done has come home.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from ..graph.transitions import StreamNames
from ..redis_clients import TRANSIENT

GROUP = "control-executor"
_BLOCK_MS = 500


class ControlPlane:
    """Runs on a thread of its own between ``start`` and ``stop``.

    Args:
        client: Decodes replies.
        script: The text that script nodes produce.
        on_visit: Told the stream entry of each visit it sent to the farm.
    """

    def __init__(
        self, client: redis.Redis, streams: StreamNames, script: str, on_visit: Callable[[str], None]
    ) -> None:
        self._client: Any = client
        self._streams = streams
        self._script = script
        self._on_visit = on_visit
        self._stopping = threading.Event()
        self._home = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control-plane", daemon=True)
        self.finished: dict[str, Any] | None = None

    def start(self) -> None:
        try:
            self._client.xgroup_create(self._streams.control, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def submit(self, graph: dict[str, Any]) -> None:
        """Start a job, as the planner does."""
        self._send(self._streams.control, graph)

    def wait_home(self, seconds: float) -> bool:
        """Whether the finished graph has come back, waiting up to ``seconds`` for it."""
        return self._home.wait(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                found = self._client.xreadgroup(
                    GROUP, "demo", {self._streams.control: ">"}, count=1, block=_BLOCK_MS
                )
                for _, entries in found or []:
                    for entry, fields in entries:
                        self._client.xack(self._streams.control, GROUP, entry)
                        self._handle(json.loads(fields["graph"]))
            except TRANSIENT:
                self._stopping.wait(0.5)

    def _handle(self, graph: dict[str, Any]) -> None:
        for node in graph["nodes"]:
            if node["plane"] == "node" and node["status"] == "pending":
                node["status"] = "completed"
                node["output"] = {"narration": self._script, "currentProgress": node.get("progressWeight", 0)}
        if all(node["status"] == "completed" for node in graph["nodes"]):
            self.finished = graph
            self._home.set()
        else:
            self._on_visit(self._send(self._streams.data, graph))

    def _send(self, stream: str, graph: dict[str, Any]) -> str:
        entry = self._client.xadd(
            stream,
            {
                "jobId": graph["workflowId"],
                "created": str(time.time_ns() // 1_000_000),
                "graph": json.dumps(graph),
            },
        )
        return str(entry)
