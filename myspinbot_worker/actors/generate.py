"""The talking-bot pipeline: speech, talking head, upscaling. The engines do the work (``farm.engine``)."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import Field

from ..artifact import Artifact
from ..capability import ObjectPath, Payload, capability
from ..comfy.parameters import SpeechSettings, TalkSettings, UpscaleSettings
from ..errors import BadInput, BadMedia
from ..media.facts import Probe
from ..media.gate import verify
from ..media.probe import probe
from ..media.promise import AudioPromise, Promise, VideoPromise
from ..task import Task

log = logging.getLogger(__name__)

_CURRENT_PROGRESS = "The job's progress so far."

# Far longer than the work takes: what runs for so long hangs.
_SPEECH_SECONDS = 900
_VIDEO_SECONDS = 7200

_SPEECH = AudioPromise(codecs=frozenset({"pcm_s16le"}), rate=16000, channels=1, shortest=0.1)

# Shorter talks than this (s) may end before anything has moved.
_MOVES_WITHIN = 1.0


class SpeechParams(SpeechSettings):
    audioPath: ObjectPath = Field(description='Reference voice, "bucket/key".')
    refText: str = Field("", description="What the reference voice says.")


class SpeechInput(Payload):
    narration: str = Field(description="The text to speak.")
    currentProgress: float | None = Field(None, description=_CURRENT_PROGRESS)


class SpeechOutput(Payload):
    audioArtifact: Artifact = Field(description="The speech: WAV, 16 kHz, mono.")
    currentProgress: float


@capability("generate.f5_to_tts", kind="gpu", label="Speech from text", timeout_seconds=_SPEECH_SECONDS)
def f5_to_tts(task: Task, params: SpeechParams, given: SpeechInput) -> SpeechOutput:
    """Speak a text in the voice of a reference recording."""
    if not given.narration.strip():
        raise BadInput("input.narration is empty: there is nothing to speak")
    reference = task.fetch(params.audioPath)
    speech = task.scratch / "speech.wav"
    engine = task.engines.speech
    with task.device():
        engine.speak(
            given.narration,
            reference,
            params.refText,
            speech,
            task.steps(0.05, 0.95),
            settings=params,
            kept=task.checkpoints,
        )
    return SpeechOutput(
        audioArtifact=_kept(task, speech, _SPEECH, "staged", "audio/wav"),
        currentProgress=task.current_progress(given.currentProgress),
    )


class TalkParams(TalkSettings):
    imagePath: ObjectPath = Field(description='The portrait, "bucket/key".')
    positive_prompt: str = Field("", description="What the video should look like.")
    negative_prompt: str = Field("", description="What it should not look like.")


class TalkInput(Payload):
    audioArtifact: Artifact = Field(description="The speech to lip-sync to.")
    currentProgress: float | None = Field(None, description=_CURRENT_PROGRESS)


class VideoOutput(Payload):
    videoArtifact: Artifact = Field(description="The video: MP4 with H.264 and AAC.")
    currentProgress: float


@capability(
    "generate.infinite_talk",
    kind="gpu",
    label="Talking head",
    timeout_seconds=_VIDEO_SECONDS,
    reuse=True,
    seed="seed",
)
def infinite_talk(task: Task, params: TalkParams, given: TalkInput) -> VideoOutput:
    """Make a portrait speak a recording."""
    portrait = task.fetch(params.imagePath)
    speech = task.fetch(given.audioArtifact)
    video = task.scratch / "talk.mp4"
    engine = task.engines.talking_head
    promise = talk_promise(probe(speech, "speech", check=task.check))
    with task.device():
        engine.animate(
            portrait,
            speech,
            video,
            task.steps(0.05, 0.95),
            settings=params,
            kept=task.checkpoints,
            positive=params.positive_prompt,
            negative=params.negative_prompt,
        )
    return VideoOutput(
        videoArtifact=_kept(task, video, promise, "staged", "video/mp4"),
        currentProgress=task.current_progress(given.currentProgress),
    )


def talk_promise(speech: Probe) -> VideoPromise:
    """What a talking head owes for a speech.

    Raises:
        BadMedia: The speech is no sound.
    """
    if speech.audio is None:
        raise BadMedia("speech holds no sound")
    spoken = speech.audio.duration
    return VideoPromise(
        codecs=frozenset({"h264"}),
        constant=True,
        duration=spoken,
        within_frames=2,
        moving=spoken >= _MOVES_WITHIN,
        sound=AudioPromise.of(speech.audio, frozenset({"aac"})),
    )


class UpscaleParams(UpscaleSettings):
    """No params are needed."""


class UpscaleInput(Payload):
    videoArtifact: Artifact = Field(description="The video to enlarge.")
    currentProgress: float | None = Field(None, description=_CURRENT_PROGRESS)


@capability(
    "generate.upscale_video", kind="gpu", label="Video upscaling", timeout_seconds=_VIDEO_SECONDS, reuse=True
)
def upscale_video(task: Task, params: UpscaleParams, given: UpscaleInput) -> VideoOutput:
    """Enlarge a video to twice its width and height, its sound carried over."""
    source = task.fetch(given.videoArtifact)
    video = task.scratch / "upscaled.mp4"
    engine = task.engines.upscale
    found = probe(source, "source video", check=task.check)
    if found.video is None:
        raise BadMedia("source video holds no video")
    promise = upscale_promise(found, engine.enlarged(found.video.width, found.video.height, params))
    with task.device():
        engine.upscale(source, video, task.steps(0.05, 0.95), settings=params, kept=task.checkpoints)
    return VideoOutput(
        videoArtifact=_kept(task, video, promise, "output", "video/mp4"),
        currentProgress=task.current_progress(given.currentProgress),
    )


def upscale_promise(source: Probe, size: tuple[int, int]) -> VideoPromise:
    """What an upscaler owes for a video.

    Args:
        size: Width and height of the result, pixels.

    Raises:
        BadMedia: The source is no video.
    """
    video = source.video
    if video is None:
        raise BadMedia("source video holds no video")
    return VideoPromise(
        codecs=frozenset({"h264"}),
        width=size[0],
        height=size[1],
        fps=video.rate if video.constant else None,
        constant=video.constant,
        frames=video.frames,
        duration=video.duration,
        within_frames=1,
        # The source must move well before its copy has to, and may be of one colour.
        moving=video.longest_still < video.duration / 2,
        visible=not video.flat,
        sound=AudioPromise.of(source.audio),
    )


def _kept(task: Task, path: Path, promise: Promise, bucket: str, content_type: str) -> Artifact:
    """Hold what an engine made against what is owed, and keep exactly that as an artifact.

    Raises:
        UntrueOutput: It is not what is owed.
    """
    digest = verify(path, promise, check=task.check).digest
    log.info("node %s of job %s: %s is as promised, sha256 %s", task.node_id, task.job, path.name, digest)
    return task.keep(path, bucket=bucket, content_type=content_type, sha256=digest)
