"""Faces of consecutive frames on their way to a network, and what it finds of them person by person."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from emotemporal.faces.align import align_faces
from emotemporal.faces.tracker import FaceTracker
from emotemporal.progress import Progress, silent
from emotemporal.structures import CropGeometry, FaceRows, Track
from emotemporal.video.arrays import FrameSource


def iter_face_crops(
    reader: FrameSource,
    tracker: FaceTracker,
    geometry: CropGeometry,
    *,
    on_progress: Progress = silent,
) -> Iterator[tuple[FaceRows, np.ndarray]]:
    """Follow the faces of a video and cut them out.

    Prediction and training both begin here, so that a network sees in use what it saw in training.

    Yields: faces of consecutive frames, with and without any face, and their crops
        uint8 (M, S, S, 3) RGB.
    """
    done = 0
    for rows in track_faces(reader, tracker):
        crops = np.empty((len(rows), geometry.side_px, geometry.side_px, 3), dtype=np.uint8)
        ends = np.searchsorted(rows.row_frame, np.arange(len(rows.frames) + 1))
        for picture, start, end in zip(rows.frames.data, ends, ends[1:], strict=False):
            if start < end:
                crops[start:end] = align_faces(picture, rows.landmarks[start:end], geometry)
        yield rows, crops
        done += len(rows.frames)
        on_progress("faces", done, reader.info.num_frames)


class PerPerson:
    """Gathers what is found of faces as frames go by, and gives it back person by person."""

    def __init__(self) -> None:
        self._parts: dict[int, list[tuple[np.ndarray, ...]]] = {}

    def add(self, rows: FaceRows, *values: np.ndarray) -> None:
        """Take arrays (M, ...), a row of each for every face of consecutive frames."""
        for track_id in np.unique(rows.track_id):
            chosen = rows.track_id == track_id
            part = (rows.frame_index[chosen], *(value[chosen] for value in values))
            self._parts.setdefault(int(track_id), []).append(part)

    def take(self, track: Track) -> list[np.ndarray]:
        """Return a person's arrays (K, ...), a row for each frame on which they were seen; forget them."""
        parts = self._parts.pop(track.track_id)
        indices, *values = (np.concatenate(column) for column in zip(*parts, strict=True))
        # What the tracker emitted and later took back (an overlapping double, say) is not in the track.
        seen = np.isin(indices, track.frame_index[track.seen])
        return [value[seen] for value in values]


def track_faces(reader: FrameSource, tracker: FaceTracker) -> Iterator[FaceRows]:
    """Yield the faces of a video's consecutive frames, with and without any face."""
    for batch in reader:
        yield from tracker.update(batch)
    yield from tracker.finish()
