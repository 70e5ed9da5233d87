"""Carrying a source's sound into an MP4: as it is where MP4 allows it, as AAC otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet

# What players play inside an MP4. The container allows more (PCM, Vorbis), players do not.
PLAYABLE = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"})
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
            # Not the source's own layout: WAV has "1 channels" where AAC wants "mono".
            layout = "mono" if source.channels == 1 else "stereo"
            self._stream = output.add_stream("aac", rate=rate, layout=layout)

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
