"""Training: a LoRA of pictures, by the configured engine; a voice, which is prepared and not trained."""

from __future__ import annotations

from pydantic import Field

from ..artifact import Artifact
from ..capability import Payload, capability
from ..comfy.parameters import LoraSettings
from ..errors import BadInput, EngineUnavailable
from ..picture_set import captioned, gathered
from ..task import Task
from ..voice_sample import prepare_sample

_TRAINING_SECONDS = 6 * 3600


class TrainLoraParams(LoraSettings):
    images: list[str] = Field(
        default_factory=list,
        max_length=500,
        description='Pictures to train on (PNG, JPEG, WebP) or ZIP archives of them, each "bucket/key".',
    )
    captions: list[str] = Field(
        default_factory=list,
        max_length=500,
        description="What each picture shows, in their order; absent, the .txt beside each in an archive.",
    )
    trigger: str = Field(
        "", max_length=200, description="A word put before every caption, to call the LoRA by."
    )


class TrainLoraInput(Payload):
    imageArtifacts: list[Artifact] = Field(
        default_factory=list,
        max_length=500,
        description="More pictures or archives, after those of the params.",
    )
    currentProgress: float | None = Field(None, description="The job's progress so far.")


class TrainLoraOutput(Payload):
    loraArtifact: Artifact = Field(description="The LoRA: safetensors.")
    pictures: int = Field(description="How many pictures it was trained on.")
    currentProgress: float


@capability("train.lora", kind="gpu", label="LoRA training", timeout_seconds=_TRAINING_SECONDS)
def lora(task: Task, params: TrainLoraParams, given: TrainLoraInput) -> TrainLoraOutput:
    """Train a LoRA of pictures and their captions."""
    trainer = task.engines.lora
    if trainer is None:
        raise EngineUnavailable("the configured engine cannot train; set farm.engine to comfyui")
    sources: list[Artifact | str] = [*params.images, *given.imageArtifacts]
    files = [task.fetch(source) for source in sources]
    pictures = captioned(gathered(files, task.scratch), params.captions, params.trigger)
    result = task.scratch / "lora.safetensors"
    with task.device():
        trainer.train(pictures, result, task.steps(0.05, 0.95), settings=params, kept=task.checkpoints)
    return TrainLoraOutput(
        loraArtifact=task.keep(result, bucket="output", content_type="application/octet-stream"),
        pictures=len(pictures),
        currentProgress=task.current_progress(given.currentProgress),
    )


class TrainVoiceParams(Payload):
    audioPath: str = Field(description='A sample of the voice, 1 to 15 s of speech, "bucket/key".')
    refText: str = Field(description="Exactly what the sample says.")
    target_rms: float = Field(
        0.1, ge=0.01, le=1.0, description="Loudness of the result, as root mean square of full scale."
    )


class TrainVoiceInput(Payload):
    currentProgress: float | None = Field(None, description="The job's progress so far.")


class TrainVoiceOutput(Payload):
    voiceArtifact: Artifact = Field(description="The prepared sample: WAV, 24 kHz, mono.")
    audioPath: str = Field(
        description='The same as "bucket/key": what generate.f5_to_tts takes as audioPath.'
    )
    refText: str = Field(description="What it says: what generate.f5_to_tts takes as refText.")
    seconds: float = Field(description="Its length.")
    currentProgress: float


@capability("train.voice", kind="cpu", label="Voice preparation", timeout_seconds=300)
def voice(task: Task, params: TrainVoiceParams, given: TrainVoiceInput) -> TrainVoiceOutput:
    """Prepare a sample of a voice for cloning: checked, silence around it cut away, loudness set.

    F5-TTS clones a voice from a sample and its transcript; no model is trained.
    """
    transcript = params.refText.strip()
    if not transcript:
        raise BadInput("params.refText is empty: cloning needs to know what the sample says")
    sample = task.scratch / "voice.wav"
    seconds = prepare_sample(task.fetch(params.audioPath), sample, params.target_rms)
    task.progress(0.8)
    artifact = task.keep(sample, bucket="output", content_type="audio/wav")
    return TrainVoiceOutput(
        voiceArtifact=artifact,
        audioPath=f"{artifact.bucket}/{artifact.key}",
        refText=transcript,
        seconds=seconds,
        currentProgress=task.current_progress(given.currentProgress),
    )
