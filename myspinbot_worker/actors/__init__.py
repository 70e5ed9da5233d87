"""Every task of the farm as a Dramatiq actor: what ``dramatiq myspinbot_worker.actors`` loads.

Importing this package imports the modules below it, which declare the capabilities, and builds the broker
from the settings. It imports no torch and no engine: the ingestor imports it too, to know which queue serves
which service.

Modules named in ``farm.actor_modules`` are imported too: a further capability is a module with a function
under ``@capability`` and that setting.
"""

from __future__ import annotations

import importlib

import dramatiq

from ..config import load_settings
from ..worker import build_worker
from . import dummy, generate, info

__all__ = ["broker", "dummy", "farm", "generate", "info"]

_settings = load_settings()
for _module in _settings.farm.actor_modules:
    importlib.import_module(_module)
farm = build_worker(_settings)
broker = farm.broker
dramatiq.set_broker(broker)
