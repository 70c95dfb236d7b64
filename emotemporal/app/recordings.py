"""Recordings of a browser, which know neither their length nor where to seek."""

from __future__ import annotations

from pathlib import Path

import av

from emotemporal.files import replacing

_FORMATS = {".webm": "webm", ".mkv": "matroska"}


def index_recording(path: Path) -> None:
    """Write a file anew, packet by packet, where its length is missing from it.

    A browser writes its recording as it goes, and cannot seek in it afterwards. What cannot be read is left
    as it is: who reads it next says so.

    Raises:
        OutputError: the file cannot be written.
    """
    container_format = _FORMATS.get(path.suffix)
    if container_format is None:
        return
    try:
        with av.open(str(path), metadata_errors="replace") as source:
            if source.duration is not None or not source.streams.video:
                return
            with replacing(path) as temporary:
                _copy(source, temporary, container_format)
    except av.FFmpegError:
        return


def _copy(source: av.container.InputContainer, path: Path, container_format: str) -> None:
    with av.open(str(path), "w", format=container_format) as target:
        streams = {
            stream.index: target.add_stream_from_template(stream)
            for stream in (*source.streams.video[:1], *source.streams.audio[:1])
        }
        for packet in source.demux([source.streams[index] for index in streams]):
            if packet.dts is not None:  # the end is an empty packet
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
