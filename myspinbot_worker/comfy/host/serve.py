"""The child's main loop: one thread listens to the parent, the main thread runs prompts.

Messages are JSON objects. From the parent: ``run``, ``interrupt``, ``free`` (``{"do": …}``). To it: ``ready``,
``refused``, ``event``, ``done``, ``freed`` (``{"is": …}``).
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from . import drift
from .boot import BootSettings, CannotBoot, boot
from .catalog import catalog
from .session import Job, Session
from .warm import Warm

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_UNWELL = 70
_TIDY_SECONDS = 10.0


class Parent:
    """The way to the parent; used by all threads."""

    def __init__(self, connection: Connection[bytes, bytes]) -> None:
        self.connection = connection
        self._lock = threading.Lock()
        self.session: Session | None = None

    def send(self, kind: str, **data: Any) -> None:
        text = json.dumps({"is": kind, **data}, default=_plain)
        with self._lock:
            self.connection.send_bytes(text.encode())

    def event(self, name: str, data: dict[str, Any]) -> None:
        if self.session is None or not self.session.passes_on(name, data):
            return
        # Tensors may be in it, and secrets of other nodes; what the parent needs of an error comes with ``done``.
        kept = {key: value for key, value in data.items() if not key.startswith("current_")}
        self.send("event", name=name, data=kept)


def _plain(value: Any) -> Any:
    """What JSON does not know: sets and tuples of names, enums, anything of a pack's."""
    return list(value) if isinstance(value, set | frozenset | tuple) else str(value)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


def main(parent_id: int, descriptor: int, given: dict[str, Any]) -> None:
    """Boot, then serve until the parent closes its end."""
    _die_with(parent_id)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the parent decides
    logging.basicConfig(level=logging.INFO, format="[%(name)s] [%(levelname)s] %(message)s")
    parent = Parent(Connection(descriptor))
    settings = BootSettings(**given)
    try:
        comfy = boot(settings, parent.event)
    except CannotBoot as error:
        parent.send("refused", why=[str(error)])
        return
    drift.install(comfy)
    if found := drift.findings(comfy):
        parent.send("refused", why=[f"ComfyUI {comfy.version}: {finding}" for finding in found])
        return
    warm = Warm()
    missing = warm.keep(settings.keep_warm)
    session = parent.session = Session(comfy, warm)
    parent.send(
        "ready", version=comfy.version, catalog=catalog(comfy.nodes), failed=comfy.failed, not_kept=missing
    )
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(parent, session, jobs), daemon=True).start()
    _serve(parent, session, jobs, settings.idle_free_seconds)


def _listen(parent: Parent, session: Session, jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    while True:
        try:
            message = json.loads(parent.connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)  # nobody is left who wants anything
        if message["do"] == "interrupt":
            session.interrupt(message["id"])
        else:
            jobs.put(message)


def _serve(
    parent: Parent, session: Session, jobs: queue.SimpleQueue[dict[str, Any]], idle_free_seconds: float
) -> None:
    idle_since: float | None = None
    while True:
        try:
            message = jobs.get(timeout=_wait(idle_since, idle_free_seconds))
        except queue.Empty:
            session.tidy()
            if (
                idle_since is not None
                and idle_free_seconds
                and time.monotonic() - idle_since >= idle_free_seconds
            ):
                log.info("idle for %.0f s: models are let go", idle_free_seconds)
                session.free()
                idle_since = None
            continue
        if message["do"] == "free":
            session.free()
            parent.send("freed")
            continue
        idle_since = None
        answer = session.run(Job(**message["job"]))
        unwell = session.well() if answer["status"] == "error" else ""
        parent.send("done", id=message["job"]["id"], loads=session.warm.loads, unwell=unwell, **answer)
        if unwell:
            # Whatever this process does from now on would fail, while it looks healthy.
            log.error("the canary failed after a fault: %s", unwell)
            sys.stdout.flush()
            os._exit(_UNWELL)
        session.tidy()
        idle_since = time.monotonic()


def _wait(idle_since: float | None, idle_free_seconds: float) -> float:
    if idle_since is None or not idle_free_seconds:
        return _TIDY_SECONDS
    return max(0.01, min(_TIDY_SECONDS, idle_since + idle_free_seconds - time.monotonic()))
