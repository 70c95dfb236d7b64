"""facenet-pytorch's MTCNN at full scale on every frame, with its own settings.

Its faces are kept in runs/mtcnn_faces, so that another look takes only the pipeline's time.
"""

import zlib
from copy import copy
from importlib.metadata import version
from pathlib import Path

import numpy as np
from facenet_pytorch import MTCNN
from PIL import Image
from results import ROOT

from emotemporal.checkpoint import file_sha256
from emotemporal.faces.association import box_overlaps
from emotemporal.files import replacing
from emotemporal.structures import Detections

_KEPT = ROOT / "runs" / "mtcnn_faces"
_AHEAD_PX = np.float32(0.5)
"""facenet-pytorch places landmarks by so much too far to the right and down, in coordinates where the pixel
with index i covers [i, i + 1): it shows O-Net what begins at floor(x1) - 1, and counts what O-Net tells from
x1 - 1 on, later by what was rounded off. Mirrored pictures show the same (quality.py)."""


class FullMtcnn:
    """MTCNN on every frame, as a detector of the pipeline.

    Args:
        clip: whose faces are kept, and looked up by their frame's checksum.
        moved_px: MTCNN is shown the picture moved left and up by so much.
    """

    def __init__(self, clip: Path, *, moved_px: int = 0) -> None:
        self._network = MTCNN(keep_all=True, post_process=False)
        self._moved_px = moved_px
        self._ahead_px = _AHEAD_PX
        name = f"{clip.stem}-{file_sha256(clip)[:12]}-{version('facenet-pytorch')}-{moved_px}.npz"
        self._path = _KEPT / name
        self._faces: dict[int, Detections] = {}
        if self._path.is_file():
            with np.load(self._path) as kept:
                starts = np.cumsum(kept["num_faces"])[:-1]
                parts = (np.split(kept[key], starts) for key in ("boxes", "scores", "landmarks"))
                rows = zip(*parts, strict=True)
                self._faces = {
                    int(k): Detections(*row) for k, row in zip(kept["checksums"], rows, strict=True)
                }

    def as_given(self) -> "FullMtcnn":
        """Return the same with landmarks as facenet-pytorch gives them, not in the pipeline's coordinates."""
        given = copy(self)
        given._ahead_px = np.float32(0)
        return given

    def save(self) -> None:
        faces = list(self._faces.values())
        _KEPT.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as temporary, temporary.open("wb") as out:
            np.savez(
                out,
                checksums=np.array(list(self._faces), np.int64),
                num_faces=np.array([len(found) for found in faces]),
                boxes=np.concatenate([found.boxes for found in faces]),
                scores=np.concatenate([found.scores for found in faces]),
                landmarks=np.concatenate([found.landmarks for found in faces]),
            )

    def detect_faces(self, frame: np.ndarray) -> Detections:
        key = zlib.crc32(np.ascontiguousarray(frame))
        if key not in self._faces:
            moved = np.pad(frame, [(0, self._moved_px)] * 2 + [(0, 0)], mode="edge")
            picture = Image.fromarray(moved[self._moved_px :, self._moved_px :])
            boxes, scores, landmarks = self._network.detect(picture, landmarks=True)
            found = Detections.empty()
            if boxes is not None:
                arrays = (np.array(list(part), np.float32) for part in (boxes, scores, landmarks))
                found = Detections(*arrays)
                found.boxes[:] += self._moved_px
                found.landmarks[:] += self._moved_px
            self._faces[key] = found
        found = self._faces[key]
        return Detections(found.boxes, found.scores, found.landmarks - self._ahead_px)

    def refine_faces(self, frame: np.ndarray, boxes: np.ndarray) -> Detections:
        """Return the detection that shares most with each box, at score 0 where none does."""
        found = self.detect_faces(frame)
        boxes = np.asarray(boxes, np.float32)
        centres = np.repeat((boxes[:, None, :2] + boxes[:, None, 2:]) / 2, 5, axis=1)
        nearest = Detections(boxes.copy(), np.zeros(len(boxes), np.float32), centres)
        overlap, _ = box_overlaps(boxes, found.boxes)
        for i, row in enumerate(overlap):
            if row.max(initial=0) > 0:
                best = row.argmax()
                nearest.boxes[i], nearest.scores[i] = found.boxes[best], found.scores[best]
                nearest.landmarks[i] = found.landmarks[best]
        return nearest
