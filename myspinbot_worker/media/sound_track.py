"""Carrying a source's sound into an MP4: as it is where MP4 allows it, as AAC otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from myspinbot_worker.media.source import audio_of

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

# What players play inside an MP4. The container allows more (PCM, Vorbis), players do not.
PLAYABLE = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"})
_AAC_LAYOUTS = frozenset({"mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"})
_USUAL_LAYOUTS = {1: "mono", 6: "5.1", 8: "7.1"}
_AAC_RATES = frozenset({96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000})


class SoundTrack:
    """One audio stream on its way into an MP4, packet by packet.

    Args:
        source: Where the packets come from.
        output: Where they go; its header must not have been written.
        keeps: Codecs that are copied; others are encoded as AAC.
    """

    def __init__(
        self, source: AudioStream, output: OutputContainer, keeps: frozenset[str] = PLAYABLE
    ) -> None:
        self._source = source
        self._output = output
        self._copies = source.codec_context.name.removesuffix("float") in keeps
        self._stream: AudioStream
        if self._copies:
            self._stream = output.add_stream_from_template(source)
        else:
            rate = source.rate if source.rate in _AAC_RATES else 48000
            self._stream = output.add_stream("aac", rate=rate, layout=_layout(source))

    def carry(self, packet: Packet[Any]) -> None:
        """Take one packet of the source over; the empty packet at the source's end flushes the encoder."""
        if not self._copies:
            for frame in self._source.decode(packet):
                self._output.mux(self._stream.encode(frame))
            if not packet.size:
                self._output.mux(self._stream.encode(None))
        elif packet.size:
            packet.stream = self._stream
            self._output.mux(packet)


def _layout(source: AudioStream) -> str:
    """The channels that AAC is to have: the source's, or two where it has some that AAC does not know."""
    name = source.layout.name
    if name in _AAC_LAYOUTS:
        return name
    # "5.1(side)" is the same to a listener.
    if (plain := name.partition("(")[0]) in _AAC_LAYOUTS:
        return plain
    # WAV and Matroska can tell how many channels there are without telling where: "1 channels".
    return _USUAL_LAYOUTS.get(source.channels, "stereo") if name.endswith("channels") else "stereo"


class Accompaniment:
    """A file's sound, carried into an MP4 in step with pictures, so that the muxer need not hold one for the other.

    Args:
        reader: Where the sound is; its first audio stream is taken.
        output: As of ``SoundTrack``.
        origin: The time (s) of ``reader`` that becomes 0; by default that at which the sound starts.
        keeps: As of ``SoundTrack``.
    """

    def __init__(
        self,
        reader: InputContainer,
        output: OutputContainer,
        origin: Fraction | None = None,
        keeps: frozenset[str] = PLAYABLE,
    ) -> None:
        source = audio_of(reader, "the sound")
        self._track = SoundTrack(source, output, keeps)
        self._packets = _moved(reader, source, origin)

    def until(self, seconds: Fraction | None) -> None:
        """Carry what starts up to this time, and a packet more; ``None``: all that is left."""
        for starts, packet in self._packets:
            self._track.carry(packet)
            if seconds is not None and starts > seconds:
                return


def _moved(
    reader: InputContainer, source: AudioStream, origin: Fraction | None
) -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
    """The packets of a stream with their times counted from ``origin``, each with its start in seconds.

    The last packet is empty and tells the end; it has the start of the one before.
    """
    base = source.time_base
    assert base is not None
    offset = (source.start_time or 0) if origin is None else round(origin / base)
    starts = Fraction(0)
    for packet in reader.demux(source):
        if packet.pts is not None:
            packet.pts -= offset
            starts = packet.pts * packet.time_base
        if packet.dts is not None:
            packet.dts -= offset
        yield starts, packet
