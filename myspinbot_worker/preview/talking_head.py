"""A talking video from a portrait and a speech, by face landmarks and the sound of the voice."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.engines import KeptSteps, Steps
from myspinbot_worker.extras import packages_of
from myspinbot_worker.media.mp4 import BT601, add_h264, as_yuv, create_mp4
from myspinbot_worker.media.sound_track import Accompaniment
from myspinbot_worker.media.source import open_media
from myspinbot_worker.preview.articulation import articulate
from myspinbot_worker.preview.face import cut_face
from myspinbot_worker.preview.face_warp import FaceWarp, Pose
from myspinbot_worker.preview.idle import idle_motion
from myspinbot_worker.preview.portrait import load_portrait

if TYPE_CHECKING:
    from myspinbot_worker.comfy.parameters import TalkSettings


class LandmarkTalkingHead:
    """``TalkingHeadEngine`` on a CPU: finds the face with MediaPipe and warps it in time with the speech.

    A preview: the mouth follows loudness and brightness of the voice, not its sounds. The same files give the
    same pictures in every run. Frames go to the encoder as they are made.

    Args:
        frame_rate: Frames per second.
        size: Width and height of the video, pixels; even, as H.264 wants it.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, frame_rate: Fraction | int = 25, size: int = 256) -> None:
        if frame_rate <= 0:
            raise ValueError("frame_rate must be positive")
        if size < 64 or size % 2:
            raise ValueError("size must be even and at least 64")
        self._frame_rate = Fraction(frame_rate)
        self._size = size

    def animate(
        self,
        portrait: Path,
        speech: Path,
        destination: Path,
        steps: Steps,
        *,
        settings: TalkSettings | None = None,
        kept: KeptSteps | None = None,
        positive: str = "",
        negative: str = "",
    ) -> None:
        """See ``TalkingHeadEngine.animate``.

        Raises:
            NoFaceFound: The portrait shows no face.
            BadMedia: A file cannot be decoded, or the speech is empty or silent.
            EngineUnavailable: The extra ``preview`` is not installed.
            OSError: ``destination`` cannot be written.
        """
        with packages_of("preview"):
            import av

        articulation = articulate(speech, self._frame_rate)
        steps.check()
        warp = FaceWarp(cut_face(load_portrait(portrait), self._size))
        frames = len(articulation.opening)
        idle = idle_motion(frames, self._frame_rate)
        with open_media(speech, "speech") as reader, create_mp4(destination) as writer:
            pictures = add_h264(writer, self._size, self._size, self._frame_rate, 1 / self._frame_rate, BT601)
            sound = Accompaniment(reader, writer, keeps=frozenset({"aac"}))
            for number in range(frames):
                steps.check()
                sound.until((number + 1) / self._frame_rate)
                shown = warp.show(
                    Pose(
                        opening=float(articulation.opening[number]),
                        width=float(articulation.width[number]),
                        blink=float(idle.blink[number]),
                        across=float(idle.across[number]),
                        down=float(idle.down[number]),
                        turn=float(idle.turn[number]),
                    )
                )
                frame = as_yuv(av.VideoFrame.from_ndarray(shown, format="rgb24"), BT601)
                frame.pts = number
                frame.time_base = 1 / self._frame_rate
                writer.mux(pictures.encode(frame))
                steps.progress((number + 1) / frames)
            sound.until(None)
            writer.mux(pictures.encode(None))
        steps.progress(1.0)
