"""A stand-in for a ComfyUI server, as far as one client sees it: a test says what runs, ends, breaks or vanishes.

It runs nothing. Real servers are for the conformance suite; here are answers that none gives on demand.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from starlette.responses import JSONResponse


class FakeServer:
    """Listens once entered.

    Attributes:
        queue: Ids of prompts that wait or run; the first one runs.
        answers: Path → a response given in place of the usual one.
        on_prompt: Called with a prompt's id when it has been queued.
    """

    def __init__(self, *, auth: str | None = None) -> None:
        self.queue: list[str] = []
        self.history: dict[str, Any] = {}
        self.clients: dict[str, WebSocket] = {}
        self.was_heard: list[str] = []
        self.told: list[tuple[str, Any]] = []
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.uploads: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[], Response]] = {}
        self.on_prompt: Callable[[str], None] = lambda _: None
        self.interrupts_end = True
        self._auth = auth and "Basic " + base64.b64encode(auth.encode()).decode()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(self._app(), log_level="error", lifespan="off", ws="websockets-sansio")
        )
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, prompt: str, event: str, **data: Any) -> None:
        """To the client that posted the prompt, when it listens."""
        self.send_text(prompt, json.dumps({"type": event, "data": {"prompt_id": prompt, **data}}))

    def send_text(self, prompt: str, text: str) -> None:
        """A frame as it is."""
        if (client := self.clients.get(prompt)) is not None:
            self._from_outside(client.send_text(text))

    def send_bytes(self, prompt: str, data: bytes) -> None:
        """A binary frame, as previews are."""
        self._from_outside(self.clients[prompt].send_bytes(data))

    def end(self, prompt: str, outputs: Any = None, *, error: Any = None, interrupted: bool = False) -> None:
        """The prompt moves from the queue to the history; no event is sent."""
        kind = "execution_error" if error else "execution_interrupted" if interrupted else "execution_success"
        status = "success" if kind == "execution_success" else "error"
        messages = [["execution_cached", {"nodes": [], "prompt_id": prompt}], [kind, error or {}]]
        self.history[prompt] = {
            "outputs": outputs or {},
            "status": {"status_str": status, "messages": messages},
        }
        self.queue.remove(prompt)

    def restart(self) -> None:
        """All that it knew is forgotten."""
        self.queue.clear()
        self.history.clear()

    def _serve(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve([self._socket])

        asyncio.run(serve())

    def _from_outside(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def first(request: Request, call_next: Any) -> Response:
            if self._auth and request.headers.get("authorization") != self._auth:
                return Response("who?", 401)
            made = self.answers.get(request.url.path.split("/")[1])
            if made is not None:
                return made()
            answer: Response = await call_next(request)
            return answer

        @app.websocket("/ws")
        async def ws(client: WebSocket) -> None:
            if self._auth and client.headers.get("authorization") != self._auth:
                await client.close()
                return
            await client.accept()
            name = client.query_params["clientId"]
            self.was_heard.append(name)
            self.clients[name] = client
            try:
                while True:
                    await client.receive_text()
            except (WebSocketDisconnect, RuntimeError):
                if self.clients.get(name) is client:
                    del self.clients[name]

        @app.get("/system_stats")
        def stats() -> Any:
            return {"devices": [{"type": "cuda", "vram_free": 5_000}]}

        @app.get("/object_info")
        def info() -> Any:
            return {"Slow": {"input": {}}}

        @app.get("/queue")
        def queue() -> Any:
            items = [[number, name, {}, {}, []] for number, name in enumerate(self.queue)]
            return {"queue_running": items[:1], "queue_pending": items[1:]}

        @app.get("/history/{prompt}")
        def history(prompt: str) -> Any:
            return {prompt: self.history[prompt]} if prompt in self.history else {}

        @app.post("/prompt")
        async def post(request: Request) -> Any:
            body = await request.json()
            self.told.append(("prompt", body))
            self.queue.append(body["prompt_id"])
            threading.Thread(target=self.on_prompt, args=(body["prompt_id"],)).start()
            return {"prompt_id": body["prompt_id"], "number": 1, "node_errors": {}}

        @app.post("/queue")
        async def delete(request: Request) -> Response:
            body = await request.json()
            self.told.append(("delete", body["delete"]))
            self.queue[1:] = [name for name in self.queue[1:] if name not in body["delete"]]
            return Response()

        @app.post("/interrupt")
        async def interrupt(request: Request) -> Response:
            body = await request.json()
            self.told.append(("interrupt", body))
            if self.interrupts_end and self.queue[:1] == [body.get("prompt_id")]:
                self.end(body["prompt_id"], interrupted=True)
            return Response()

        @app.post("/free")
        async def free(request: Request) -> Response:
            self.told.append(("free", await request.json()))
            return Response()

        @app.post("/upload/image")
        async def upload(request: Request) -> Any:
            # Read by hand: FastAPI needs a package more for forms.
            head, _, body = (await request.body()).partition(b'filename="')
            name = body.partition(b'"')[0].decode()
            folder = head.partition(b'name="subfolder"')[2].split(b"\r\n")[2].decode()
            content = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
            self.uploads[f"{folder}/{name}"] = content
            return {"name": name, "subfolder": folder, "type": "input"}

        @app.get("/view")
        def view(filename: str, subfolder: str = "", type: str = "output") -> Response:
            found = self.files.get((type, subfolder, filename))
            return Response("no such file", 404) if found is None else Response(found)

        return app


class Relay:
    """TCP between an engine and a server, which a test cuts; see :meth:`cut`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[socket.socket] = []
        self._is_down = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self, *, stay_down: bool = False) -> None:
        """Break every connection; with ``stay_down`` new ones break too."""
        self._is_down = stay_down
        while self._pairs:
            _break(self._pairs.pop())

    def close(self) -> None:
        self.cut(stay_down=True)
        _break(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_down:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._pairs += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        _break(source)
        _break(target)


def _break(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        end.close()


def answer(body: Any, status: int = 200, **headers: str) -> Callable[[], Response]:
    """Always the same answer: JSON, or text as it is."""
    if isinstance(body, str):
        return lambda: Response(body, status, headers)
    return lambda: JSONResponse(body, status, headers)
