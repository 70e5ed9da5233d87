"""Puts the wall clock of the process that loads it off by ``TEST_CLOCK_AHEAD_SECONDS``: a fake, but all that is read.

A real one cannot be set for one process: libfaketime, with Python 3.11, breaks ``time.sleep``.
"""

from __future__ import annotations

import os
import time

import dramatiq.common

_real = time.time
_ahead = float(os.environ.get("TEST_CLOCK_AHEAD_SECONDS", "0"))


def _skewed() -> float:
    return _real() + _ahead


time.time = _skewed
# Dramatiq imported it by name.
setattr(dramatiq.common, "time", _skewed)  # noqa: B010 - not a name that others may use
