"""What a library or a program prints, turned into progress.

``sys.stdout`` is left alone, even for single threads: a proxy there would see neither what C code writes to
descriptor 1 nor streams that a library took hold of earlier, and every print of every thread would pass
through it. Instead an adapter is *given*: as ``file=`` to tqdm, as the stream of a log handler, or to a
program through ``run``. So each task's output is its own by construction.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .errors import EngineUnavailable, FarmError

OnProgress = Callable[[float], None]
"""Told the done part, 0.0 to 1.0, only when it grew; may raise to end the work."""

OnLine = Callable[[str], None]
"""Told each finished line, without its end, colours and overwritten contents."""

MAX_LINE = 4096
"""Characters of a line that are looked at; the rest is dropped, so that no output can fill the memory."""

TAIL_LINES = 20
"""Lines of a failed program's output that go into the error."""

TAIL_WIDTH = 500
"""Characters of each such line."""

DRAIN_SECONDS = 2.0
"""Time to read what an ended program left in its pipes; one that got away may write for ever."""

# A carriage return or a backspace starts to overwrite: what was there before is complete.
_END = re.compile(r"[\r\n\b]")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_BAR = re.compile(r"(\d{1,3})%\|.*?\|\s*(\d{1,15})/(\d{1,15})(?![\w./])")
_BAR_PERCENT = re.compile(r"(\d{1,3})%\|")
_PERCENT = re.compile(r"(?<![\w.,-])(\d{1,3}(?:\.\d{1,15})?)\s?%")
_COUNT = re.compile(r"(?<![\w./-])(\d{1,15})\s?/\s?(\d{1,15})(?![\w/]|[.-]\d)")
_FFMPEG_MICROSECONDS = re.compile(r"out_time_[um]s=\s*(\d{1,18})")
_FFMPEG_CLOCK = re.compile(r"(?:out_)?time=\s*(\d{1,6}):(\d{2}):(\d{2}(?:\.\d{1,9})?)")
_FFMPEG_END = re.compile(r"progress=\s*end")


def parse_fraction(line: str) -> float | None:
    """Read the done part off a line: a tqdm bar, else the first ``n/m``, else the first ``NN%``.

    Returns:
        0.0 to 1.0, or None if the line tells nothing (``17/4`` or ``250%`` do not).
    """
    if bar := _BAR.search(line):
        # The count is finer than the whole percent before it.
        return _ratio(int(bar[2]), int(bar[3]))
    if percent := _BAR_PERCENT.search(line):
        return _ratio(int(percent[1]), 100)
    if count := _COUNT.search(line):
        return _ratio(int(count[1]), int(count[2]))
    if percent := _PERCENT.search(line):
        return _ratio(float(percent[1]), 100)
    return None


def parse_ffmpeg(line: str, duration: float) -> float | None:
    """Read the done part off a line of ffmpeg's ``-progress`` or of its statistics.

    Args:
        line: One line, such as ``out_time_us=1500000``.
        duration: Length of the output in seconds.
    """
    if _FFMPEG_END.match(line):
        return 1.0
    # Both are microseconds: out_time_ms was misnamed and stayed so.
    if microseconds := _FFMPEG_MICROSECONDS.match(line):
        seconds = int(microseconds[1]) / 1e6
    elif clock := _FFMPEG_CLOCK.search(line):
        seconds = int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
    else:
        return None
    return min(seconds / duration, 1.0) if duration > 0 else None


def _ratio(done: float, total: float) -> float | None:
    return done / total if total > 0 and 0 <= done <= total else None


class _Rising:
    """Passes on only what is more than everything before, also from several threads."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._highest = -1.0
        self._lock = threading.RLock()

    def __call__(self, fraction: float) -> None:
        with self._lock:
            if fraction > self._highest:
                self._highest = fraction
                self._on_progress(fraction)


class StreamAdapter(io.TextIOBase):
    """A text stream to print to, that tells progress instead of showing it.

    Progress depends only on the text, not on how it is cut into writes; ``flush`` also looks at the line
    that is not finished yet, since tqdm flushes each bar but ends it only with the next one. Each adapter is
    independent and may be written to by several threads.

    Args:
        on_progress: Told the done part, never less than before. What it raises comes out of ``write``.
        on_line: Told each finished line that is not blank.
        duration: Length in seconds of what ffmpeg makes. If given, only ffmpeg's lines count as progress:
            its other output is full of percentages that mean something else.
        parse: How to read a line, in place of the above, for a program that prints several bars.
    """

    encoding = "utf-8"
    errors = "replace"

    def __init__(
        self,
        on_progress: OnProgress,
        on_line: OnLine | None = None,
        *,
        duration: float | None = None,
        parse: Callable[[str], float | None] | None = None,
    ) -> None:
        super().__init__()
        self._on_progress = on_progress if isinstance(on_progress, _Rising) else _Rising(on_progress)
        self._on_line = on_line
        if parse is None:
            parse = parse_fraction if duration is None else lambda line: parse_ffmpeg(line, duration)
        self._parse = parse
        self._lock = threading.RLock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._shown = ""

    def __del__(self) -> None:
        # The base class closes forgotten streams, which would call back at a random moment.
        pass

    def writable(self) -> bool:
        return True

    def write(self, text: str | bytes | bytearray | memoryview) -> int:
        """Take text, or bytes of UTF-8 whose characters may be split between writes.

        Returns:
            The length of ``text``.
        """
        with self._lock:
            if self.closed:
                raise ValueError("write to a closed stream adapter")
            decoded = text if isinstance(text, str) else self._decoder.decode(bytes(text))
            start = 0
            for end in _END.finditer(decoded):
                self._append(decoded, start, end.start())
                self._end_segment(end[0] == "\n")
                start = end.end()
            self._append(decoded, start, len(decoded))
            return len(text)

    def flush(self) -> None:
        """Read progress off the unfinished line too."""
        with self._lock:
            if not self.closed:
                self._read(_plain(self._pending))

    def close(self) -> None:
        """Finish the last line; further writes raise ``ValueError``."""
        with self._lock:
            if self.closed:
                return
            try:
                decoded = self._decoder.decode(b"", final=True)
                self._append(decoded, 0, len(decoded))
                self._end_segment(line_ends=True)
            finally:
                super().close()

    def _append(self, text: str, start: int, end: int) -> None:
        room = MAX_LINE - len(self._pending)
        if room > 0 and end > start:
            self._pending += text[start : min(end, start + room)]

    def _end_segment(self, line_ends: bool) -> None:
        segment = _plain(self._pending)
        self._pending = ""
        if segment:
            self._shown = segment
        shown = self._shown
        if line_ends:
            self._shown = ""
        # State first, callbacks last: they may raise.
        self._read(segment)
        if line_ends and shown and self._on_line is not None:
            self._on_line(shown)

    def _read(self, line: str) -> None:
        fraction = self._parse(line) if line else None
        if fraction is not None:
            self._on_progress(min(max(fraction, 0.0), 1.0))


def _plain(segment: str) -> str:
    return _ESCAPE.sub("", segment).strip()


def run(
    command: Sequence[str | Path],
    *,
    on_progress: OnProgress | None = None,
    on_line: OnLine | None = None,
    check: Callable[[], None] | None = None,
    duration: float | None = None,
    parse: Callable[[str], float | None] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    interval: float = 0.2,
    grace: float = 5.0,
) -> None:
    """Run a program to its end, its output read as progress. All callbacks run in the calling thread.

    The program is a process group of its own, without input. Whatever it started and left is killed.

    Args:
        command: The program and its arguments; no shell is involved.
        on_progress: Told the done part, as of ``StreamAdapter``; output and error stream count together.
        on_line: Told each finished line of either stream.
        check: Called at least every ``interval``; what it raises ends the program and is raised here.
        duration: As of ``StreamAdapter``, for ffmpeg run with ``-progress pipe:1``.
        parse: As of ``StreamAdapter``.
        cwd: The program's working folder.
        env: The program's whole environment; None hands ours on.
        interval: Seconds between calls of ``check``.
        grace: Seconds between SIGTERM and SIGKILL when ``check`` or another callback raised.

    Raises:
        EngineUnavailable: The program cannot be started.
        FarmError: It ended with a status other than 0; details carry its last lines.
    """
    name = Path(command[0]).name
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def keep(line: str) -> None:
        tail.append(line[:TAIL_WIDTH])
        if on_line is not None:
            on_line(line)

    rising = _Rising(on_progress or (lambda fraction: None))
    try:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    except OSError as exc:
        raise EngineUnavailable(f"{name} cannot be started: {exc.strerror}") from exc
    try:
        with contextlib.ExitStack() as closing:
            adapters = {}
            for pipe in (child.stdout, child.stderr):
                assert pipe is not None
                closing.enter_context(pipe)
                os.set_blocking(pipe.fileno(), False)
                adapters[pipe.fileno()] = StreamAdapter(rising, keep, duration=duration, parse=parse)
            _read_all(child, adapters, check, interval)
            for adapter in adapters.values():
                adapter.close()
    except BaseException:
        _signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while not _has_ended(child) and time.monotonic() < deadline:
            time.sleep(0.02)
        raise
    finally:
        # Before the child is reaped: until then its process group's number cannot be anyone else's.
        _signal_group(child, signal.SIGKILL)
        status = child.wait()
    if status != 0:
        how = f"was killed by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"
        last = f": {tail[-1]}" if tail else ""
        raise FarmError(
            f"{name} {how}{last}", details={"program": name, "status": status, "output": list(tail)}
        )


def _read_all(
    child: subprocess.Popen[bytes],
    adapters: Mapping[int, StreamAdapter],
    check: Callable[[], None] | None,
    interval: float,
) -> None:
    """Feed the adapters until the child ended, and little longer: what it left may hold the pipes open."""
    with selectors.DefaultSelector() as selector:
        for descriptor in adapters:
            selector.register(descriptor, selectors.EVENT_READ)
        due = time.monotonic()
        ended_at: float | None = None
        while True:
            if check is not None and time.monotonic() >= due:
                check()
                due = time.monotonic() + interval
            if ended_at is None and _has_ended(child):
                ended_at = time.monotonic()
                _signal_group(child, signal.SIGKILL)
            if not selector.get_map():
                if ended_at is not None:
                    return
                # It closed its output and goes on working.
                time.sleep(min(interval, 0.02))
                continue
            ready = selector.select(interval if ended_at is None else 0.0)
            if ended_at is not None and (not ready or time.monotonic() - ended_at > DRAIN_SECONDS):
                return
            if not ready:
                for adapter in adapters.values():
                    adapter.flush()
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                if data:
                    adapters[key.fd].write(data)
                else:
                    selector.unregister(key.fd)


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Return whether the child ended, and leave it unreaped, so that its process group keeps its number."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
