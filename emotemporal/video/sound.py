"""Carry the sound of one file over into another, little by little."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av

_COPIED_CODECS = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus"})
"""What MP4 holds and players know; everything else becomes AAC."""


class SoundTrack:
    """The first sound stream of a file on its way into an output container.

    Packets keep the times of the source, so that sound and picture stay in step. They are read only as
    far as the picture has come: a long film's sound is never in memory as a whole.

    Args:
        source: container with the sound, not yet read from; closed by `close`.
        output: container that was opened for writing and has not been written to.

    Attributes:
        warnings: one line for each thing the user should know.
    """

    def __init__(self, source: av.container.InputContainer, output: av.container.OutputContainer) -> None:
        self.warnings: list[str] = []
        self._output = output
        self._input = source
        self._packets: Iterator[av.Packet[av.AudioStream]] = iter(())
        self._next: av.Packet[av.AudioStream] | None = None
        self._last_dts: int | None = None
        self._resampler: av.AudioResampler | None = None
        if not self._input.streams.audio:
            return
        stream = self._input.streams.audio[0]
        if stream.codec_context is None:
            self.warnings.append("sound: its codec is unknown to FFmpeg, it was left out")
            return
        name = stream.codec_context.name
        self._tick = Fraction(1, stream.codec_context.sample_rate or 48_000)
        if stream.codec_context.codec.canonical_name in _COPIED_CODECS:
            self._target = output.add_stream_from_template(stream)
        else:
            rate = stream.codec_context.sample_rate
            layout = "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
            self._target = output.add_stream("aac", rate=rate, layout=layout)
            self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
            self.warnings.append(f"sound: {name} does not fit into MP4, it was encoded again as AAC")
        self._packets = self._input.demux(stream)
        self._advance()

    def write_until(self, seconds: float) -> None:
        """Write the packets that begin up to a time; infinity writes all the rest."""
        while self._next is not None and _seconds_of(self._next) <= seconds:
            if self._resampler is None:
                self._copy(self._next)
            else:
                self._encode(self._next, self._resampler)
            self._advance()

    def finish(self) -> None:
        """Write what is left."""
        self.write_until(float("inf"))
        if self._resampler is not None:
            for frame in self._resampler.resample(None):
                self._output.mux(self._target.encode(frame))
            self._output.mux(self._target.encode(None))

    def close(self) -> None:
        self._input.close()

    def _advance(self) -> None:
        """Fetch the next packet that has a time and content."""
        try:
            self._next = next((p for p in self._packets if p.size and p.dts is not None), None)
        except av.FFmpegError as error:
            self._next = None
            self.warnings.append(f"sound: the source is damaged, it ends early ({error.strerror})")

    def _copy(self, packet: av.Packet[av.AudioStream]) -> None:
        assert packet.time_base is not None
        assert packet.dts is not None  # `_advance` takes no others
        # In ticks of one sample: AVI counts whole packets and repeats times, while the muxer refuses a
        # packet that does not advance. One sample behind, it does not stretch the sound.
        ticks = packet.time_base / self._tick
        dts = round(packet.dts * ticks)
        if self._last_dts is not None:
            dts = max(dts, self._last_dts + 1)
        pts = dts if packet.pts is None else max(dts, round(packet.pts * ticks))
        duration = round((packet.duration or 0) * ticks)
        packet.time_base, packet.dts, packet.pts, packet.duration = self._tick, dts, pts, duration
        self._last_dts = dts
        packet.stream = self._target
        self._output.mux(packet)

    def _encode(self, packet: av.Packet[av.AudioStream], resampler: av.AudioResampler) -> None:
        try:
            frames = packet.decode()
        except av.FFmpegError:
            return  # one lost packet is a short silence
        for frame in frames:
            for resampled in resampler.resample(frame):
                self._output.mux(self._target.encode(resampled))


def _seconds_of(packet: av.Packet[av.AudioStream]) -> float:
    assert packet.time_base is not None
    assert packet.dts is not None
    return float(packet.dts * packet.time_base)
