"""What a frame network says of every crop of a store, kept beside them so that trainings start at once.

    evidence/<sha256 of the checkpoint, 16 digits>_<classifier>.npz
        header       JSON: format version, the whole sha256, classifier, for each clip its id, the digest of
                     the crops that were seen and their number
        embeddings   float16 (2, N, D), the clips one after another; of the crops, then of their mirror images
        log_probs    float32 (2, N, C)
        pts_seconds  float64 (N,)

A clip whose crops are others by now is seen again, so that nothing in it is ever stale. How it was computed
(device, precision) is no part of the name: that moves values by their rounding.
"""

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotemporal.datasets.crops import CropStore
from emotemporal.errors import DataError, OutputError
from emotemporal.files import replacing
from emotemporal.models.classifier import EmotionClassifier, FrameEvidence
from emotemporal.progress import Progress, silent

# To be raised with any change of how crops become a network's input, too.
_FORMAT_VERSION = 1
# All that NumPy, zipfile and what is done here raise on files that were cut off, overwritten or changed by a
# bit.
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    NotImplementedError,
    AttributeError,
    IndexError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class ClipEvidence:
    """One clip as the frame network sees it."""

    digest: str
    """Of its crops and their times."""
    pts_seconds: np.ndarray
    """float64 (L,); L = 0 where no face was found."""
    views: tuple[FrameEvidence, ...]
    """Of the crops as they are, then of their mirror images; empty where no face was found."""


def clip_evidence(
    store: CropStore,
    classifier: EmotionClassifier,
    clip_ids: Sequence[str],
    *,
    keep: bool = False,
    on_line: Callable[[str], None] = lambda line: None,
    on_progress: Progress = silent,
) -> dict[str, ClipEvidence]:
    """Take what is kept of these clips, and run the frame network over the others.

    Args:
        store: cut in the geometry of the classifier.
        classifier: the frame network; one that does not come from a checkpoint file is always run.
        clip_ids: clips of the store.
        keep: write what was computed. What is kept already is brought up to date in any case.
        on_line: receives a warning where kept evidence is damaged or cannot be written again.
        on_progress: called with the number of clips done, where any must be computed.
    Returns: the clips by id.
    Raises:
        DataError: a clip is missing or damaged.
        UsageError: the network needs landmarks, which a store lacks.
        OutputError: `keep` was asked for, and the disk does not take it.
    """
    path = evidence_path(store, classifier)
    was_kept = path is not None and path.exists()
    kept: dict[str, ClipEvidence] = {}
    if path is not None and was_kept:
        try:
            kept = _read(path, classifier)
        except DataError as error:
            on_line(f"warning: {error}; its clips are seen again")
    found = {}
    missing = []
    for clip_id in clip_ids:
        before = kept.get(clip_id)
        if before is not None and before.digest == store.digest(clip_id):
            found[clip_id] = before
        else:
            missing.append(clip_id)
    for done, clip_id in enumerate(missing, start=1):
        found[clip_id] = _classify(store, classifier, clip_id)
        on_progress("embeddings", done, len(missing))
    if path is not None and ((missing and was_kept) or (keep and not was_kept)):
        known = {row.clip_id for row in store.read_index()}
        rest = {clip_id: clip for clip_id, clip in kept.items() if clip_id in known}
        try:
            _write(path, classifier, rest | found)
        except OutputError as error:
            if keep:
                raise
            # A store that may only be read can still be trained on.
            on_line(f"warning: {error}; the next training computes it again")
    return found


def evidence_path(store: CropStore, classifier: EmotionClassifier) -> Path | None:
    """Return where a network's evidence is kept, None for one that does not come from a checkpoint file."""
    if classifier.checkpoint_sha256 is None:
        return None
    name = f"{classifier.checkpoint_sha256[:16]}_{classifier.label_set}.npz"
    return store.folder / "evidence" / name


def _classify(store: CropStore, classifier: EmotionClassifier, clip_id: str) -> ClipEvidence:
    # Before the crops: if they are replaced meanwhile, the digest is the old one and they are seen again.
    digest = store.digest(clip_id)
    crops = store.read(clip_id).crops
    if crops is None:
        return ClipEvidence(digest, np.zeros(0), ())
    both = np.concatenate([crops.crops, crops.crops[:, :, ::-1]])
    evidence = classifier.classify_crops(both)
    half = len(crops)
    views = tuple(
        FrameEvidence(evidence.embeddings[part], evidence.log_probs[part])
        for part in (slice(0, half), slice(half, None))
    )
    return ClipEvidence(digest, crops.pts_seconds, views)


def _header(classifier: EmotionClassifier) -> dict[str, object]:
    return {
        "format_version": _FORMAT_VERSION,
        "checkpoint": classifier.checkpoint_sha256,
        "classifier": classifier.label_set,
    }


def _read(path: Path, classifier: EmotionClassifier) -> dict[str, ClipEvidence]:
    """Return what is kept by clip id; nothing where the file is of another network or format.

    Raises:
        DataError: it is damaged.
    """
    try:
        with _open_arrays(path) as arrays:
            header = json.loads(str(arrays["header"]))
            clips = header.pop("clips")
            if header != _header(classifier):
                return {}
            # Reading an array to its end is what compares its checksum.
            embeddings, log_probs = arrays["embeddings"], arrays["log_probs"]
            seconds = arrays["pts_seconds"]
        ends = np.cumsum([length for _, _, length in clips], dtype=np.int64)
        total = int(ends[-1]) if len(ends) else 0
        if not total == len(seconds) == embeddings.shape[1] == log_probs.shape[1]:
            raise ValueError(f"{len(seconds)} frames, not {total}")
        found = {}
        for (clip_id, digest, length), end in zip(clips, ends, strict=True):
            part = slice(end - length, end)
            views = tuple(FrameEvidence(embeddings[i, part], log_probs[i, part]) for i in (0, 1))
            found[clip_id] = ClipEvidence(digest, seconds[part], views if length else ())
        return found
    except _UNREADABLE as error:
        raise DataError(f"{path}: damaged ({error})") from error


@contextmanager
def _open_arrays(path: Path) -> Iterator[Any]:
    # NumPy leaves a file open that it was given by name and finds damaged.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        yield arrays


def _write(path: Path, classifier: EmotionClassifier, clips: Mapping[str, ClipEvidence]) -> None:
    entries = [(clip_id, clip.digest, len(clip.pts_seconds)) for clip_id, clip in clips.items()]
    views = [clip.views for clip in clips.values() if clip.views]

    def joined(name: str, dtype: type[np.floating]) -> np.ndarray:
        if not views:
            return np.zeros((2, 0, 0), dtype)
        return np.stack([np.concatenate([getattr(clip[i], name) for clip in views]) for i in (0, 1)])

    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            # ASCII: file names need not be text, and JSON spells the rest out.
            header=np.array(json.dumps(_header(classifier) | {"clips": entries})),
            embeddings=joined("embeddings", np.float16),
            log_probs=joined("log_probs", np.float32),
            pts_seconds=np.concatenate([np.zeros(0), *(clip.pts_seconds for clip in clips.values())]),
        )
