"""``python -m myspinbot_worker.cli``."""

from __future__ import annotations

from . import main

main(prog_name="myspinbot-worker")
