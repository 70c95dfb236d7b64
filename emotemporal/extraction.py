"""From labelled videos to a store of face crops for training."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from emotemporal.datasets.crops import CropStore, IndexRow, StoredClip
from emotemporal.datasets.manifest import ClipItem
from emotemporal.errors import VideoError
from emotemporal.faces.detector import FaceDetector
from emotemporal.faces.tracker import FaceTracker
from emotemporal.pipeline import iter_face_crops, rows_by_track
from emotemporal.structures import CropGeometry, CropSequence, Track
from emotemporal.video.reader import VideoReader


def extract_clip(path: str | Path, detector: FaceDetector, geometry: CropGeometry) -> StoredClip:
    """Cut the most prominent person's face out of one video.

    Raises:
        VideoError: it cannot be read.
    """
    tracker = FaceTracker(detector)
    parts: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    num_frames = 0
    with VideoReader(path) as reader:
        for rows, crops in iter_face_crops(reader, tracker, geometry):
            num_frames += len(rows.frames)
            for track_id, indices, chosen in rows_by_track(rows):
                parts.setdefault(track_id, []).append((indices, crops[chosen]))
    tracks = tracker.tracks()
    if not tracks:
        return StoredClip(num_frames, 0, None)
    track = most_prominent(tracks)
    indices = np.concatenate([index for index, _ in parts[track.track_id]])
    seen = np.isin(indices, track.frame_index[track.seen])
    sequence = CropSequence(
        track_id=track.track_id,
        frame_index=indices[seen],
        pts_seconds=track.pts_seconds[track.seen],
        crops=np.concatenate([crops for _, crops in parts[track.track_id]])[seen],
    )
    return StoredClip(num_frames, len(tracks), sequence)


def most_prominent(tracks: Sequence[Track]) -> Track:
    """Return the track that covers the largest area, summed over the frames on which it was seen."""

    def area(track: Track) -> float:
        width, height = (track.boxes[:, 2:] - track.boxes[:, :2]).T
        return float((width * height)[track.seen].sum())

    return max(tracks, key=area)


def extract_faces(
    items: Sequence[ClipItem],
    store: CropStore,
    detector: FaceDetector,
    *,
    on_clip: Callable[[ClipItem, StoredClip], None] = lambda item, clip: None,
    on_failure: Callable[[ClipItem, VideoError], None] = lambda item, error: None,
) -> list[IndexRow]:
    """Fill a store with the faces of labelled videos; clips it already holds are left as they are.

    A video that cannot be read is reported and kept out of the index; the others go on.

    Returns: the store's index.
    Raises:
        OutputError: the store cannot be written.
    """
    readable = []
    for item in items:
        if not store.has(item):
            try:
                clip = extract_clip(item.path, detector, store.geometry)
            except VideoError as error:
                on_failure(item, error)
                continue
            store.write(item, clip)
            on_clip(item, clip)
        readable.append(item)
    return store.write_index(readable)
