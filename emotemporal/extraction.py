"""From labelled videos to a store of face crops for training."""

import csv
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crop_index import IndexRow
from emotemporal.datasets.crops import CropStore, StoredClip
from emotemporal.errors import OUT_OF_MEMORY, OutputError, VideoError, is_out_of_memory
from emotemporal.faces.detector import FaceDetector
from emotemporal.faces.landmarks import LandmarkPredictor, PointPredictor, predict_rows
from emotemporal.faces.tracker import FaceTracker
from emotemporal.files import FolderHold, replacing
from emotemporal.pipeline import PerPerson, iter_face_crops
from emotemporal.progress import Progress, silent
from emotemporal.runtime import one_torch_thread
from emotemporal.structures import CropGeometry, CropSequence, Track
from emotemporal.text import cell_text, one_line
from emotemporal.video.reader import VideoReader
from emotemporal.workers import Death, ShareReport, run_in_processes

DetectorFactory = Callable[[], FaceDetector]
"""Makes a detector; for several workers it must be picklable."""


@dataclass(frozen=True, eq=False)
class Extraction:
    """What became of a list of videos."""

    items: Sequence[ClipItem]
    rows: Sequence[IndexRow]
    """Of the clips that are in the store, in the order of `items`."""
    failures: dict[str, str]
    """Clip id -> why it could not be extracted."""


def extract_clip(
    path: str | Path,
    detector: FaceDetector,
    geometry: CropGeometry,
    predictor: PointPredictor | None = None,
) -> StoredClip:
    """Cut the most prominent person's face out of one video.

    Args:
        path: of the video.
        detector: finds faces.
        geometry: of the crops.
        predictor: finds the 68 landmarks that are kept with them; None keeps none.
    Raises:
        VideoError: it cannot be read.
    """
    tracker = FaceTracker(detector)
    gathered = PerPerson()
    num_frames = 0
    with VideoReader(path) as reader:
        for rows, crops in iter_face_crops(reader, tracker, geometry):
            num_frames += len(rows.frames)
            points = () if predictor is None else (predict_rows(predictor, rows),)
            gathered.add(rows, crops, *points)
    tracks = tracker.tracks()
    if not tracks:
        return StoredClip(num_frames, 0, None)
    track = most_prominent(tracks)
    seen_crops, *seen_points = gathered.take(track)
    sequence = CropSequence(
        track_id=track.track_id,
        frame_index=track.frame_index[track.seen],
        pts_seconds=track.pts_seconds[track.seen],
        crops=seen_crops,
        landmarks68=seen_points[0] if seen_points else None,
    )
    return StoredClip(num_frames, len(tracks), sequence)


def most_prominent(tracks: Sequence[Track]) -> Track:
    """Return the track that covers the largest area, summed over the frames on which it was seen.

    This is whom the label of a clip is taken to be about, where it shows several: whoever is large and long
    in the picture. Of equal tracks it is the one that was seen first.
    """

    def area(track: Track) -> float:
        width, height = (track.boxes[:, 2:] - track.boxes[:, :2]).T
        return float((width * height)[track.seen].sum())

    return max(tracks, key=area)


def extract_faces(
    items: Sequence[ClipItem],
    store: CropStore,
    make_detector: DetectorFactory,
    *,
    workers: int = 1,
    on_progress: Progress = silent,
    on_failure: Callable[[ClipItem, str], None] = lambda item, reason: None,
) -> Extraction:
    """Fill a store with the faces of labelled videos; clips it already holds are left as they are.

    A video that cannot be used is reported and kept out of the index; the others go on. The crops do not
    depend on the number of workers: each has one thread for the networks, whose sums depend on how many
    share them.

    Args:
        items: of ids that differ.
        store: receives the clips, the index and `extraction.csv`.
        make_detector: called once for each worker.
        workers: processes that extract; 1 stays in this one.
        on_progress: called first with the number of clips that the store held before.
        on_failure: receives the reason in one line.
    Raises:
        OutputError: the store cannot be written.
        UsageError: the store keeps landmarks, and what finds them is not installed; or another process fills
            the store.
        EmotemporalError: a worker does not start.
    """
    hold = FolderHold(store.folder)
    store.remove_abandoned()
    missing = [item for item in items if not store.has(item)]
    done = len(items) - len(missing)
    on_progress("clips", done, len(items))
    failures: dict[str, str] = {}
    several = workers > 1 and len(missing) > 1
    extract = _extract_in_processes if several else _extract_here
    with closing(extract(missing, store, make_detector, workers)) as outcomes:
        for item, reason in outcomes:
            done += 1
            if reason:
                failures[item.clip_id] = reason
                on_failure(item, reason)
            on_progress("clips", done, len(items))
    rows = store.write_index([item for item in items if item.clip_id not in failures])
    extraction = Extraction(items, rows, failures)
    _write_table(store, extraction)
    hold.release()
    return extraction


def _make_predictor(store: CropStore) -> PointPredictor | None:
    return LandmarkPredictor() if store.landmarks68 else None


def _extract_one(
    item: ClipItem, store: CropStore, detector: FaceDetector, predictor: PointPredictor | None
) -> str:
    """Return why a clip could not be extracted, empty where it was."""
    try:
        store.write(item, extract_clip(item.path, detector, store.geometry, predictor))
    except OutputError:
        raise
    except VideoError as error:
        return str(error)
    except Exception as error:
        # Whatever one video does to a decoder or a network, hours of others shall not be lost to it.
        if is_out_of_memory(error):
            return one_line(f"{item.path}: {OUT_OF_MEMORY}")
        return one_line(f"{item.path}: {type(error).__name__}: {' '.join(str(error).split())}")
    return ""


def _extract_here(
    items: Sequence[ClipItem], store: CropStore, make_detector: DetectorFactory, workers: int
) -> Generator[tuple[ClipItem, str], None, None]:
    if not items:
        return  # nor are the networks loaded
    # These may load PyTorch.
    detector, predictor = make_detector(), _make_predictor(store)
    with one_torch_thread():
        for item in items:
            yield item, _extract_one(item, store, detector, predictor)


def _extract_in_processes(
    items: Sequence[ClipItem], store: CropStore, make_detector: DetectorFactory, workers: int
) -> Generator[tuple[ClipItem, str], None, None]:
    make_extractor = partial(_make_extractor, store, make_detector)
    with closing(run_in_processes(items, make_extractor, workers=workers)) as outcomes:
        for item, reason in outcomes:
            yield item, f"{item.path}: {reason}" if isinstance(reason, Death) else reason


def _make_extractor(
    store: CropStore, make_detector: DetectorFactory
) -> Callable[[ClipItem, ShareReport], str]:
    detector, predictor = make_detector(), _make_predictor(store)

    def extract(item: ClipItem, report: ShareReport) -> str:
        with one_torch_thread():
            return _extract_one(item, store, detector, predictor)

    return extract


def _write_table(store: CropStore, extraction: Extraction) -> None:
    rows = {row.clip_id: row for row in extraction.rows}
    header = ["clip_id", "path", "label", "subject", "split", "status"]
    header += ["num_frames", "num_seen", "share_seen", "num_people", "reason"]
    with (
        replacing(store.folder / "extraction.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(header)
        for item in extraction.items:
            cells = [*map(cell_text, (item.clip_id, str(item.path), item.label, item.subject, item.split))]
            row = rows.get(item.clip_id)
            if row is None:
                cells += ["failed", "", "", "", "", cell_text(extraction.failures[item.clip_id])]
            else:
                share = row.num_seen / max(1, row.num_frames)
                status = "ok" if row.num_seen else "no_face"
                counts = row.num_frames, row.num_seen, f"{share:.4f}", row.num_people
                cells += [status, *map(str, counts), ""]
            writer.writerow(cells)
