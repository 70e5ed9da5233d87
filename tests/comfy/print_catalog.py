"""Prints the catalog of a ComfyUI checkout, as its server would; runs in a process of its own.

python print_catalog.py <checkout>
"""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
import os
import sys


def _torchvision_operators() -> None:
    """PyPI's torchvision without its compiled part imports once this operator has a schema."""
    import torch

    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


async def _catalog() -> bytes:
    import nodes
    import server

    prompt_server = server.PromptServer(asyncio.get_running_loop())
    await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
    prompt_server.add_routes()
    (route,) = [route for route in prompt_server.routes if route.path == "/object_info"]
    answer = await route.handler(None)
    return answer.body if isinstance(answer.body, bytes) else answer.body._value


def main(root: str) -> None:
    sys.path.insert(0, root)
    import utils  # noqa: F401 - ComfyUI's, before any other of this name

    sys.argv = ["main.py", "--cpu"]
    _torchvision_operators()
    import comfy.options

    comfy.options.enable_args_parsing()
    # Packs and extras print; the last line is ours.
    ours, sys.stdout = os.fdopen(os.dup(1), "wb"), sys.stderr
    ours.write(b"\n" + asyncio.run(_catalog()) + b"\n")
    ours.flush()


if __name__ == "__main__":
    main(sys.argv[1])
