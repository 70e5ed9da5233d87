"""One prompt on a ComfyUI server, from its posting to its end, however it learns of that."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection

from .engine import EngineLost
from .events import Trail
from .remote_http import Away, BadAnswer, Server
from .remote_wait import AGAIN_SECONDS, CHECK_SECONDS, Waiting

log = logging.getLogger(__name__)

_SILENT_SECONDS = 5.0
_INTERRUPT_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a prompt is: ``gone`` when the server knows nothing of it; once it has ended, with the history's entry."""

    at: Literal["waiting", "running", "ended", "gone"]
    entry: Mapping[str, Any] = field(default_factory=dict)


class RemotePrompt:
    """A prompt under way. All but :meth:`end` calls the observer.

    Args:
        run: The prompt's id on the server.
    """

    def __init__(self, server: Server, run: str, trail: Trail, waiting: Waiting) -> None:
        self._server = server
        self._run = run
        self._trail = trail
        self._waiting = waiting
        self._socket: ClientConnection | None = None
        self._was_posted = False
        self._has_heard_cached = False

    def post(self, prompt: Mapping[str, Any]) -> tuple[Any, Any] | None:
        """Put it in the server's queue; ``(error, node_errors)`` when it is refused."""
        self._connect()
        body = {"prompt": prompt, "prompt_id": self._run, "client_id": self._run}
        self._was_posted = True
        try:
            status, answer = self._waiting.once(lambda _: self._server.post("prompt", body))
        except Away as error:
            # The answer may be lost, and the prompt in the queue all the same.
            if self._waiting.patiently(lambda _: self.standing()).at == "gone":
                raise EngineLost(f"{error}, and it has not taken the prompt") from None
            return None
        problems = answer.get("node_errors")
        if status == 400:
            self._was_posted = False
            return answer.get("error"), problems
        if problems:
            return answer.get("error"), problems
        if answer.get("prompt_id") != self._run:
            raise BadAnswer(f"{self._server.name} did not take the prompt under the id it was given")
        return None

    def follow(self) -> Mapping[str, Any]:
        """Until it has ended: the history's ``outputs``; everything else is in the trail.

        Raises:
            EngineLost: The server was away for too long, or has forgotten the prompt.
            BadAnswer: Its history makes no sense.
        """
        heard = asked = time.monotonic()
        away_since: float | None = None
        while True:
            if self._hear():
                heard = time.monotonic()
            now = time.monotonic()
            silent = AGAIN_SECONDS if self._socket is None else _SILENT_SECONDS
            if self._trail.status == "running" and now - max(heard, asked) < silent:
                continue
            try:
                standing = self._waiting.once(lambda _: self.standing())
                away_since = None
                if standing.at == "gone":
                    raise EngineLost(f"{self._server.name} no longer knows the prompt: it has started again")
                if standing.at == "ended":
                    return self._ended(standing.entry)
                if self._socket is None:
                    self._connect()
            except Away as error:
                away_since = away_since or now
                if time.monotonic() - away_since >= self._waiting.patience_seconds:
                    raise EngineLost(
                        f"{error}; given up after {time.monotonic() - away_since:.0f} s"
                    ) from None
                self._waiting.pause(AGAIN_SECONDS)
            asked = time.monotonic()
            if self._trail.status != "running":
                # Its end is told before the history has it.
                self._waiting.pause(CHECK_SECONDS)

    def standing(self, seconds: float = 10.0) -> Standing:
        """Ask the server; raises as :meth:`.remote_http.Server.get`."""
        if (entry := self._entry(seconds)) is not None:
            return Standing("ended", entry)
        queue = self._server.get("queue", seconds)
        for key, at in (("queue_running", "running"), ("queue_pending", "waiting")):
            items = queue.get(key)
            if not isinstance(items, list):
                raise BadAnswer(f"{self._server.name} answers /queue without {key}")
            if any(isinstance(item, list) and self._run in item[1:2] for item in items):
                return Standing("running" if at == "running" else "waiting")
        # It may have ended between the two questions.
        entry = self._entry(seconds)
        return Standing("gone") if entry is None else Standing("ended", entry)

    def end(self, seconds: float) -> None:
        """Take it out of the queue or interrupt it, and wait until it has ended; never anybody else's."""
        if not self._was_posted:
            return
        ends, again = time.monotonic() + seconds, 0.0
        while (left := ends - time.monotonic()) > 0:
            try:
                standing = self.standing(left)
                if standing.at in ("ended", "gone"):
                    return
                if standing.at == "waiting":
                    self._server.post("queue", {"delete": [self._run]}, left)
                elif time.monotonic() >= again:
                    # ComfyUI forgets an interrupt that comes just before it starts: it is repeated.
                    self._server.post("interrupt", {"prompt_id": self._run}, left)
                    again = time.monotonic() + _INTERRUPT_AGAIN_SECONDS
            except (Away, BadAnswer) as error:
                log.info("a prompt is to be ended: %s", error)
                time.sleep(min(AGAIN_SECONDS, left))
            time.sleep(CHECK_SECONDS)
        log.warning("%s did not end an interrupted prompt within %.1f s", self._server.name, seconds)

    def close(self) -> None:
        """Hear no more."""
        if self._socket is not None:
            # The other side may take its time to say goodbye: nobody waits for that.
            threading.Thread(target=_closed, args=(self._socket,), daemon=True).start()
            self._socket = None

    def _connect(self) -> None:
        try:
            self._socket = self._waiting.once(lambda _: self._server.listen(self._run))
        except Away as error:
            log.warning("%s: its history is asked instead", error)

    def _hear(self) -> bool:
        """One event, or a short time without."""
        if self._socket is None:
            self._waiting.pause(CHECK_SECONDS)
            return False
        self._waiting.observer.check()
        try:
            message = self._socket.recv(CHECK_SECONDS)
        except TimeoutError:
            return False
        except (ConnectionClosed, OSError, EOFError):
            log.warning("%s dropped the socket", self._server.name)
            self.close()
            return False
        if isinstance(message, str):
            self._take(message)
        return True

    def _take(self, message: str) -> None:
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            return
        data = event.get("data") if isinstance(event, dict) else None
        if (
            isinstance(data, dict)
            and data.get("prompt_id") == self._run
            and isinstance(event.get("type"), str)
        ):
            self._has_heard_cached |= event["type"] == "execution_cached"
            self._trail.take(event["type"], data)

    def _entry(self, seconds: float) -> Mapping[str, Any] | None:
        history = self._server.get(f"history/{self._run}", seconds)
        entry = history.get(self._run)
        if entry is not None and not isinstance(entry, dict):
            raise BadAnswer(f"{self._server.name} has a history entry that is not an object")
        return entry

    def _ended(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell the trail what the socket did not."""
        outputs, status = entry.get("outputs"), entry.get("status")
        if not isinstance(outputs, dict) or not isinstance(status, dict):
            raise BadAnswer(f"{self._server.name} has a history entry without outputs and status")
        messages = status.get("messages")
        for message in messages if isinstance(messages, list) else ():
            match message:
                case ["execution_cached", dict(data)] if not self._has_heard_cached:
                    self._trail.take("execution_cached", data)
                case [("execution_error" | "execution_interrupted") as event, dict(data)]:
                    if self._trail.status == "running":
                        self._trail.take(event, data)
        for node, ui in outputs.items():
            if node not in self._trail.ui:
                self._trail.take("executed", {"node": node, "output": ui})
        if self._trail.status == "running":
            if status.get("status_str") != "success":
                raise BadAnswer(f"{self._server.name} does not say why the prompt failed")
            self._trail.take("execution_success", {})
        return outputs


def _closed(connection: ClientConnection) -> None:
    with suppress(OSError, WebSocketException):
        connection.close()
