"""Waiting for a server that may be slow or away, without turning away from whoever may call the work off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from .engine import Observer
from .remote_http import Away

T = TypeVar("T")

CHECK_SECONDS = 0.05
AGAIN_SECONDS = 0.5
_STOP_SECONDS = 3.0


class Waiting:
    """Requests go out from another thread, while this one calls ``observer.check()``.

    Args:
        patience_seconds: How long the server may be away.
    """

    def __init__(self, observer: Observer, patience_seconds: float) -> None:
        self.observer = observer
        self.patience_seconds = patience_seconds

    def once(self, request: Callable[[threading.Event], T]) -> T:
        """What ``request`` returns or raises; the event given to it says that nobody waits any more."""
        stop = threading.Event()
        pool = ThreadPoolExecutor(1, "comfyui-request")
        try:
            asked = pool.submit(request, stop)
            try:
                while not wait([asked], CHECK_SECONDS).done:
                    self.observer.check()
                return asked.result()
            except BaseException:
                # A request under way may still take effect: what is done about it comes after it.
                stop.set()
                wait([asked], _STOP_SECONDS)
                raise
        finally:
            pool.shutdown(wait=False)

    def patiently(self, request: Callable[[threading.Event], T]) -> T:
        """As :meth:`once`, again and again while the server is away.

        Raises:
            Away: For longer than the patience.
        """
        ends = time.monotonic() + self.patience_seconds
        while True:
            try:
                return self.once(request)
            except Away:
                if time.monotonic() >= ends:
                    raise
            self.pause(AGAIN_SECONDS)

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self.observer.check()
            time.sleep(min(left, CHECK_SECONDS))
