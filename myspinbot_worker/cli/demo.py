"""``demo``: a portrait and a text become a talking video, through a whole farm on this machine."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

import click

from .setup import FAILED, INTERRUPTED, fail

if TYPE_CHECKING:
    from ..demo.stage import Stage
    from ..job_state import Concluded

GIVE_UP_SECONDS = 1800.0


@click.command()
@click.option("--text", default=None, help="What the bot says. [default: a greeting]")
@click.option(
    "--image", type=click.Path(path_type=Path), default=None, help="A portrait. [default: a photograph]"
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("demo-output/talking-bot.mp4"),
    show_default=True,
    help="Where the video goes.",
)
@click.option("--keep", is_flag=True, help="Keep the demo's folder: server data, logs, artifacts.")
@click.option("--redis-url", default=None, help="Use this Redis instead of an embedded one.")
@click.option(
    "--s3-endpoint",
    default=None,
    help="Use this object storage instead of an embedded one; keys from MINIO_ACCESS_KEY and MINIO_SECRET_KEY.",
)
@click.option(
    "--engine",
    type=click.Choice(["preview", "comfyui"]),
    default="preview",
    show_default=True,
    help="What does the work; comfyui needs COMFYUI_ROOT_DIR or COMFYUI_URL, and does what it has the models for.",
)
def demo(
    text: str | None,
    image: Path | None,
    output: Path,
    keep: bool,
    redis_url: str | None,
    s3_endpoint: str | None,
    engine: str,
) -> None:
    """Make a talking video on this machine, without a GPU.

    Starts Redis, object storage, an ingestor and two workers, sends the platform's pipeline through them,
    and stops them all again. The engines are previews: they show the farm, not the quality of its models. With
    --engine comfyui a real ComfyUI does what it can (upscaling at least, for which the demo has a model), and what it
    has no models for is left to a preview, by name.

    \b
    Example:
      myspinbot-worker demo --text "Good morning!" --image me.jpg
      COMFYUI_ROOT_DIR=~/ComfyUI myspinbot-worker demo --engine comfyui
    """
    from ..errors import FarmError

    began = time.monotonic()
    # As Ctrl-C: whatever was started is stopped again.
    signal.signal(signal.SIGTERM, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="myspinbot-demo-"))
    try:
        video = _make_video(folder, text, image, output, redis_url, s3_endpoint, engine)
    except KeyboardInterrupt:
        click.echo("stopped; nothing is left running", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except FarmError as error:
        fail(error.message)
    finally:
        if keep:
            click.echo(f"kept: {folder}", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    click.echo(f"{video} ({time.monotonic() - began:.0f} s)")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _make_video(
    folder: Path,
    text: str | None,
    image: Path | None,
    output: Path,
    redis_url: str | None,
    s3_endpoint: str | None,
    engine: str,
) -> Path:
    from ..demo.engine import engine_settings
    from ..demo.material import SCRIPT, VOICE_TEXT, portrait, reference_voice
    from ..demo.pipeline import talking_bot
    from ..demo.stage import set_up

    _say("preparing a portrait and a voice")
    picture = portrait(image, folder)
    voice = reference_voice(folder)
    job = str(uuid4())
    chosen = engine_settings(engine, folder, _say)
    with set_up(folder, redis_url=redis_url, s3_endpoint=s3_endpoint, engine=chosen, say=_say) as stage:
        storage = stage.farm.storage
        image_key, voice_key = f"{job}/portrait{picture.suffix.lower()}", f"{job}/voice.wav"
        storage.upload(picture, "input", image_key)
        storage.upload(voice, "input", voice_key)
        graph = talking_bot(
            job, image_path=f"input/{image_key}", voice_path=f"input/{voice_key}", voice_text=VOICE_TEXT
        )
        finished = _run_job(stage, graph, SCRIPT if text is None else text)
        artifact = finished["nodes"][-1]["output"]["videoArtifact"]
        output.parent.mkdir(parents=True, exist_ok=True)
        return storage.download(
            artifact["bucket"], artifact["key"], output, expected_size=artifact["size_bytes"]
        ).absolute()


def _say(what: str) -> None:
    click.echo(f"{what} …", err=True)


def _run_job(stage: Stage, graph: dict[str, Any], script: str) -> dict[str, Any]:
    """Send the job round, showing it; the finished graph."""
    from rich.console import Console

    from ..demo.control_plane import ControlPlane
    from ..inspection import Inspector
    from .following import Follower
    from .views import JobView, PlainView

    farm = stage.farm
    sent = threading.Event()
    entries: list[str] = []

    def on_visit(entry: str) -> None:
        entries.append(entry)
        sent.set()

    control = ControlPlane(farm.client, farm.store.streams, script, on_visit)
    console = Console(stderr=True)
    view = JobView(console, title="talking bot") if sys.stderr.isatty() else PlainView(err=True)
    inspector = Inspector(farm.binary_client, farm.store.keys, farm.store.streams)
    control.start()
    try:
        control.submit(graph)
        if not sent.wait(30):
            fail("the control plane's stand-in did not pass the job on")
        follower = Follower(inspector, farm.store.messages, graph["workflowId"], entries[0])
        with follower, view if isinstance(view, JobView) else nullcontext():
            visit = follower.follow(view, GIVE_UP_SECONDS)
        return _result(control, visit)
    finally:
        control.stop()


def _result(control: Any, visit: Concluded) -> dict[str, Any]:
    if not visit.successful:
        fail(f"the job ended as {visit.verdict}: {visit.reason}", FAILED)
    if not control.wait_home(30):
        fail("the finished graph did not come back on the control stream")
    finished: dict[str, Any] = control.finished
    return finished
