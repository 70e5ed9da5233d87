"""The HTTP answers, with checks that the test controls."""

from __future__ import annotations

from fastapi.testclient import TestClient
from prometheus_client import Counter

from myspinbot_worker.api import beating
from myspinbot_worker.metrics import new_registry
from myspinbot_worker.pages import build_app


def client(alive: str = "", ready: str = "") -> TestClient:
    registry = new_registry()
    Counter("things_total", "Things.", registry=registry).inc(3)
    return TestClient(build_app(registry, {"loop": lambda: alive}, {"redis": lambda: ready}))


def test_all_well() -> None:
    for path in ("/health", "/ready"):
        answer = client().get(path)
        assert answer.status_code == 200
        assert answer.json()["status"] == "ok"


def test_a_dead_loop_does_not_say_ok() -> None:
    for path in ("/health", "/ready"):
        answer = client(alive="no turn for 60 s").get(path)
        assert answer.status_code == 503
        assert answer.json()["checks"]["loop"] == "no turn for 60 s"


def test_redis_away_is_alive_but_not_ready() -> None:
    there = client(ready="refused")
    assert there.get("/health").status_code == 200
    answer = there.get("/ready")
    assert (answer.status_code, answer.json()["checks"]) == (503, {"loop": "ok", "redis": "refused"})


def test_metrics() -> None:
    answer = client().get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "things_total 3.0" in answer.text
    assert "python_gc_objects_collected_total" in answer.text


def test_unknown_path() -> None:
    assert client().get("/nothing").status_code == 404


def test_beating() -> None:
    now = 0.0
    assert "no turn for" in beating(lambda: now, 1.0)()
    assert beating(lambda: float("inf"), 1.0)() == ""
