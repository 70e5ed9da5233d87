"""A file that names other files or addresses is refused, and nothing it names is opened."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.media.probe import probe
from myspinbot_worker.media.source import require_audio
from myspinbot_worker.preview.articulation import articulate
from myspinbot_worker.preview.portrait import load_portrait
from myspinbot_worker.preview.upscale import RealEsrganUpscaler

from .clips import tone, write_wav
from .recorder import Recorder

pytestmark = pytest.mark.preview

PLAYLISTS = {
    "hls.m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n"
    "#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "hls-key.m3u8": '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n'
    "#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "hls-master.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{target}'\nduration 1\n",
    "concat.txt": "file '{target}'\n",
    "manifest.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="audio/wav"><Representation id="1" '
    'bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>\n',
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=audio {port} RTP/AVP 0\na=control:{target}\n",
    "live.asx": '<asx version="3.0"><entry><ref href="{target}"/></entry></asx>\n',
    "old.ram": "{target}\n",
    "rtsp.mov": "rtsptextRTSP://127.0.0.1:{port}/x\n{target}\n",
    "picture.svg": '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'width="9" height="9"><image xlink:href="{target}" width="9" height="9"/></svg>\n',
    "page.eps": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({target}) run\n",
}
"""Files that name another; ``{target}`` is the other one, ``{port}`` where somebody listens."""

OPENERS: dict[str, Callable[[Path, Path], object]] = {
    "probe": lambda path, _: probe(path),
    "voice reference": lambda path, _: require_audio(path, "voice reference"),
    "speech": lambda path, _: articulate(path, Fraction(25)),
    "source video": lambda path, folder: RealEsrganUpscaler().upscale(path, folder / "o.mp4", Recorder()),
    "portrait": lambda path, _: load_portrait(path),
}


class Listener:
    """Counts who connects; answers nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            client.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def test_the_listener_notices_a_visitor(listener: Listener) -> None:
    with socket.create_connection(("127.0.0.1", listener.port)) as visitor:
        assert visitor.recv(1) == b""
    assert listener.connections == 1


def test_without_the_lists_of_what_is_allowed_the_address_would_be_visited(
    listener: Listener, tmp_path: Path
) -> None:
    path = tmp_path / "hls.m3u8"
    path.write_text(PLAYLISTS["hls.m3u8"].format(target=f"http://127.0.0.1:{listener.port}/a.ts"))
    with pytest.raises(av.error.FFmpegError):
        av.open(str(path), options={"protocol_whitelist": "file,http,tcp"})
    assert listener.connections


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("scheme", ["http", "tcp", "file", "path", "relative", "subfile"])
def test_no_other_file_and_no_address_is_opened(
    listener: Listener, tmp_path: Path, name: str, scheme: str
) -> None:
    secret = write_wav(tmp_path / "secret.wav", tone(1.0))
    target = {
        "http": f"http://127.0.0.1:{listener.port}/a.wav",
        "tcp": f"tcp://127.0.0.1:{listener.port}",
        "file": f"file:{secret}",
        "path": str(secret),
        "relative": secret.name,
        "subfile": f"subfile,,start,0,end,9999,,:{secret}",
    }[scheme]
    path = tmp_path / name
    path.write_text(PLAYLISTS[name].format(target=target, port=listener.port))
    for what, open_it in OPENERS.items():
        with pytest.raises(BadMedia, match=r"cannot be decoded"):
            open_it(path, tmp_path)
        assert not (tmp_path / "o.mp4").exists(), what
    assert listener.connections == 0


def test_a_file_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative name that reads like ``concat:…`` is the file of that name."""
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "secret.wav", tone(1.0))
    Path("concat:secret.wav").write_bytes(b"nothing to hear")
    with pytest.raises(BadMedia):
        require_audio(Path("concat:secret.wav"), "voice reference")
    write_wav(tmp_path / "file:a.wav", tone(0.5))
    assert probe(Path("file:a.wav")).duration == 0.5
