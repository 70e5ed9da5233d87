"""Every task of the farm as a Dramatiq actor: what ``dramatiq myspinbot_worker.actors`` loads.

Importing this package imports the modules below it, which declare the capabilities, and builds the broker
from the settings. It imports no torch and no engine: the ingestor imports it too, to know which queue serves
which service.

Modules named in ``farm.actor_modules`` are imported too: a further capability is a module with a function
under ``@capability`` and that setting. So is every workflow in the folder ``comfyui.workflows_dir``, which needs no
Python at all.
"""

from __future__ import annotations

import importlib

import dramatiq

from ..capability import registry
from ..comfy.rendering import render_capability
from ..config import load_settings
from ..media_limits import set_media_limits
from ..metrics_server import ask_for_token
from ..worker import build_worker
from . import dummy, generate, info, train

__all__ = ["broker", "dummy", "farm", "generate", "info", "train"]

_settings = load_settings()
set_media_limits(_settings.farm)
for _module in _settings.farm.actor_modules:
    importlib.import_module(_module)
registry.add(render_capability(_settings.comfyui))
if _settings.comfyui.workflows_dir is not None:
    # Its parts take a while to import, and every runner would.
    from ..comfy.capabilities import register_workflows

    register_workflows(_settings.comfyui, _settings.storage.buckets, registry)
farm = build_worker(_settings)
broker = farm.broker
ask_for_token(broker, _settings.server.token.get_secret_value())
dramatiq.set_broker(broker)
