"""Stand-in: ``python main.py --port …`` serves as ComfyUI's own does."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from typing import Any

import comfy.options

comfy.options.enable_args_parsing()

import comfy.utils  # noqa: E402
import execution  # noqa: E402
import folder_paths  # noqa: E402
import nodes  # noqa: E402
import server  # noqa: E402
from aiohttp import web  # noqa: E402
from comfy import model_management  # noqa: E402
from comfy.cli_args import args  # noqa: E402
from utils.extra_config import load_extra_path_config  # noqa: E402


def _set_folders() -> None:
    for name in ("input", "output", "temp", "user"):
        given = getattr(args, f"{name}_directory")
        if given:
            # As ComfyUI does: its temporary files are in a folder of that name below the one given.
            getattr(folder_paths, f"set_{name}_directory")(f"{given}/temp" if name == "temp" else given)
    for file in itertools.chain.from_iterable(args.extra_model_paths_config):
        load_extra_path_config(file)


def _tell_progress(instance: server.PromptServer) -> None:
    def hook(value: Any, total: Any, preview: Any = None, prompt_id: Any = None, node_id: Any = None) -> None:
        model_management.throw_exception_if_processing_interrupted()
        node = node_id or instance.last_node_id
        told = {"value": value, "max": total, "prompt_id": prompt_id or instance.last_prompt_id, "node": node}
        state = {"node_id": node, "display_node_id": node, "state": "running"}
        nodes_told = {node: {**told, **state}}
        instance.send_sync(
            "progress_state", {"prompt_id": told["prompt_id"], "nodes": nodes_told}, instance.client_id
        )
        instance.send_sync("progress", told, instance.client_id)

    comfy.utils.set_progress_bar_global_hook(hook)


def _run_prompts(instance: server.PromptServer) -> None:
    queue = instance.prompt_queue
    executor = execution.PromptExecutor(instance, cache_type=execution.CacheType.CLASSIC, cache_args={})
    while True:
        taken = queue.get(timeout=1000.0)
        if taken is not None:
            item, number = taken
            instance.last_prompt_id = item[1]
            executor.execute(item[2], item[1], item[3], item[4])
            status = queue.ExecutionStatus(
                "success" if executor.success else "error", executor.success, executor.status_messages
            )
            queue.task_done(number, executor.history_result, status)
            if instance.client_id is not None:
                instance.send_sync("executing", {"node": None, "prompt_id": item[1]}, instance.client_id)
        flags = queue.get_flags()
        if flags.get("unload_models") or flags.get("free_memory"):
            model_management.unload_all_models()
        if flags.get("free_memory"):
            executor.reset()


async def _serve() -> None:
    _set_folders()
    instance = server.PromptServer(asyncio.get_running_loop())
    await nodes.init_extra_nodes()
    instance.add_routes()
    _tell_progress(instance)
    threading.Thread(target=_run_prompts, args=(instance,), daemon=True).start()
    runner = web.AppRunner(instance.app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, args.listen, args.port).start()
    print(f"To see the GUI go to: http://{args.listen}:{args.port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(_serve())
