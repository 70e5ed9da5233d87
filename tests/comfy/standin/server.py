"""Stand-in: the HTTP routes and the socket."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import comfyui_version
import execution
import folder_paths
import nodes
from aiohttp import web


class PromptServer:
    """Made once; packs find it as ``PromptServer.instance``."""

    instance: PromptServer

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        PromptServer.instance = self
        self.loop = loop
        self.prompt_queue = execution.PromptQueue(self)
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.sockets_metadata: dict[str, Any] = {}
        self.client_id: str | None = None
        self.last_node_id: str | None = None
        self.last_prompt_id: str | None = None
        self.number = 0
        self.app = web.Application(client_max_size=100 << 20)
        self.routes = web.RouteTableDef()
        self.routes.get("/ws")(self._ws)
        writing: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "/prompt": self._prompt, "/queue": self._change_queue, "/interrupt": self._interrupt,
            "/free": self._free, "/upload/image": self._upload,
        }  # fmt: skip
        for path, handler in writing.items():
            self.routes.post(path)(handler)
        reading: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "/queue": self._queue, "/history": self._history, "/history/{prompt_id}": self._history,
            "/view": self._view, "/object_info": self._object_info, "/system_stats": self._system_stats,
        }  # fmt: skip
        for path, handler in reading.items():
            self.routes.get(path)(handler)

    def add_routes(self) -> None:
        """After the packs have added theirs."""
        self.app.add_routes(self.routes)

    def send_sync(self, event: Any, data: Any, sid: str | None = None) -> None:
        """From any thread; to one client, or to all."""
        self.loop.call_soon_threadsafe(lambda: self.loop.create_task(self.send(event, data, sid)))

    async def send(self, event: str, data: Any, sid: str | None = None) -> None:
        text = json.dumps({"type": event, "data": data})
        for socket in (
            [self.sockets[sid]] if sid in self.sockets else list(self.sockets.values()) if sid is None else ()
        ):
            if not socket.closed:
                await socket.send_str(text)

    def queue_updated(self) -> None:
        self.send_sync("status", {"status": self._queue_info()})

    def _queue_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self.prompt_queue.get_tasks_remaining()}}

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = request.query.get("clientId") or uuid.uuid4().hex
        self.sockets[sid] = socket
        self.sockets_metadata[sid] = {"feature_flags": {}}
        try:
            await self.send("status", {"status": self._queue_info(), "sid": sid}, sid)
            if self.client_id == sid and self.last_node_id is not None:
                await self.send("executing", {"node": self.last_node_id}, sid)
            async for _ in socket:
                pass
        finally:
            if self.sockets.get(sid) is socket:
                del self.sockets[sid], self.sockets_metadata[sid]
        return socket

    async def _prompt(self, request: web.Request) -> web.Response:
        given = await request.json()
        prompt_id = given.get("prompt_id") or str(uuid.uuid4())
        if not _is_id(prompt_id):
            text = "prompt_id must be a valid UUID"
            error = {"type": "invalid_prompt_id", "message": text, "details": "", "extra_info": {}}
            return web.json_response({"error": error, "node_errors": {}}, status=400)
        valid, error, outputs, node_errors = await execution.validate_prompt(prompt_id, given["prompt"], None)
        if not valid:
            return web.json_response({"error": error, "node_errors": node_errors}, status=400)
        self.number += 1
        extra = {**given.get("extra_data", {}), "client_id": given.get("client_id")}
        self.prompt_queue.put((self.number, prompt_id, given["prompt"], extra, outputs, {}))
        return web.json_response({"prompt_id": prompt_id, "number": self.number, "node_errors": node_errors})

    async def _queue(self, request: web.Request) -> web.Response:
        running, pending = self.prompt_queue.get_current_queue()
        told = {
            "queue_running": [item[:5] for item in running],
            "queue_pending": [item[:5] for item in pending],
        }
        return web.json_response(told)

    async def _change_queue(self, request: web.Request) -> web.Response:
        given = await request.json()
        ids = set(given.get("delete", ()))
        self.prompt_queue.delete_queue_item(lambda item: bool(given.get("clear")) or item[1] in ids)
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        """With a ``prompt_id``, only if that one runs."""
        text = await request.text()
        wanted = json.loads(text).get("prompt_id") if text else None
        running, _ = self.prompt_queue.get_current_queue()
        if wanted is None or any(item[1] == wanted for item in running):
            nodes.interrupt_processing()
        return web.Response()

    async def _free(self, request: web.Request) -> web.Response:
        for name, value in (await request.json()).items():
            if value:
                self.prompt_queue.set_flag(name, value)
        return web.Response()

    async def _history(self, request: web.Request) -> web.Response:
        return web.json_response(self.prompt_queue.get_history(request.match_info.get("prompt_id")))

    async def _view(self, request: web.Request) -> web.StreamResponse:
        root = folder_paths.get_directory_by_type(request.query.get("type", "output"))
        if root is None or "filename" not in request.query:
            return web.Response(status=400)
        file = Path(root, request.query.get("subfolder", ""), Path(request.query["filename"]).name).resolve()
        if not file.is_relative_to(Path(root).resolve()):
            return web.Response(status=403)
        return web.FileResponse(file) if file.is_file() else web.Response(status=404)

    async def _upload(self, request: web.Request) -> web.Response:
        given = await request.post()
        image, subfolder = given.get("image"), str(given.get("subfolder", ""))
        place = str(given.get("type", "input"))
        root = folder_paths.get_directory_by_type(place)
        if not isinstance(image, web.FileField) or root is None:
            return web.Response(status=400)
        file = Path(root, subfolder, image.filename).resolve()
        if not file.is_relative_to(Path(root).resolve()):
            return web.Response(status=400)
        file.parent.mkdir(parents=True, exist_ok=True)
        number = 0
        while given.get("overwrite") not in ("true", "1") and file.exists():
            number += 1
            file = file.with_name(f"{Path(image.filename).stem} ({number}){file.suffix}")
        file.write_bytes(image.file.read())
        return web.json_response({"name": file.name, "subfolder": subfolder, "type": place})

    async def _object_info(self, request: web.Request) -> web.Response:
        return web.json_response(
            {name: _described(name, kind) for name, kind in nodes.NODE_CLASS_MAPPINGS.items()}
        )

    async def _system_stats(self, request: web.Request) -> web.Response:
        system = {"comfyui_version": comfyui_version.__version__}
        return web.json_response(
            {"system": system, "devices": [{"name": "cpu", "type": "cpu", "index": None}]}
        )


def _described(name: str, kind: Any) -> dict[str, Any]:
    wanted = kind.INPUT_TYPES()
    return {
        "input": wanted,
        "input_order": {group: list(inputs) for group, inputs in wanted.items()},
        "output": kind.RETURN_TYPES,
        "output_name": getattr(kind, "RETURN_NAMES", kind.RETURN_TYPES),
        "name": name,
        "display_name": name,
        "python_module": getattr(kind, "RELATIVE_PYTHON_MODULE", "nodes"),
        "category": getattr(kind, "CATEGORY", "sd"),
        "output_node": getattr(kind, "OUTPUT_NODE", False),
    }


def _is_id(text: Any) -> bool:
    try:
        return bool(text == str(uuid.UUID(text)))
    except (ValueError, AttributeError, TypeError):
        return False
