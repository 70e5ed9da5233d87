"""Log lines of long-running commands: time, level, logger, message; secrets never."""

from __future__ import annotations

import json
import logging
import sys
import time

from ..redaction import MAX_LOG_RECORD, redact_text


class LineFormatter(logging.Formatter):
    """``2025-11-23 18:04:05.123 INFO myspinbot_worker.ingestor: …``, or the same as a JSON object.

    Args:
        secrets: Values that are masked wherever they turn up, tracebacks included.
    """

    def __init__(self, secrets: tuple[str, ...] = (), *, as_json: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.default_msec_format = "%s.%03dZ"
        self.converter = time.gmtime
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        if not self._as_json:
            return redact_text(super().format(record), self._secrets, MAX_LOG_RECORD)
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(
            {name: redact_text(text, self._secrets, MAX_LOG_RECORD) for name, text in line.items()}
        )


def set_up_logging(level: str, secrets: tuple[str, ...], *, as_json: bool = False) -> None:
    """Send what every logger says from ``level`` up to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(secrets, as_json=as_json))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # urllib3 and asyncio tell at DEBUG what they do with every connection.
    for chatty in ("urllib3", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.INFO, logging.getLogger().level))
