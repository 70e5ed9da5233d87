"""The follower beneath ``watch``: no end is missed, and Redis may be away or forget."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from myspinbot_worker.cli.following import Follower, TookTooLong, UnknownJob
from myspinbot_worker.cli.setup import Setup
from myspinbot_worker.embedded import EmbeddedRedis
from myspinbot_worker.job_state import Concluded, JobState
from tests.functional.harness import Farm, graph, node, wait_until


class Recorder:
    """A view that remembers, and may act on what it is told."""

    def __init__(self, on_state: Callable[[JobState], object] = lambda job: None) -> None:
        self.told: list[tuple[str, Any]] = []
        self.on_state = on_state

    def message(self, kind: str, value: Any, created: str) -> None:
        self.told.append((kind, value))

    def state(self, job: JobState) -> None:
        self.told.append(("state", job.phase))
        self.on_state(job)

    def ended(self, visit: Concluded) -> None:
        self.told.append(("ended", visit.verdict))

    def trouble(self, what: str) -> None:
        self.told.append(("trouble", bool(what)))

    def values(self, kind: str) -> list[Any]:
        return [value for what, value in self.told if what == kind]


def follower(url: str, job: str, entry: str | None = None) -> Follower:
    setup = Setup(url)
    return Follower(setup.inspector, setup.messages, job, entry)


def test_a_job_that_ends_between_subscribing_and_looking(running: Farm) -> None:
    document = graph([node("a")])
    job = document["workflowId"]
    view = Recorder()
    with follower(running.env["REDIS_URL"], job) as watching:
        running.submit(document)
        running.wait_back(job)
        assert watching.follow(view, 10).verdict == "completed"
    assert view.values("status")[-1] == "completed"
    assert view.values("state") == ["ended"]


def test_one_follower_sees_several_visits(running: Farm) -> None:
    document = graph([node("a"), node("llm", "x.y", "node"), node("b")], [("a", "llm"), ("llm", "b")])
    job = document["workflowId"]
    view = Recorder()
    with follower(running.env["REDIS_URL"], job) as watching:
        running.submit(document)
        wait_until(
            lambda: running.client.exists(f"farm:run:{job}") or running.handed_back.get(job), "a visit"
        )
        assert watching.follow(view, 10).verdict == "hand_back"
        back = running.wait_back(job)
        back["nodes"][1] |= {"status": "completed", "output": {}}
        running.submit(back)
        watching.entry = None
        wait_until(
            lambda: running.client.exists(f"farm:run:{job}") or len(running.handed_back[job]) > 1, "a visit"
        )
        assert watching.follow(view, 10).verdict == "completed"
    assert view.values("ended") == ["hand_back", "completed"]


def test_redis_may_be_away_for_a_while(own_redis: Callable[..., EmbeddedRedis]) -> None:
    server = own_redis()
    with redis.Redis.from_url(server.url) as client:
        entry = client.xadd("process:data", {"jobId": "j", "created": "1", "graph": "{}"})
    restarted: list[bool] = []

    def restart(job: JobState) -> None:
        if not restarted:
            server.restart()
            restarted.append(True)

    view = Recorder(restart)
    with follower(server.url, "j", entry.decode()) as watching, pytest.raises(TookTooLong):
        watching.follow(view, 4)
    assert view.values("trouble") in ([True, False], [])
    assert view.values("state")[-1] == "waiting"
    assert len(view.values("state")) > 1


def test_a_visit_that_redis_has_forgotten(redis_url: str, text_client: redis.Redis) -> None:
    with follower(redis_url, "j", "1-1") as watching, pytest.raises(UnknownJob):
        watching.follow(Recorder(), 4)
    done = {"nodes": [{"id": "a", "plane": "python", "status": "completed"}]}
    text_client.hset("job:j", mapping={"graph": json.dumps(done), "created": "5"})
    with follower(redis_url, "j", "1-1") as watching:
        assert watching.follow(Recorder(), 4).verdict == "completed"


def test_messages_that_do_not_fit_the_contract_are_left_out(own_redis: Callable[..., EmbeddedRedis]) -> None:
    server = own_redis()  # Pub/Sub knows no databases: on the shared server others would hear this.
    view = Recorder()
    with redis.Redis.from_url(server.url) as client, follower(server.url, "j") as watching:
        client.xadd("process:data", {"jobId": "j", "created": "1", "graph": "{}"})
        for text in ("", "{", "[]", "7", '"x"', "{}", '{"progress": 0.5}', "[" * 5000):
            client.publish("channel:progress:j", text)
        client.publish("channel:progress:j", '{"jobId":"j","progress":0.25,"created":"now"}')
        with pytest.raises(TookTooLong):
            watching.follow(view, 1)
    assert view.values("progress") == [0.25]
