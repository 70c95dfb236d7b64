"""Read a video frame by frame, with its true times, decoding ahead in a child process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from emotemporal.errors import UsageError, VideoError
from emotemporal.structures import FrameBatch, VideoInfo
from emotemporal.video.child import ChildFailed, DecodingChild
from emotemporal.video.decoders import DECODERS, DecodeJob
from emotemporal.video.opening import absolute, require_file
from emotemporal.video.pictures import is_picture, read_picture
from emotemporal.video.probe import Source, describe_picture, inspect_video
from emotemporal.video.ring import RingShape
from emotemporal.video.timing import FrameClock

_TIME_TOLERANCE_SECONDS = 0.002
_MAX_BATCH_FRAMES = 24
# Whoever follows faces holds two or three batches at a time: of 4K frames, six are already 150 MB.
_MAX_BATCH_BYTES = 50_000_000


class VideoReader:
    """The frames of a video or still picture, in order, each with its time.

    decord decodes what it is known to decode well, each frame's time checked against the file's packets;
    everything else, and the rest of a file on which decord fails, is decoded by PyAV. Both work in a child
    process that is replaced when it crashes or hangs. Memory does not grow with the length of the video.

        with VideoReader("clip.mp4") as reader:
            for batch in reader:
                ...  # FrameBatch

    Args:
        batch_size: frames in a batch; the last one may be shorter. None: up to 24, fewer of large pictures.
        prefetch: batches that may be decoded ahead, as far as the shared memory reaches.
        decoder: `auto` chooses for the file; a name is used even where there are doubts about it.
        timeout_seconds: a decoder that gives nothing for so long is replaced.

    Attributes:
        info: what the file is.
        decoder: what decodes: `decord`, `pyav` or `picture`; after a replacement the one that took over.
        warnings: one line for each thing the user should know; complete after the iteration.

    Raises:
        VideoError: the file cannot be used; while iterating also: no decoder gets through it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        batch_size: int | None = None,
        prefetch: int = 2,
        decoder: Literal["auto", "decord", "pyav"] = "auto",
        timeout_seconds: float = 20.0,
    ) -> None:
        if decoder not in ("auto", *DECODERS):
            raise UsageError(f"decoder must be auto, {' or '.join(DECODERS)}, found {decoder!r}")
        if (batch_size is not None and batch_size < 1) or prefetch < 1:
            raise UsageError(f"batch_size and prefetch must be at least 1, found {batch_size} and {prefetch}")
        self.warnings: list[str] = []
        self._path = str(path)
        self._prefetch = prefetch
        self._timeout_seconds = timeout_seconds
        self._child: DecodingChild | None = None
        self._used = False
        self._source: Source | None = None
        self._picture: np.ndarray | None = None
        if is_picture(path):
            self._picture = read_picture(require_file(path))
            self.info: VideoInfo = describe_picture(path, self._picture)
            self.decoder = "picture"
            return
        self._source = inspect_video(path)
        self.info = self._source.info
        fitting = _MAX_BATCH_BYTES // (3 * self.info.width * self.info.height)
        self._batch_size = batch_size or int(np.clip(fitting, 4 if fitting else 1, _MAX_BATCH_FRAMES))
        self.decoder = decoder
        if decoder == "auto":
            doubt = self._source.decord_doubt
            self.decoder = "pyav" if doubt else "decord"
            if doubt:
                self.warnings.append(f"decoded with PyAV, not decord: {doubt}")

    def __enter__(self) -> VideoReader:
        if self._source is not None:
            self._start_child(self._source, skip=0)  # it decodes while the caller still loads its models
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child process; batches that were given out stay valid."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def __iter__(self) -> Iterator[FrameBatch]:
        """Yield the batches.

        Raises:
            UsageError: the reader was iterated before.
            VideoError: the file cannot be decoded.
        """
        if self._used:
            raise UsageError(f"{self._path}: a VideoReader can be iterated once; make a new one")
        self._used = True
        if self._picture is not None:
            yield FrameBatch(self._picture[None], np.zeros(1, np.int64), np.zeros(1))
            return
        try:
            assert self._source is not None  # it is either a picture or a video
            yield from self._read_batches(self._source)
        finally:
            self.close()

    def _read_batches(self, source: Source) -> Iterator[FrameBatch]:
        """Gather the frames of the ring's slots into batches that own their memory."""
        info, size = self.info, self._batch_size
        first, filled = 0, 0
        data, times = np.empty((size, info.height, info.width, 3), np.uint8), np.empty(size)
        for frames, seconds in self._read_slots(source):
            start = 0
            while start < len(frames):
                take = min(len(frames) - start, size - filled)
                data[filled : filled + take] = frames[start : start + take]
                times[filled : filled + take] = seconds[start : start + take]
                start, filled = start + take, filled + take
                if filled == size:
                    yield FrameBatch(data, np.arange(first, first + size), times)
                    first, filled = first + size, 0
                    data, times = np.empty_like(data), np.empty_like(times)
        if filled:
            yield FrameBatch(data[:filled], np.arange(first, first + filled), times[:filled])

    def _read_slots(self, source: Source) -> Iterator[tuple[np.ndarray, list[float]]]:
        """Yield frames (F, H, W, 3), valid until the next ones, with their final times."""
        clock = FrameClock(start_seconds=self.info.start_seconds, frame_seconds=source.frame_seconds)
        notes: Counter[str] = Counter()
        count, damage = 0, None
        while True:
            child = self._child or self._start_child(source, skip=count)
            try:
                kind, *content = child.receive()
                if kind == "alive":
                    continue
                if kind == "end":
                    if self.decoder == "decord" and count != len(source.pts_seconds):
                        raise ChildFailed(f"it gave {count} of {len(source.pts_seconds)} frames")
                    damage = content[0]
                    break
                slot, seconds, slot_notes = content
                if self.decoder == "decord":
                    seconds = self._check_times(source, count, seconds)
            except ChildFailed as failure:
                self._replace_decoder(str(failure), count)
                continue
            notes.update(slot_notes)
            yield child.view(slot)[: len(seconds)], [clock.place(value) for value in seconds]
            count += len(seconds)
            child.free_slot()
        if not count:
            raise VideoError(f"{self._path}: no frame can be decoded; copy the file again or convert it")
        self.warnings += self._describe_end(source, count, damage, notes) + clock.describe_repairs()

    def _start_child(self, source: Source, *, skip: int) -> DecodingChild:
        info = self.info
        job = DecodeJob(
            path=absolute(self._path),
            stream_index=source.stream_index,
            width=info.width,
            height=info.height,
            num_frames=info.num_frames,
            frame_seconds=source.frame_seconds,
            skip=skip,
        )
        ahead = self._prefetch * self._batch_size
        self._child = DecodingChild(
            job,
            function=DECODERS[self.decoder],
            ring_shape=RingShape.fit(height=info.height, width=info.width, max_frames=ahead),
            timeout_seconds=self._timeout_seconds,
            bound_memory=self.decoder == "decord",
        )
        return self._child

    def _check_times(self, source: Source, first: int, seconds: list[float]) -> list[float]:
        """Hold decord's times against the packets' and return these: decord's are float32."""
        expected = source.pts_seconds[first : first + len(seconds)]
        if len(expected) < len(seconds):
            raise ChildFailed(f"it gives more than the {len(source.pts_seconds)} frames of the file")
        error = np.abs(expected - np.array(seconds))
        if not np.all(error <= _TIME_TOLERANCE_SECONDS):  # NaN must not pass
            at = first + int(np.argmax(~(error <= _TIME_TOLERANCE_SECONDS)))
            found, true = seconds[at - first], expected[at - first]
            raise ChildFailed(f"it gives {found:.3f} s for frame {at}, the file {true:.3f} s")
        return expected.tolist()

    def _replace_decoder(self, reason: str, count: int) -> None:
        self.close()
        if self.decoder == "pyav":
            raise VideoError(
                f"{self._path}: cannot be decoded beyond frame {count} ({reason}); convert it to H.264 MP4"
            )
        self.warnings.append(f"{self.decoder} was replaced by PyAV from frame {count} on: {reason}")
        self.decoder = "pyav"

    def _describe_end(self, source: Source, count: int, damage: str | None, notes: Counter[str]) -> list[str]:
        lines = []
        promised = source.promised_frames
        if damage:
            lines.append(f"the file is damaged: decoding ended after {count} frames ({damage})")
        if promised and promised != count:
            lines.append(f"the container promises {promised} frames, {count} decode")
        if notes["rescaled"]:
            size = f"{self.info.width}x{self.info.height}"
            lines.append(f"the picture's size changes: {notes['rescaled']} frames were rescaled to {size}")
        if notes["reordered"]:
            lines.append(f"the times of {notes['reordered']} frames were out of order: they were sorted")
        return lines
