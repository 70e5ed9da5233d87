"""The program between us and an embedded server: stops the server when we are gone, and what the server left.

Run by path, as a process of its own (``python -I -S embedded_watchdog.py PARENT GRACE LOG COMMAND...``), so
it imports nothing of this package. Arguments: the process to watch, seconds between SIGTERM and SIGKILL once
it is gone, the file for what the server prints, the server's command line. On stdout it says the server's
process id. On stdin ``T`` terminates the server and ``K`` kills it with everything in its process group; end
of file means that whoever started us is gone. It exits as the server did, 128 and more for a signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_MS = 200
"""How often to look for what the kernel cannot wake us for."""

_GONE_SECONDS = 5.0
"""How long to wait for killed processes to be gone; one that hangs in the kernel must not keep us."""


def main(arguments: list[str]) -> int:
    parent, grace, log, command = int(arguments[0]), float(arguments[1]), arguments[2], arguments[3:]
    children = _wake_for_children()
    server = _start(command, log)
    print(server.pid, flush=True)
    _watch(server, parent, grace, children)
    # The server is not reaped yet, so its process group's number cannot be anyone else's.
    _kill_group(server.pid)
    code = server.wait()
    _wait_for_group(server.pid)
    return code if code >= 0 else 128 - code


def _wake_for_children() -> int:
    """Return a descriptor that is readable when a child has ended. What the server orphans is our child."""
    wakened, waker = os.pipe()
    for end in (wakened, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    if sys.platform == "linux":
        # Else they would go to process 1, which in many containers reaps nobody.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    return wakened


def _start(command: list[str], log: str) -> subprocess.Popen[bytes]:
    """Start the server in a process group of its own; the kernel kills it should we be killed."""
    me = os.getpid()

    def die_with_me() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != me:
            os._exit(1)

    with open(log, "ab") as out:  # noqa: PTH123 - pathlib would double the time this program takes to start
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            process_group=0,
            # Safe here, and only here: this process has one thread.
            preexec_fn=die_with_me if sys.platform == "linux" else None,
        )


def _watch(server: subprocess.Popen[bytes], parent: int, grace: float, children: int) -> None:
    """Return when the server has ended; pass on orders until then, and end it when ``parent`` is gone."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(children, select.POLLIN)
    handle: int | None = None
    with contextlib.suppress(AttributeError, OSError):
        handle = os.pidfd_open(parent)
        poll.register(handle, select.POLLIN)
    deadline: float | None = None
    while not _has_ended(server):
        wait = _LOOK_MS if handle is None or deadline is not None else None
        ready = {descriptor for descriptor, _ in poll.poll(wait)}
        orders = b""
        gone = os.getppid() != parent or handle in ready
        if children in ready:
            os.read(children, 4096)
        if 0 in ready:
            orders = os.read(0, 64)
            gone = gone or not orders
        if b"K" in orders or (deadline is not None and time.monotonic() > deadline):
            _kill_group(server.pid)
        elif b"T" in orders:
            os.kill(server.pid, signal.SIGTERM)
        if gone and deadline is None:
            os.kill(server.pid, signal.SIGTERM)
            deadline = time.monotonic() + grace
            poll.unregister(0)
            if handle is not None:
                poll.unregister(handle)


def _has_ended(server: subprocess.Popen[bytes]) -> bool:
    """Return whether the server ended, and leave it unreaped, so that its number stays its own."""
    if not hasattr(os, "waitid"):
        return server.poll() is not None
    while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if found.si_pid == server.pid:
            return True
        os.waitpid(found.si_pid, 0)
    return False


def _kill_group(group: int) -> None:
    # Nobody is left; macOS says so by refusing.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _wait_for_group(group: int) -> None:
    deadline = time.monotonic() + _GONE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-group, os.WNOHANG)[0]:
                pass
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.002)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
