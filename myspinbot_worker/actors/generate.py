"""The talking-bot pipeline: speech, talking head, upscaling. The engines do the work (``farm.engine``)."""

from __future__ import annotations

from pydantic import Field

from ..capability import Payload, Retry, capability
from ..errors import BadInput
from ..storage import Artifact
from ..task import Task

_CURRENT_PROGRESS = "The job's progress so far."


class SpeechParams(Payload):
    audioPath: str = Field(description='Reference voice, "bucket/key".')
    refText: str = Field("", description="What the reference voice says.")


class SpeechInput(Payload):
    narration: str = Field(description="The text to speak.")
    currentProgress: float | None = Field(None, description=_CURRENT_PROGRESS)


class SpeechOutput(Payload):
    audioArtifact: Artifact = Field(description="The speech: WAV, 16 kHz, mono.")
    currentProgress: float


@capability("generate.f5_to_tts", kind="gpu", label="Speech from text", retry=Retry(max_attempts=3))
def f5_to_tts(task: Task, params: SpeechParams, given: SpeechInput) -> SpeechOutput:
    """Speak a text in the voice of a reference recording."""
    if not given.narration.strip():
        raise BadInput("input.narration is empty: there is nothing to speak")
    reference = task.fetch(params.audioPath)
    speech = task.scratch / "speech.wav"
    engine = task.engines.speech
    with task.device():
        engine.speak(given.narration, reference, params.refText, speech, task.steps(0.05, 0.95))
    return SpeechOutput(
        audioArtifact=task.keep(speech, bucket="staged", content_type="audio/wav"),
        currentProgress=task.current_progress(given.currentProgress),
    )


class TalkParams(Payload):
    imagePath: str = Field(description='The portrait, "bucket/key".')
    positive_prompt: str = Field("", description="What the video should look like.")
    negative_prompt: str = Field("", description="What it should not look like.")


class TalkInput(Payload):
    audioArtifact: Artifact = Field(description="The speech to lip-sync to.")
    currentProgress: float | None = Field(None, description=_CURRENT_PROGRESS)


class VideoOutput(Payload):
    videoArtifact: Artifact = Field(description="The video: MP4 with H.264 and AAC.")
    currentProgress: float


@capability("generate.infinite_talk", kind="gpu", label="Talking head", retry=Retry(max_attempts=3))
def infinite_talk(task: Task, params: TalkParams, given: TalkInput) -> VideoOutput:
    """Make a portrait speak a recording."""
    portrait = task.fetch(params.imagePath)
    speech = task.fetch(given.audioArtifact)
    video = task.scratch / "talk.mp4"
    engine = task.engines.talking_head
    with task.device():
        engine.animate(portrait, speech, video, task.steps(0.05, 0.95))
    return VideoOutput(
        videoArtifact=task.keep(video, bucket="staged", content_type="video/mp4"),
        currentProgress=task.current_progress(given.currentProgress),
    )


class UpscaleParams(Payload):
    """No params are needed."""


class UpscaleInput(Payload):
    videoArtifact: Artifact = Field(description="The video to enlarge.")
    currentProgress: float | None = Field(None, description=_CURRENT_PROGRESS)


@capability("generate.upscale_video", kind="gpu", label="Video upscaling", retry=Retry(max_attempts=3))
def upscale_video(task: Task, params: UpscaleParams, given: UpscaleInput) -> VideoOutput:
    """Enlarge a video to twice its width and height, its sound carried over."""
    source = task.fetch(given.videoArtifact)
    video = task.scratch / "upscaled.mp4"
    engine = task.engines.upscale
    with task.device():
        engine.upscale(source, video, task.steps(0.05, 0.95))
    return VideoOutput(
        videoArtifact=task.keep(video, bucket="output", content_type="video/mp4"),
        currentProgress=task.current_progress(given.currentProgress),
    )
