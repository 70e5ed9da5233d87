"""The control plane of a campaign: sends jobs, listens, takes graphs back and sends them on."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from myspinbot_worker.keys import Keys

from .campaign_expected import advance
from .campaign_history import Heard, History
from .campaign_jobs import Job

KEYS = Keys()
CONTROL, DATA = "process:control", "process:data"
_REMEMBERED = 300
"""Sent entries that may still be doubled."""
_LATELY = 20
"""So many jobs that ended last may have messages on their way when Redis goes."""


def patient_client(url: str) -> Any:
    """A client that waits for a Redis that is away. Whatever it sends may be done twice."""
    untyped: Any = redis.Redis
    return untyped.from_url(
        url,
        decode_responses=True,
        encoding_errors="replace",
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.01), 200),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
    )


@dataclass(frozen=True, slots=True)
class Sent:
    """An entry as it was written to the data stream."""

    job: str
    visit: int
    fields: dict[str, str]


class ControlPlane:
    """See the module. Other threads may ask it anything; ``changed`` tells them of every end of a visit."""

    def __init__(self, url: str) -> None:
        self.histories: dict[str, History] = {}
        self.open: set[str] = set()
        self.visits_ended = 0
        self.doubled: list[str] = []
        self.problems: list[str] = []
        self.changed = threading.Condition()
        self._url = url
        self._deaf = False
        self._heard_marks: set[str] = set()
        self._recent: deque[Sent] = deque(maxlen=_REMEMBERED)
        self._lately: deque[str] = deque(maxlen=_LATELY)
        self._newest = (0, 0)
        self._sending = threading.Lock()
        self._closing = threading.Event()
        self._hearing = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(part,), name=part.__name__, daemon=True)
            for part in (self._listen, self._take_back)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        if not self._hearing.wait(10):
            raise RuntimeError("the control plane cannot subscribe")
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()

    # What is sent.

    def submit(self, job: Job, client: Any) -> None:
        with self.changed:
            self.histories[job.id] = History(deaf=self._deaf)
            self.open.add(job.id)
        self._send(Sent(job.id, 0, _fields(job.id, job.document)), client)

    def double(self, chance: random.Random, client: Any) -> str | None:
        """Send an entry a second time, of an open or an ended visit; its job."""
        with self.changed:
            sent = chance.choice(self._recent) if self._recent else None
        if sent is None:
            return None
        self.doubled.append(sent.job)
        self._send(sent, client, remember=False)
        return sent.job

    def _send(self, sent: Sent, client: Any, *, remember: bool = True) -> None:
        """Exactly once, even if the reply is lost: an id cannot be used twice."""
        with self._sending:
            now = time.time_ns() // 10**6
            moment, number = self._newest
            self._newest = (now, 0) if now > moment else (moment, number + 1)
            entry = f"{self._newest[0]}-{self._newest[1]}"
            with self.changed:
                self.histories[sent.job].sent[entry] = sent.visit
                if remember:
                    self._recent.append(sent)
            try:
                client.xadd(DATA, sent.fields, id=entry)
            except redis.ResponseError as error:
                if "equal or smaller" not in str(error):
                    raise

    # What is heard.

    def expect_silence(self) -> None:
        """Redis is about to go: what is published from now on may not be heard until we have subscribed again."""
        with self.changed:
            self._deaf = True
            self._hearing.clear()
            for job in (*self.open, *self._lately):
                self.histories[job].deaf = True

    def wait_hearing(self, seconds: float) -> bool:
        return self._hearing.wait(seconds)

    def wait_heard_all(self, client: Any, seconds: float) -> bool:
        """Until everything published so far was heard."""
        mark = f"all-{time.time_ns()}"
        client.publish(f"channel:mark:{mark}", json.dumps({"mark": mark}))
        with self.changed:
            return self.changed.wait_for(lambda: mark in self._heard_marks, seconds)

    def _listen(self) -> None:
        untyped: Any = redis.Redis
        with untyped.from_url(self._url, decode_responses=True) as client, client.pubsub() as pubsub:
            while not self._closing.is_set():
                try:
                    pubsub.psubscribe("channel:*")
                    while not self._closing.is_set():
                        message = pubsub.get_message(timeout=0.2)
                        if message is not None:
                            self._hear(message)
                except (redis.ConnectionError, redis.TimeoutError):
                    self.expect_silence()
                    pubsub.reset()
                    self._closing.wait(0.02)

    def _hear(self, message: dict[str, Any]) -> None:
        with self.changed:
            if message["type"] == "psubscribe":
                self._deaf = False
                self._hearing.set()
                return
            _, kind, job = message["channel"].split(":")
            value = json.loads(message["data"])[kind]
            history = self.histories.get(job)
            if history is not None:
                history.heard.append(Heard(kind, value))
            else:
                self._heard_marks.add(job)
                self.changed.notify_all()

    # What comes back.

    def _take_back(self) -> None:
        client = patient_client(self._url)
        read = {CONTROL: "0", KEYS.history: "0"}
        while not self._closing.is_set():
            for stream, entries in client.xread(read, count=200, block=200) or ():
                for entry, fields in entries:
                    read[stream] = entry
                    if stream == CONTROL:
                        self._take(json.loads(fields["graph"]), client)
                    else:
                        self._note(fields, client)
        client.close()

    def _take(self, graph: dict[str, Any], client: Any) -> None:
        """The control plane acknowledges first, then runs its nodes and sends the graph on."""
        job, visit = graph["workflowId"], graph["context"]["visit"]
        with self.changed:
            history = self.histories[job]
            history.backs.append(visit)
            if history.backs.count(visit) > 1:
                return
        self._mark(job, visit, client)
        following = advance(graph)
        if following is None:
            history.final = graph
            self._ended(job)
        else:
            self._send(Sent(job, visit + 1, _fields(job, following)), client)

    def _note(self, fields: dict[str, str], client: Any) -> None:
        job, verdict = fields["job"], fields["verdict"]
        with self.changed:
            history = self.histories[job]
            history.conclusions.append((fields["entry"], verdict))
            self.visits_ended += 1
            self.changed.notify_all()
        if verdict not in ("hand_back", "completed"):
            self._mark(job, history.sent.get(fields["entry"], -1), client)
            self._ended(job)

    def _mark(self, job: str, visit: int, client: Any) -> None:
        """Heard after all that was published before the end of the visit, and before all of the next."""
        client.publish(f"channel:mark:{job}", json.dumps({"mark": visit}))

    def _ended(self, job: str) -> None:
        with self.changed:
            self.open.discard(job)
            self._lately.append(job)
            self.changed.notify_all()

    def _guarded(self, part: Any) -> None:
        try:
            part()
        except Exception as error:  # noqa: BLE001 - the campaign must hear of it
            with self.changed:
                self.problems.append(f"{part.__name__}: {error!r}")
                self.changed.notify_all()


def read_finals(histories: Iterable[tuple[str, History]], client: Any) -> None:
    """The last graph of every job that the control plane did not end itself."""
    for job, history in histories:
        if history.final is None and (text := client.hget(f"job:{job}", "graph")):
            history.final = json.loads(text)


def _fields(job: str, document: dict[str, Any]) -> dict[str, str]:
    return {"jobId": job, "created": str(time.time_ns() // 10**6), "graph": json.dumps(document)}
