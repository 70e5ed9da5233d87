"""The demo as a stranger runs it: real servers, real workers, real engines, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import redis

from myspinbot_worker.embedded import EmbeddedRedis, EmbeddedS3

from .harness import wait_until
from .processes import ROOT, Process

pytestmark = pytest.mark.preview


class Demo:
    """Runs the demo in processes that can be told from all others by a mark in their environment."""

    def __init__(self, folder: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.temp = folder / "temp"
        self.temp.mkdir()
        self.output = folder / "video.mp4"
        self.env = {**os.environ, "DEMO_MARK": self.mark, "TMPDIR": str(self.temp)}

    def command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "myspinbot_worker", "demo", "--output", str(self.output), *options]

    def run(self, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*options),
            cwd=ROOT,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def running(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if (
                    process.environ().get("DEMO_MARK") == self.mark
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    wait_until(lambda: not demo.running(), "no process is left")


def check_video(path: Path) -> None:
    import av
    import numpy as np

    with av.open(str(path)) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.width, video.height) == (512, 512)
        assert video.average_rate == 25
        frames = [frame.to_ndarray(format="gray") for frame in file.decode(video)]
        file.seek(0)
        loudness = np.concatenate([frame.to_ndarray().ravel() for frame in file.decode(audio)])
        seconds = loudness.size / audio.rate
    assert abs(len(frames) / 25 - seconds) < 0.2
    assert np.abs(loudness).max() > 0.05, "there is sound"
    moved = [np.abs(a.astype(int) - b.astype(int)).mean() for a, b in pairwise(frames)]
    assert np.median(moved) > 0.05, "the face moves"


def test_a_text_becomes_a_video(demo: Demo) -> None:
    done = demo.run("--text", "Hi there.")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(demo.output))
    check_video(demo.output)
    assert list(demo.temp.glob("myspinbot-demo-*")) == []


def test_ones_own_servers_and_picture(
    demo: Demo, redis_server: EmbeddedRedis, s3_server: EmbeddedS3, redis_url: str, tmp_path: Path
) -> None:
    import skimage.data
    from PIL import Image

    picture = tmp_path / "me.jpg"
    Image.fromarray(skimage.data.astronaut()[:300]).save(picture)  # type: ignore[no-untyped-call]
    done = demo.run(
        *("--text", "Yes.", "--image", str(picture), "--keep"),
        *("--redis-url", redis_url, "--s3-endpoint", s3_server.endpoint),
        MINIO_ACCESS_KEY=s3_server.access_key,
        MINIO_SECRET_KEY=s3_server.secret_key,
    )
    assert done.returncode == 0, done.stderr
    check_video(demo.output)
    (kept,) = demo.temp.glob("myspinbot-demo-*")
    assert f"kept: {kept}" in done.stderr
    assert (kept / "ingestor.log").exists()
    logs = "".join(path.read_text() for path in kept.glob("*.log"))
    assert s3_server.secret_key not in logs + done.stderr
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert [key for key in client.scan_iter() if not key.startswith("job:")] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--text", "  "], "narration is empty"),
        (["--text", "Hi.", "--image", "README.md"], "cannot be decoded"),
        (["--image", "no/such/file.png"], "no such file"),
        (["--redis-url", "http://example"], "redis"),
    ],
)
def test_bad_input_is_one_clear_line(demo: Demo, options: list[str], said: str) -> None:
    done = demo.run(*options)
    assert done.returncode in (1, 2)
    assert said in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr
    assert not demo.output.exists()


def test_a_picture_without_a_face(demo: Demo, tmp_path: Path) -> None:
    import skimage.data
    from PIL import Image

    picture = tmp_path / "coffee.png"
    Image.fromarray(skimage.data.coffee()).save(picture)  # type: ignore[no-untyped-call]
    done = demo.run("--text", "Hi.", "--image", str(picture))
    assert done.returncode == 1
    assert "no_face" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_running(demo: Demo, number: signal.Signals) -> None:
    process = Process("demo", demo.command(), demo.env)
    process.wait_for("running")
    assert len(demo.running()) > 5
    process.signal(number)
    assert process.stop_when_done() == 130
    assert list(demo.temp.glob("myspinbot-demo-*")) == []


def test_killed_it_leaves_nothing_running(demo: Demo) -> None:
    """Even SIGKILL: every process it started is watched by one that ends it."""
    process = Process("demo", demo.command(), demo.env)
    process.wait_for("running")
    os.kill(process.pid, signal.SIGKILL)
    process.stop_when_done()
