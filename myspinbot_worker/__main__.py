"""``python -m myspinbot_worker`` is ``myspinbot-worker``."""

from .cli import main

main()
