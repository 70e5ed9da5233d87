"""Forks crews off a warm process, and talks with them over pipes."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import traceback
from collections.abc import Mapping
from typing import Any, Literal

from .crash_points_crew import Crew
from .crash_points_wire import Fault, Wire

State = Literal["resting", "asleep", "dead"]


class CrewProcess:
    """A crew in a process of its own, which works one shift at a time."""

    def __init__(self, crew: Crew, scripts: Mapping[str, str], name: str, fault: Fault | None) -> None:
        self.name = name
        self.hit: tuple[int, str] | None = None
        self.errors: list[str] = []
        self.commands: list[str] = []
        told, tell = os.pipe()
        hear, say = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            # What the parent holds stays the parent's: this process ends without any clean-up.
            os.close(told)
            os.close(say)
            _child(crew, scripts, name, fault, tell, hear)
        os.close(tell)
        os.close(hear)
        self._told, self._say = os.fdopen(told, encoding="utf-8"), say

    def work(self) -> State:
        """Let it work a shift, or wake it; what became of it."""
        os.write(self._say, b"g")
        for line in self._told:
            match json.loads(line):
                case {"hit": [at, name, asleep]}:
                    self.hit = (at, name)
                    if asleep:
                        return "asleep"
                case {"error": text}:
                    self.errors.append(text)
                case {"rested": commands}:
                    self.commands = commands
                    return "resting"
        self.end()
        return "dead"

    def end(self) -> None:
        """Kill it, if it still lives."""
        if self._told.closed:
            return
        os.close(self._say)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._told.close()


class _Errors(logging.Handler):
    """Passes on what a crew logs with an exception: nothing the tests do should bring any code down."""

    def __init__(self, tell: Any) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.CRITICAL:
            self._tell({"error": logging.Formatter().format(record)})


def _child(
    crew: Crew, scripts: Mapping[str, str], name: str, fault: Fault | None, tell_fd: int, hear_fd: int
) -> None:
    def tell(what: dict[str, Any]) -> None:
        os.write(tell_fd, json.dumps(what).encode() + b"\n")

    def wait() -> None:
        if os.read(hear_fd, 1) != b"g":
            os._exit(0)

    gc.disable()
    try:
        logging.getLogger().handlers = [_Errors(tell)]
        wire = Wire(
            scripts,
            fault,
            lambda at, command: tell({"hit": [at, command, bool(fault and fault.side == "asleep")]}),
            wait,
        )
        wire.install()
        crew.start(name)
        while True:
            wait()
            crew.shift()
            tell({"rested": wire.commands})
    except BaseException:  # noqa: BLE001 - whatever it is, the parent must hear of it
        tell({"error": traceback.format_exc()})
    finally:
        os._exit(1)
