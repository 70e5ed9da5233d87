"""Boot ComfyUI headless: what ``main.py`` of a checkout does, but for listening and looking at the queue."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

Send = Callable[[str, dict[str, Any]], None]
"""Takes an event's name and its data."""


class CannotBoot(Exception):
    """This checkout cannot be run by the farm; the message says in one line why."""


@dataclass(frozen=True)
class BootSettings:
    """What the parent says.

    Attributes:
        root: The ComfyUI checkout.
        home: An empty folder for what ComfyUI wants to keep (users, logs).
        arguments: ComfyUI's own command line arguments.
        models: Further folders that hold model folders (``checkpoints``, ``upscale_models``, …).
        custom_nodes: Further folders of custom node packs; the checkout's own is always there.
        keep_warm: Functions of packs whose results are kept (:mod:`.warm`).
        idle_free_seconds: After so long without a prompt models are let go; 0 for never.
    """

    root: str
    home: str
    arguments: list[str]
    models: list[str]
    custom_nodes: list[str]
    keep_warm: list[str]
    idle_free_seconds: float


@dataclass
class Comfy:
    """A booted ComfyUI: its modules and the one server object that packs look for."""

    execution: Any
    nodes: Any
    folder_paths: Any
    management: Any
    server: Any
    version: str
    failed: list[str]

    def new_executor(self, server: Any = None) -> Any:
        """A ``PromptExecutor``; its constructor has changed often.

        Raises:
            CannotBoot: It wants something that the farm does not know.
        """
        kind = self.execution.PromptExecutor
        known = {
            "server": server or self.server,
            "cache_type": self.execution.CacheType.CLASSIC,
            "cache_args": {"lru": 0, "ram": 0.0, "ram_inactive": 0.0},
            "cache_size": 0,
        }
        wanted = list(inspect.signature(kind).parameters.values())
        unknown = [item.name for item in wanted if item.name not in known and item.default is item.empty]
        if unknown:
            raise CannotBoot(f"PromptExecutor of ComfyUI {self.version} also wants {', '.join(unknown)}")
        return kind(**{item.name: known[item.name] for item in wanted if item.name in known})


def boot(settings: BootSettings, send: Send) -> Comfy:
    """Import ComfyUI and load its nodes; 5 to 60 s.

    Raises:
        CannotBoot: The folder holds no ComfyUI, or one that lacks what the farm uses.
    """
    root = Path(settings.root)
    if not (root / "execution.py").is_file() or not (root / "nodes.py").is_file():
        raise CannotBoot(f"{root} is no ComfyUI checkout: it has no execution.py and nodes.py")
    # First, and its package ``utils`` at once: anything else of that name would be found in its place.
    sys.path.insert(0, str(root))
    try:
        importlib.import_module("utils")
        _parse_arguments(settings)
        folder_paths = importlib.import_module("folder_paths")
        _set_folders(folder_paths, settings)
        _run_prestartup_scripts(folder_paths)
        execution = importlib.import_module("execution")
        nodes = importlib.import_module("nodes")
        server = _server(importlib.import_module("server"), send)
        failed = asyncio.run(_load_nodes(nodes))
        management = importlib.import_module("comfy.model_management")
        importlib.import_module("comfy.utils")
    except ImportError as error:
        raise CannotBoot(f"ComfyUI in {root} cannot be imported: {error}") from error
    except AttributeError as error:
        raise CannotBoot(f"ComfyUI in {root} lacks what the farm uses: {error}") from error
    return Comfy(execution, nodes, folder_paths, management, server, _version(), failed)


def _parse_arguments(settings: BootSettings) -> None:
    """ComfyUI reads ``sys.argv`` when its ``cli_args`` is imported, and only once it was told to."""
    importlib.import_module("comfy.options").enable_args_parsing()
    kept, sys.argv = sys.argv, ["main.py", *settings.arguments]
    try:
        args = importlib.import_module("comfy.cli_args").args
    except SystemExit:
        raise CannotBoot(f"ComfyUI refuses the arguments {' '.join(settings.arguments)!r}") from None
    finally:
        sys.argv = kept
    home = Path(settings.home)
    (home / "web").mkdir()
    # Not by the command line: an argument that a version does not know would end it.
    for name, value in {
        "disable_api_nodes": True,
        "front_end_root": str(home / "web"),
        "database_url": "sqlite:///:memory:",
    }.items():
        if hasattr(args, name):
            setattr(args, name, value)


def _set_folders(folder_paths: Any, settings: BootSettings) -> None:
    home = Path(settings.home)
    for name in ("input", "output", "temp", "user"):
        (home / name).mkdir()
        getattr(folder_paths, f"set_{name}_directory")(str(home / name))
    own = Path(settings.root, "extra_model_paths.yaml")
    if own.is_file():
        importlib.import_module("utils.extra_config").load_extra_path_config(str(own))
    for given in (*settings.models, *settings.custom_nodes):
        if not Path(given).is_dir():
            raise CannotBoot(f"there is no folder {given} for ComfyUI to find models or nodes in")
    for models in settings.models:
        for folder in sorted(Path(models).iterdir()):
            if folder.is_dir():
                folder_paths.add_model_folder_path(folder.name, str(folder))
    for packs in settings.custom_nodes:
        folder_paths.add_model_folder_path("custom_nodes", packs)


def _run_prestartup_scripts(folder_paths: Any) -> None:
    """Packs may bring a script that wants to run before anything of theirs is imported."""
    for packs in folder_paths.get_folder_paths("custom_nodes"):
        for script in sorted(Path(packs).glob("*/prestartup_script.py")):
            if script.parent.name.endswith(".disabled"):
                continue
            spec = importlib.util.spec_from_file_location(str(script.with_suffix("")), script)
            if spec is None or spec.loader is None:
                continue
            try:
                spec.loader.exec_module(importlib.util.module_from_spec(spec))
            except Exception:
                log.exception("%s failed", script)


def _server(module: Any, send: Send) -> Any:
    """A real ``PromptServer`` that never listens: packs register routes with it when they are imported."""

    class Headless(module.PromptServer):  # type: ignore[misc]
        def send_sync(self, event: Any, data: Any, sid: Any = None) -> None:
            if isinstance(event, str) and isinstance(data, dict):
                send(event, data)

    made = Headless(asyncio.new_event_loop())
    made.client_id = None
    made.last_prompt_id = None
    made.last_node_id = None
    return made


async def _load_nodes(nodes: Any) -> list[str]:
    failed = await nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=False)
    return [str(name) for name in failed or ()]


def _version() -> str:
    try:
        return str(importlib.import_module("comfyui_version").__version__)
    except (ImportError, AttributeError):
        return "unknown"
