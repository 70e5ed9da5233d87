"""A worker that could not be set up must not work: Dramatiq would log a failing hook and go on without it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import FarmError

log = logging.getLogger(__name__)

EXIT_CODE = 78
"""What a worker process ends with when it cannot be set up (EX_CONFIG of sysexits.h)."""


@contextmanager
def or_exit(what: str) -> Iterator[None]:
    """End the process if the block fails.

    Raises:
        SystemExit: It did; Dramatiq's command then stops its other processes and ends too.
    """
    try:
        yield
    except FarmError as error:
        log.critical("%s: %s", what, error.message)
        raise SystemExit(EXIT_CODE) from None
    except Exception as error:
        log.critical("%s failed", what, exc_info=True)
        raise SystemExit(EXIT_CODE) from error
