"""A talking video from a portrait and a speech, by face landmarks and the sound of the voice."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.engines import Steps
from myspinbot_worker.preview.articulation import articulate
from myspinbot_worker.preview.extra import packages_of
from myspinbot_worker.preview.face import cut_face
from myspinbot_worker.preview.face_warp import FaceWarp, Pose
from myspinbot_worker.preview.idle import idle_motion
from myspinbot_worker.preview.media import audio_of, open_media
from myspinbot_worker.preview.mp4 import BT601, add_h264, as_yuv, create_mp4
from myspinbot_worker.preview.portrait import load_portrait
from myspinbot_worker.preview.sound import SoundTrack

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet


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

    def animate(self, portrait: Path, speech: Path, destination: Path, steps: Steps) -> None:
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
            source = audio_of(reader, "speech")
            pictures = add_h264(writer, self._size, self._size, self._frame_rate, 1 / self._frame_rate, BT601)
            sound = SoundTrack(source, writer, keeps=frozenset({"aac"}))
            packets = _timed(reader, source)
            for number in range(frames):
                steps.check()
                # The sound keeps step with the pictures, so that the muxer need not hold one for the other.
                for starts, packet in packets:
                    sound.carry(packet)
                    if starts > (number + 1) / self._frame_rate:
                        break
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
            for _, packet in packets:
                sound.carry(packet)
            writer.mux(pictures.encode(None))
        steps.progress(1.0)


def _timed(reader: InputContainer, source: AudioStream) -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
    """The packets of a stream, moved to start at zero, each with its start in seconds.

    The last packet is empty and tells the end; it has the start of the one before.
    """
    offset = source.start_time or 0
    starts = Fraction(0)
    for packet in reader.demux(source):
        if packet.pts is not None:
            packet.pts -= offset
            starts = packet.pts * packet.time_base
        if packet.dts is not None:
            packet.dts -= offset
        yield starts, packet
