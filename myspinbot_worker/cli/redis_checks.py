"""What ``doctor`` looks at in Redis. Nothing here writes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import redis
from redis.exceptions import NoPermissionError

from ..config_values import masked_url
from ..graph.transitions import StreamNames
from ..keys import Keys
from .finding import Check, Finding, error, ok, warning
from .output import clean, duration
from .setup import redis_trouble

LEAST_VERSION = (6, 2)
CONSUMER_SILENT_SECONDS = 15.0
"""An ingestor reads every two seconds; one that is silent for so long is gone."""
_CLOCK_SECONDS = 1.0


def redis_checks(
    client: redis.Redis, url: str, keys: Keys, streams: StreamNames, heartbeat: float
) -> list[Check]:
    """The checks in their order. The first tells whether the others make sense.

    Args:
        client: Must not decode responses.
        heartbeat: After how many silent seconds a worker counts as dead.
    """
    checks: dict[str, Check] = {
        "redis.version": lambda: version(client.info("server")),
        "redis.role": lambda: role(client.info("replication")),
        "redis.persistence": lambda: persistence(
            client.info("persistence"), config_value(client, "appendfsync")
        ),
        "redis.memory": lambda: memory(client.info("memory")),
        "redis.clock": lambda: clock(clock_difference(client), heartbeat),
        "farm.group": lambda: group(client, streams),
        "farm.ingestors": lambda: ingestors(consumers(client, streams)),
        "farm.workers": lambda: workers(
            heartbeats(client, keys),
            len(alive(consumers(client, streams))),
            round(time.time() * 1000),
            heartbeat,
        ),
        "farm.dead_letters": lambda: dead_letters(client, keys),
    }
    return [
        lambda: reachable(client, url),
        *(guarded(name, check, masked_url(url)) for name, check in checks.items()),
    ]


def guarded(name: str, check: Check, url: str) -> Check:
    """A check whose refusal by Redis (a managed server, an ACL) is a finding too."""

    def run() -> Finding:
        try:
            return check()
        except NoPermissionError as refusal:
            return warning(name, f"not allowed to look: {clean(str(refusal))}", "check it by hand")
        except redis.ResponseError as refusal:
            return warning(name, f"Redis would not say: {clean(str(refusal))}", "check it by hand")
        except redis.RedisError as trouble:
            return error(
                name, redis_trouble(trouble, f"Redis at {url}"), "look at the server and the network"
            )

    return run


def reachable(client: redis.Redis, url: str) -> Finding:
    where = f"Redis at {masked_url(url)}"
    try:
        started = time.perf_counter()
        client.ping()
        return ok("redis", f"{where} answers in {(time.perf_counter() - started) * 1000:.1f} ms")
    except redis.AuthenticationError as trouble:
        return error("redis", redis_trouble(trouble, where), "set user and password in REDIS_URL")
    except redis.RedisError as trouble:
        return error("redis", redis_trouble(trouble, where), "start Redis, or set REDIS_URL to where it is")


def version(info: Mapping[str, Any]) -> Finding:
    """At least 6.2: BLMOVE (workers wait with it), XPENDING with IDLE and open ranges (reconciliation)."""
    spoken = str(info.get("redis_version", ""))
    product = str(info.get("server_name", "redis")).capitalize()
    own = info.get(f"{product.lower()}_version")
    text = f"{product} {own}, speaks Redis {spoken}" if own else f"Redis {spoken}"
    if info.get("redis_mode") == "cluster":
        return error(
            "redis.version", f"{text}, in cluster mode", "use a single server: the farm's scripts span keys"
        )
    parts = spoken.split(".")
    if not all(part.isdigit() for part in parts[:2]) or not spoken:
        return warning(
            "redis.version", f"unknown version {clean(spoken)!r}", "see that it is Redis 6.2 or later"
        )
    if tuple(int(part) for part in parts[:2]) < LEAST_VERSION:
        return error(
            "redis.version", text, "use Redis 6.2 or later: the farm needs BLMOVE, and XPENDING with IDLE"
        )
    return ok("redis.version", text)


def role(info: Mapping[str, Any]) -> Finding:
    if info.get("role") == "master":
        return ok("redis.role", "takes writes")
    return error("redis.role", f"is a {clean(str(info.get('role')))}", "set REDIS_URL to the primary")


def persistence(info: Mapping[str, Any], appendfsync: str | None) -> Finding:
    """All state lives in Redis: what it forgets at a restart, the farm forgets.

    Args:
        appendfsync: ``None`` if Redis does not tell.
    """
    name = "redis.persistence"
    if not info.get("aof_enabled"):
        return warning(
            name, "AOF is off: a restart of Redis loses open runs and queued graphs", "set appendonly yes"
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        return error(name, "AOF is on and its last write failed", "look at the disk of the Redis server")
    if appendfsync is None:
        return warning(
            name, "AOF is on; appendfsync cannot be read (CONFIG is forbidden)", "see that it is not 'no'"
        )
    if appendfsync == "no":
        return warning(name, "AOF is on with appendfsync no", "set appendfsync everysec (or always)")
    return ok(name, f"AOF is on, appendfsync {clean(appendfsync)}")


def memory(info: Mapping[str, Any]) -> Finding:
    """Any eviction policy but noeviction deletes runs, and with them jobs."""
    name, policy = "redis.memory", info.get("maxmemory_policy")
    most = int(info.get("maxmemory") or 0)
    limit = f"maxmemory {most >> 20} MiB" if most else "no maxmemory"
    if policy is None:
        return warning(name, "maxmemory-policy cannot be read", "see that it is noeviction")
    if policy == "noeviction":
        return ok(name, f"maxmemory-policy noeviction, {limit}")
    text = f"maxmemory-policy {clean(str(policy))}, {limit}"
    advice = "set maxmemory-policy noeviction: a full Redis would delete open runs"
    return error(name, text, advice) if most else warning(name, text, advice)


def config_value(client: redis.Redis, name: str) -> str | None:
    """A setting of Redis, ``None`` where CONFIG is forbidden."""
    try:
        found: Any = client.config_get(name)
    except redis.ResponseError:
        return None
    values = {_text(key): _text(value) for key, value in found.items()}
    return values.get(name)


def clock_difference(client: redis.Redis) -> float:
    """Seconds this machine's clock is ahead of Redis'; the best of a few looks, each as wide as its trip."""
    looks = []
    for _ in range(3):
        before = time.time()
        found: Any = client.time()
        after = time.time()
        looks.append((after - before, (before + after) / 2 - (found[0] + found[1] / 1e6)))
    difference: float = min(looks)[1]
    return difference


def clock(difference: float, heartbeat: float) -> Finding:
    """Leases go by Redis' clock; Dramatiq's heartbeats go by each machine's own."""
    name = "redis.clock"
    way = "ahead of" if difference > 0 else "behind"
    text = f"this machine's clock is {abs(difference):.3f} s {way} Redis'"
    if abs(difference) >= heartbeat / 2:
        return error(
            name, text, f"synchronise the clocks: a worker counts as dead after {heartbeat:g} s of silence"
        )
    if abs(difference) >= _CLOCK_SECONDS:
        return warning(name, text, "synchronise the clocks (NTP)")
    return ok(name, text)


def group(client: redis.Redis, streams: StreamNames) -> Finding:
    name, advice = "farm.group", "start an ingestor: it makes the group"
    kind: Any = client.type(streams.data)
    if _text(kind) == "none":
        return warning(name, f"there is no stream {streams.data}", advice)
    if _text(kind) != "stream":
        return error(name, f"{streams.data} is a {_text(kind)}", "remove that key, or rename streams.data")
    groups: Any = client.xinfo_groups(streams.data)
    for item in groups:
        if _text(item["name"]) == streams.group:
            lag = item.get("lag")
            unread = "" if lag is None else f", {lag} not read yet"
            return ok(name, f"{streams.data} has the group {streams.group}: {item['pending']} open{unread}")
    return warning(name, f"{streams.data} has no group {streams.group}", advice)


def consumers(client: redis.Redis, streams: StreamNames) -> list[tuple[str, float]]:
    """The group's consumers and for how many seconds each was silent."""
    try:
        found: Any = client.xinfo_consumers(streams.data, streams.group)
    except redis.ResponseError as refusal:
        if isinstance(refusal, NoPermissionError):
            raise
        return []
    return [(_text(item["name"]), item["idle"] / 1000) for item in found]


def alive(found: list[tuple[str, float]]) -> list[str]:
    return [name for name, silent in found if silent <= CONSUMER_SILENT_SECONDS]


def ingestors(found: list[tuple[str, float]]) -> Finding:
    name, living = "farm.ingestors", alive(found)
    gone = len(found) - len(living)
    silent = f"; {gone} more fell silent" if gone else ""
    if living:
        return ok(name, f"{len(living)} running: {clean(', '.join(sorted(living)[:5]))}{silent}")
    if found:
        least = min(seconds for _, seconds in found)
        return warning(name, f"none for {duration(least)}", "start one: myspinbot-worker ingest")
    return warning(name, "none was ever seen", "start one: myspinbot-worker ingest")


def heartbeats(client: redis.Redis, keys: Keys) -> list[float]:
    """When (ms since the epoch) each process with a Dramatiq broker was last heard of."""
    found: Any = client.zrange(f"{keys.broker}:__heartbeats__", 0, -1, withscores=True)
    return [score for _, score in found]


def workers(beats: list[float], running_ingestors: int, now_ms: int, heartbeat: float) -> Finding:
    """Ingestors send messages, and so have a heartbeat too: they are counted off."""
    name = "farm.workers"
    advice = "start one: dramatiq myspinbot_worker.actors"
    silent = sorted((now_ms - beat) / 1000 for beat in beats)
    living = sum(seconds <= heartbeat for seconds in silent)
    count = max(0, living - running_ingestors)
    gone = len(silent) - living
    text = f"{count} running" if count else "none is running"
    if gone:
        text += f"; {gone} more heartbeats are older than {heartbeat:g} s"
    return ok(name, text) if count else warning(name, text, advice)


def dead_letters(client: redis.Redis, keys: Keys) -> Finding:
    name = "farm.dead_letters"
    newest: Any = client.xrevrange(keys.dead, count=1)
    if not newest:
        return ok(name, "none")
    count = client.xlen(keys.dead)
    reason = clean(_text(newest[0][1].get(b"reason", b"")))[:200]
    return warning(name, f"{count}; the newest: {reason}", "see them: myspinbot-worker dead list")


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
